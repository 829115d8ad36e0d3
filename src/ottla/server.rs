//! `ottla server`: from arguments, environment and a file to a broker that runs until it is told to stop.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;

use ottla_broker::{BootError, LogFilter, Options, Server};
use ottla_model::config::{BrokerConfig, Sources, load};
use tokio::signal::unix::{SignalKind, signal};
use tracing::warn;

/// What the command line says.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Arguments {
    pub file: Option<PathBuf>,
    pub overrides: Vec<(String, String)>,
}

/// Serves until SIGTERM or SIGINT.
pub fn main(args: &[String]) -> ExitCode {
    run(args, |_| Box::pin(async { Ok(()) }))
}

/// Work that waits and may fail. It is boxed so that it is compiled once, and not for each place in the runtime that polls it.
pub type Work = Pin<Box<dyn Future<Output = anyhow::Result<()>>>>;

/// Serves; `then` runs once the broker does, and its failure ends it.
pub fn run(args: &[String], then: fn(SocketAddr) -> Work) -> ExitCode {
    let log = start_logging();
    match try_run(args, log, then) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ottla: {}", ottla_cli::line_of(&error));
            ExitCode::FAILURE
        }
    }
}

fn try_run(args: &[String], log: LogFilter, then: fn(SocketAddr) -> Work) -> anyhow::Result<()> {
    let arguments = parse(args)?;
    let config = configure(&arguments)?;
    let cluster_id = std::env::var("CLUSTER_ID").ok().filter(|id| !id.is_empty());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("worker").build()?;
    let work: Work = Box::pin(async move {
        let (server, failure) = ottla_broker::start(config, Options { cluster_id, log }).await?;
        serve(server, failure, then).await
    });
    let outcome = runtime.block_on(work);
    // Whatever still waits for a client has nothing to lose.
    runtime.shutdown_background();
    outcome
}

async fn serve(
    server: Server,
    failure: ottla_broker::Failure,
    then: fn(SocketAddr) -> Work,
) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let failed = async {
        match failure.await {
            Ok(failure) => failure,
            Err(_) => std::future::pending::<BootError>().await,
        }
    };
    let greeted = then(server.addresses[0]);
    let until = async {
        greeted.await?;
        std::future::pending::<anyhow::Result<()>>().await
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        outcome = until => {
            server.stop().await;
            return outcome;
        }
        failure = failed => return Err(failure.into()),
    }
    server.stop().await;
    Ok(())
}

fn configure(arguments: &Arguments) -> anyhow::Result<BrokerConfig> {
    let file = match &arguments.file {
        None => None,
        Some(path) => {
            let bytes = std::fs::read(path)
                .map_err(|error| anyhow::anyhow!("cannot read {}: {error}", path.display()))?;
            Some((path.clone(), bytes))
        }
    };
    // A variable that is no UTF-8 is none of ours.
    let env = std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
    let (config, warnings) = load(Sources { file, env, overrides: &arguments.overrides })?;
    for warning in warnings {
        warn!("{warning}");
    }
    Ok(config)
}

fn parse(args: &[String]) -> anyhow::Result<Arguments> {
    let mut parsed = Arguments::default();
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        let pair = match arg.strip_prefix("--override") {
            Some("") => rest.next().map(String::as_str),
            Some(given) => given.strip_prefix('='),
            None if arg.starts_with('-') => {
                anyhow::bail!("unknown option {arg}; allowed are [FILE] [--override KEY=VALUE ...]")
            }
            None if parsed.file.is_some() => anyhow::bail!("a second file, {arg}; only one is allowed"),
            None => {
                parsed.file = Some(PathBuf::from(arg));
                continue;
            }
        };
        let Some((key, value)) = pair.and_then(|pair| pair.split_once('=')) else {
            anyhow::bail!("--override needs KEY=VALUE, for example --override num.partitions=3");
        };
        parsed.overrides.push((key.to_owned(), value.to_owned()));
    }
    Ok(parsed)
}

// To standard output, where Kafka's images log and where Testcontainers looks for its lines.
fn start_logging() -> LogFilter {
    use tracing_subscriber::EnvFilter;
    let wanted = std::env::var("OTTLA_LOG").ok().filter(|wanted| EnvFilter::try_new(wanted).is_ok());
    let started_with = wanted.unwrap_or_else(|| "info".to_owned());
    let log = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(&started_with))
        .with_filter_reloading()
        .with_target(false)
        .with_ansi(false);
    let filter = log.reload_handle();
    log.init();
    // It fails only once nobody writes a log any more.
    let apply = Arc::new(move |directives: &str| drop(filter.reload(EnvFilter::new(directives))));
    LogFilter { started_with, apply }
}

#[cfg(test)]
mod stories {
    use super::*;

    #[test]
    fn arguments_are_those_of_kafka_server_start() {
        let args = |words: &str| parse(&words.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        let pair = |k: &str, v: &str| (k.to_owned(), v.to_owned());
        let good = [
            ("", None, vec![]),
            ("a.properties", Some("a.properties"), vec![]),
            ("a.properties --override k=v", Some("a.properties"), vec![pair("k", "v")]),
            ("--override k=v=w --override=l=", None, vec![pair("k", "v=w"), pair("l", "")]),
        ];
        for (words, file, overrides) in good {
            let parsed = args(words).expect(words);
            assert_eq!((parsed.file, parsed.overrides), (file.map(PathBuf::from), overrides), "{words}");
        }
        for words in ["--override", "--override k", "--verbose", "a b"] {
            assert!(args(words).is_err(), "{words}");
        }
    }
}
