//! What transactions cost: one producer and sixteen, each transaction with 100 records to each of three partitions, on one
//! node or on three with three replicas of everything. By a thin client, so that the brokers have the machine, and by Java
//! producers in one JVM, as applications have them.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use tempfile::TempDir;

use crate::broker::{Broker, Kind, Programs, java};
use crate::machine::settle;
use crate::produce::Shape;
use crate::rounds::{Row, in_turn, print_table};
use crate::section::Target;
use crate::transacting::{self, Crowd, Transacted};
use crate::trio::Trio;

/// What is measured.
pub struct Plan {
    pub nodes: usize,
    pub record_bytes: usize,
    pub clients: Clients,
    /// Of each measurement.
    pub time: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Clients {
    Thin,
    Java,
    Both,
}

/// A client and its producers.
#[derive(Clone, Copy, Debug)]
struct Load {
    client: Clients,
    crowd: Crowd,
}

/// The figures of a load, their units, and whether more is better.
const FIGURES: [(&str, &str, bool); 6] = [
    ("transactions", "1/s", true),
    ("commit p50", "ms", false),
    ("commit p99", "ms", false),
    ("whole p50", "ms", false),
    ("whole p99", "ms", false),
    ("CPU of the nodes for 1,000", "s", false),
];

/// Rounds of the two in turn, A B B A, and the table of medians and paired ratios.
pub fn run(kinds: &[Kind], pairs: usize, programs: &Programs, plan: &Plan) -> Result<()> {
    ensure!([1, 3].contains(&plan.nodes), "--nodes is 1 or 3");
    let rounds = in_turn(kinds, pairs, |kind| round(kind, programs, plan))?;
    let mut rows: Vec<Row> = Vec::new();
    for load in loads(plan.clients) {
        rows.extend(FIGURES.map(|(what, unit, more)| (format!("{load}: {what}"), unit, more)));
    }
    rows.push(("memory of the nodes afterwards".into(), "MB", false));
    let replicas = if plan.nodes > 1 { ", three replicas" } else { "" };
    print_table(&format!("transactions, {} node(s){replicas}", plan.nodes), kinds, &rows, &rounds);
    Ok(())
}

fn loads(clients: Clients) -> Vec<Load> {
    let unpaced =
        |client| PRODUCERS.map(|producers| Load { client, crowd: Crowd { producers, per_second: None } });
    let paced = Load { client: Clients::Thin, crowd: PACED };
    let thin = [&unpaced(Clients::Thin)[..], &[paced]].concat();
    match clients {
        Clients::Thin => thin,
        Clients::Java => unpaced(Clients::Java).to_vec(),
        Clients::Both => [thin, unpaced(Clients::Java).to_vec()].concat(),
    }
}

/// The figures in the order of the table's rows.
fn round(kind: Kind, programs: &Programs, plan: &Plan) -> Result<Vec<f64>> {
    match plan.nodes {
        1 => {
            let broker = Broker::start(kind, programs)?;
            measure_all(kind, &Target::new(&broker.address, broker.pid(), None), programs, plan)
        }
        _ => {
            let trio = Trio::start(kind, programs)?;
            measure_all(kind, &trio.spread(), programs, plan)
        }
    }
}

fn measure_all(kind: Kind, target: &Target<'_>, programs: &Programs, plan: &Plan) -> Result<Vec<f64>> {
    let mut jvm = match plan.clients {
        Clients::Thin => None,
        Clients::Java | Clients::Both => Some(Jvm::start(target, programs, plan)?),
    };
    // A JVM compiles what it has seen often.
    for load in loads(plan.clients) {
        measure(kind, target, load, jvm.as_mut(), plan, "warm-up")?;
    }
    let mut figures = Vec::new();
    for load in loads(plan.clients) {
        figures.extend(measure(kind, target, load, jvm.as_mut(), plan, "measured")?);
    }
    figures.push(target.resident_mb()?);
    Ok(figures)
}

fn measure(
    kind: Kind,
    target: &Target<'_>,
    load: Load,
    jvm: Option<&mut Jvm>,
    plan: &Plan,
    stage: &str,
) -> Result<[f64; 6]> {
    let name = format!("{stage}-{load}").replace([' ', ',', '/'], "-");
    let topic = target.topic(&name, PARTITIONS)?;
    let shape = Shape { records: RECORDS, record_bytes: plan.record_bytes, acks: -1 };
    let (done, spent) = target.measure(|| match jvm.filter(|_| load.client == Clients::Java) {
        Some(jvm) => jvm.run(&name, load.crowd.producers, plan.time),
        None => transacting::run(target, &topic, shape, load.crowd, plan.time),
    })?;
    let per_second = done.count as f64 / done.elapsed.as_secs_f64();
    let per_thousand = 1e3 / done.count as f64;
    eprintln!(
        "{kind:?}, {stage}, {load}: {per_second:.0}/s; commit p50 {:.2} p99 {:.2}, whole p50 {:.2} p99 {:.2} ms; CPU \
         seconds of 1,000: nodes {:.2}, client {:.2}; refused {}",
        done.commit.0,
        done.commit.1,
        done.whole.0,
        done.whole.1,
        spent.broker * per_thousand,
        done.client_cpu * per_thousand,
        done.refused,
    );
    target.delete_topics()?;
    settle(SETTLES_WITHIN)?;
    let Transacted { commit, whole, .. } = done;
    Ok([per_second, commit.0, commit.1, whole.0, whole.1, spent.broker * per_thousand])
}

/// The JVM with the Java producers. Dropped, it is killed.
struct Jvm {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    _folder: TempDir,
}

impl Jvm {
    fn start(target: &Target<'_>, programs: &Programs, plan: &Plan) -> Result<Jvm> {
        let folder = tempfile::Builder::new().prefix("ottla-bench-java-").tempdir()?;
        let source = folder.path().join("Transactions.java");
        std::fs::write(&source, SOURCE)?;
        // Java compiles the one file as it starts.
        let mut command = java(programs, &["-Xmx512M", "-server", "-XX:+UseG1GC"])?;
        command.arg(&source).arg(target.address);
        command.args([PARTITIONS, RECORDS, plan.record_bytes].map(|number| number.to_string()));
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
        let orders = child.stdin.take().context("a pipe")?;
        let answers = BufReader::new(child.stdout.take().context("a pipe")?);
        Ok(Jvm { child, orders, answers, _folder: folder })
    }

    fn run(&mut self, topic: &str, producers: usize, time: Duration) -> Result<Transacted> {
        writeln!(self.orders, "{topic} {producers} {}", time.as_secs_f64())?;
        let mut line = String::new();
        // Others are what Kafka's client logs.
        while !line.starts_with(ANSWER) {
            line.clear();
            ensure!(self.answers.read_line(&mut line)? > 0, "the Java producers have ended");
        }
        let numbers: Vec<f64> = line.split_whitespace().flat_map(str::parse).collect();
        let [count, seconds, commit_p50, commit_p99, whole_p50, whole_p99, client_cpu] = numbers[..] else {
            bail!("the Java producers say: {line}");
        };
        Ok(Transacted {
            count: count as u64,
            elapsed: Duration::from_secs_f64(seconds),
            commit: (commit_p50, commit_p99),
            whole: (whole_p50, whole_p99),
            client_cpu,
            refused: 0,
        })
    }
}

impl Drop for Jvm {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl std::fmt::Display for Load {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let client = format!("{:?}", self.client).to_lowercase();
        let Crowd { producers, per_second } = self.crowd;
        write!(f, "{client} client, {producers} producer{}", if producers > 1 { "s" } else { "" })?;
        per_second.map_or(Ok(()), |rate| write!(f, " at {rate:.0}/s"))
    }
}

const SOURCE: &str = include_str!("Transactions.java");
/// An answer of the Java producers begins like that.
const ANSWER: &str = "transactions ";
const PRODUCERS: [usize; 2] = [1, 16];
/// As many as either can, so that latencies can be held against each other.
const PACED: Crowd = Crowd { producers: 16, per_second: Some(200.0) };
const PARTITIONS: usize = 3;
const RECORDS: usize = 100;
const SETTLES_WITHIN: Duration = Duration::from_secs(30);
