//! Kafka's command-line tools, natively: the same names, options, output and exit codes, without a JVM.
//!
//! There is one file for each tool, by the tool's name. [`run`] finds it; `options` reads arguments as Kafka's tools do, and
//! `command_config` the properties file of a client. A tool is a client like any other and must never reach into a broker;
//! only `kafka-storage` touches files, those of a broker that is not running.

mod broker_api_versions;
mod command_config;
mod console_consumer;
mod console_producer;
mod first_record;
mod get_offsets;
mod line;
mod options;
mod partitioner;
mod storage;
mod topic_filter;
mod topics;

pub use first_record::first_record;
pub use line::line_of;

use anyhow::bail;
use options::Failure;
use std::pin::Pin;
use std::process::ExitCode;

const TOOLS: [&str; 6] = [
    "kafka-topics",
    "kafka-broker-api-versions",
    "kafka-console-producer",
    "kafka-console-consumer",
    "kafka-get-offsets",
    "kafka-storage",
];

/// The names of the tools, as Kafka's scripts are called without `.sh`.
pub fn tools() -> &'static [&'static str] {
    &TOOLS
}

/// Runs a tool, named with or without `kafka-` and `.sh`. What it has to say goes to standard output and
/// standard error as Kafka's tool would print it; `Err` is for a name that is no tool.
pub fn run(tool: &str, args: Vec<String>) -> Run<'_> {
    Box::pin(run_tool(tool, args))
}

/// A run of a tool. It is boxed so that the tools are compiled once, here: a plain `async fn` is compiled by the program
/// that polls it, once for each place in the runtime that does.
pub type Run<'a> = Pin<Box<dyn Future<Output = anyhow::Result<ExitCode>> + 'a>>;

async fn run_tool(tool: &str, args: Vec<String>) -> anyhow::Result<ExitCode> {
    let plain = tool.strip_suffix(".sh").unwrap_or(tool);
    let outcome = match plain.strip_prefix("kafka-").unwrap_or(plain) {
        "topics" => topics::run(&args).await,
        "broker-api-versions" => broker_api_versions::run(&args).await,
        "console-producer" => console_producer::run(&args).await,
        "console-consumer" => console_consumer::run(&args).await,
        "get-offsets" => get_offsets::run(&args).await,
        "storage" => storage::run(&args),
        _ => bail!("there is no tool {tool}; there are {}", TOOLS.join(", ")),
    };
    Ok(match outcome {
        Ok(code) => code,
        Err(Failure::Asked(text)) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(Failure::Wrong(text)) => {
            eprintln!("{text}");
            ExitCode::FAILURE
        }
    })
}
