//! The one binary: a server, or one of Kafka's tools by its name. It reads arguments, environment and files, and
//! knows nothing of what they mean.

#[cfg(test)]
mod architecture;
mod cluster;
mod quickstart;
mod server;

use std::process::ExitCode;

/// Lazy reservation, and fast.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let mut args: Vec<String> = std::env::args().collect();
    let program = args.remove(0);
    match command(&program, &mut args) {
        Command::Server => server::main(&args),
        Command::Quickstart => quickstart::main(&args),
        Command::Tool(name) => tool(&name, args),
        Command::Help => {
            println!("{}", usage());
            ExitCode::SUCCESS
        }
        Command::Unknown(name) => {
            eprintln!("ottla: there is no command '{name}'\n\n{}", usage());
            ExitCode::from(2)
        }
    }
}

enum Command {
    Server,
    Quickstart,
    Tool(String),
    Help,
    Unknown(String),
}

// By the name it was started under (a link `kafka-topics.sh` is the topics tool), or by the first argument.
fn command(program: &str, args: &mut Vec<String>) -> Command {
    let name = program.rsplit('/').next().unwrap_or(program);
    if let Some(tool) = tool_of(name) {
        return Command::Tool(tool);
    }
    match name.strip_suffix(".sh").unwrap_or(name) {
        "kafka-server-start" => return Command::Server,
        // A tool that is missing here, and no reason to start a server.
        kafka if kafka.starts_with("kafka-") => return Command::Unknown(kafka.to_owned()),
        _ => {}
    }
    if matches!(args.first().map(String::as_str), None | Some("server")) {
        args.drain(..args.len().min(1));
        return Command::Server;
    }
    let first = args.remove(0);
    match first.as_str() {
        "quickstart" => Command::Quickstart,
        "help" | "--help" | "-h" => Command::Help,
        "--version" | "-V" => {
            println!("ottla {}", env!("CARGO_PKG_VERSION"));
            std::process::exit(0)
        }
        _ => tool_of(&first).map_or(Command::Unknown(first), Command::Tool),
    }
}

fn tool_of(name: &str) -> Option<String> {
    let plain = name.strip_suffix(".sh").unwrap_or(name);
    let plain = plain.strip_prefix("kafka-").unwrap_or(plain);
    ottla_cli::tools()
        .iter()
        .find(|tool| tool.strip_prefix("kafka-").unwrap_or(tool) == plain)
        .map(|t| t.to_string())
}

fn tool(name: &str, args: Vec<String>) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("ottla: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(ottla_cli::run(name, args)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{}", ottla_cli::line_of(&error));
            ExitCode::FAILURE
        }
    }
}

fn usage() -> String {
    let tools = ottla_cli::tools().join(", ");
    format!(
        "Usage: ottla [server [FILE] [--override KEY=VALUE ...]]   start a broker; FILE is Kafka's server.properties\n\
         \x20      ottla quickstart                                start a broker and pass a first record through it\n\
         \x20      ottla quickstart --nodes 3                      the same with several nodes on this machine\n\
         \x20      ottla TOOL [ARGUMENTS]                          one of: {tools}"
    )
}

#[cfg(test)]
mod stories {
    use super::*;

    #[test]
    fn the_name_it_is_started_under_comes_first() {
        let check = |words: &str, expected: &str| {
            let mut args: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
            let program = args.remove(0);
            let chosen = match command(&program, &mut args) {
                Command::Server => "server".to_owned(),
                Command::Quickstart => "quickstart".to_owned(),
                Command::Tool(name) => name,
                Command::Help => "help".to_owned(),
                Command::Unknown(name) => format!("no {name}"),
            };
            assert_eq!(format!("{chosen}({})", args.join(" ")), expected, "{words}");
        };
        check("/usr/bin/ottla", "server()");
        check("ottla server a.properties", "server(a.properties)");
        check("bin/kafka-server-start.sh a.properties --override k=v", "server(a.properties --override k=v)");
        check("kafka-server-start a.properties", "server(a.properties)");
        check("/opt/kafka/bin/kafka-topics.sh --list", "kafka-topics(--list)");
        check("ottla kafka-topics.sh --list", "kafka-topics(--list)");
        check("ottla topics --list", "kafka-topics(--list)");
        check("kafka-nothing.sh", "no kafka-nothing()");
        check("ottla nothing", "no nothing()");
        check("ottla quickstart", "quickstart()");
        check("ottla --help", "help()");
    }
}
