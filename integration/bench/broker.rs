//! A broker as a process of its own on loopback, with a data directory that is gone with it. Both kinds get the same
//! properties.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use ottla_protocol::ErrorCode;
use tempfile::TempDir;

use crate::produce::{self, SINGLE_RECORDS};
use crate::setup::{Setup, retry};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    Ottla,
    Kafka,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Ottla => "ottla",
            Kind::Kafka => "kafka",
        }
    }
}

/// Where the programs are.
#[derive(Clone, Debug, clap::Args)]
pub struct Programs {
    /// The ottla binary.
    #[arg(long)]
    ottla: Option<PathBuf>,
    /// A folder with Apache Kafka's jars.
    #[arg(long)]
    jars: Option<PathBuf>,
    /// Apache Kafka's log4j2 configuration.
    #[arg(long)]
    log4j: Option<PathBuf>,
    /// A Python that has librdkafka.
    #[arg(long)]
    python: Option<PathBuf>,
}

impl Programs {
    pub fn version(&self, kind: Kind) -> Result<String> {
        match kind {
            Kind::Ottla => {
                let output = Command::new(self.ottla()?).arg("--version").output()?;
                Ok(String::from_utf8_lossy(&output.stdout).trim().to_string())
            }
            Kind::Kafka => {
                let names = std::fs::read_dir(self.jars()?)?.flatten().map(|jar| jar.file_name());
                let version = names.filter_map(|name| {
                    let name = name.into_string().ok()?;
                    Some(name.strip_prefix("kafka-clients-")?.strip_suffix(".jar")?.to_string())
                });
                let version = version.max().context("there is no jar of Kafka's clients")?;
                Ok(format!("Apache Kafka {version}"))
            }
        }
    }

    pub fn python(&self) -> Result<&PathBuf> {
        self.python.as_ref().context("--python is needed")
    }

    fn ottla(&self) -> Result<&PathBuf> {
        self.ottla.as_ref().context("--ottla is needed")
    }

    fn jars(&self) -> Result<&PathBuf> {
        self.jars.as_ref().context("--jars is needed")
    }
}

/// A running broker. Dropped, it is killed and its data removed.
pub struct Broker {
    pub address: String,
    pub started_within: Duration,
    process: Child,
    dir: TempDir,
    data: PathBuf,
}

impl Broker {
    /// Starts on an empty data directory and measures the time from there to the first acknowledged record.
    pub fn start(kind: Kind, programs: &Programs) -> Result<Broker> {
        let dir = tempfile::Builder::new().prefix("ottla-bench-").tempdir()?;
        let (port, controller_port) = (free_port(0)?, free_port(1)?);
        let address = format!("127.0.0.1:{port}");
        let properties = dir.path().join("server.properties");
        let data = dir.path().join("data");
        std::fs::write(
            &properties,
            format!(
                "process.roles=broker,controller\n\
                 node.id=1\n\
                 controller.quorum.bootstrap.servers=127.0.0.1:{controller_port}\n\
                 listeners=PLAINTEXT://{address},CONTROLLER://127.0.0.1:{controller_port}\n\
                 advertised.listeners=PLAINTEXT://{address}\n\
                 listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
                 inter.broker.listener.name=PLAINTEXT\n\
                 controller.listener.names=CONTROLLER\n\
                 log.dirs={}\n\
                 num.partitions=1\n\
                 log.retention.check.interval.ms=5000\n\
                 log.segment.delete.delay.ms=1000\n\
                 offsets.topic.replication.factor=1\n\
                 transaction.state.log.replication.factor=1\n\
                 transaction.state.log.min.isr=1\n",
                data.display()
            ),
        )?;
        let mut command = server(kind, programs, dir.path(), &["--standalone"])?;
        let spawned = Instant::now();
        let process = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
        let mut broker = Broker { address, started_within: Duration::ZERO, process, dir, data };
        let served = broker.first_record();
        broker.started_within = spawned.elapsed();
        served.with_context(|| format!("{kind:?} does not serve:\n{}", broker.log_tail()))?;
        Ok(broker)
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// The folder of its partitions.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Creates a topic and has a record acknowledged.
    fn first_record(&mut self) -> Result<()> {
        let mut setup = Setup::connect(&self.address, STARTS_WITHIN)?;
        let topic = setup.create_topic("first", 1, &[], &[], STARTS_WITHIN)?;
        let frame = produce::frame(&topic.id, 0, &produce::batch_of(SINGLE_RECORDS), SINGLE_RECORDS.acks);
        retry(STARTS_WITHIN, || match produce::read_answer(setup.exchange(&frame)?)? {
            ErrorCode::None => Ok(()),
            error => bail!("Produce is answered with {error:?}"),
        })
    }

    pub fn log_tail(&self) -> String {
        log_tail(self.dir.path())
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // Its data goes with it, so nothing is gained by a clean shutdown.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The last lines that the broker of this folder wrote.
pub fn log_tail(dir: &Path) -> String {
    let log = std::fs::read(dir.join("log")).unwrap_or_default();
    let text = String::from_utf8_lossy(&log);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}

/// The broker of `server.properties` in this folder, formatted in Kafka's way where that is needed, its output in `log`.
pub fn server(kind: Kind, programs: &Programs, dir: &Path, format: &[&str]) -> Result<Command> {
    let properties = dir.join("server.properties");
    let mut command = match kind {
        Kind::Ottla => {
            let mut command = dies_with_us(programs.ottla()?);
            command.arg("server").env("CLUSTER_ID", CLUSTER_ID);
            command
        }
        Kind::Kafka => {
            let mut command = java(programs, &["kafka.tools.StorageTool", "format"])?;
            let words = ["--cluster-id", CLUSTER_ID, "--config"];
            let done = command.args(format).args(words).arg(&properties).output()?;
            if !done.status.success() {
                bail!("kafka-storage format: {}", String::from_utf8_lossy(&done.stderr));
            }
            java(programs, &[KAFKA_JVM, &["kafka.Kafka"]].concat())?
        }
    };
    let log = File::create(dir.join("log"))?;
    command.arg(&properties).current_dir(dir).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    Ok(command)
}

/// A JVM with Kafka's jars that ends with us.
pub fn java(programs: &Programs, words: &[&str]) -> Result<Command> {
    let jars = programs.jars()?;
    let mut command = dies_with_us("java");
    if let Some(log4j) = &programs.log4j {
        command.arg(format!("-Dlog4j2.configurationFile={}", log4j.display()));
    }
    command.arg("-cp").arg(jars.join("*")).args(words);
    Ok(command)
}

/// The program ends with us, however we end.
pub fn dies_with_us(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// Below the range of outgoing connections: a client that retries a port there can connect to itself.
pub fn free_port(nth: usize) -> Result<u16> {
    let first = 20_000 + (std::process::id() % 5_000) as u16 * 2;
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    (first..32_000).filter(is_free).nth(nth).context("no port is free")
}

/// What Kafka's own start script passes: a heap of 1 GB and a tuned G1.
const KAFKA_JVM: &[&str] = &[
    "-Xmx1G",
    "-Xms1G",
    "-server",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent",
    "-XX:MaxInlineLevel=15",
    "-Djava.awt.headless=true",
];
const CLUSTER_ID: &str = "J4f8Yy1nQ2uO0l3nKvQb8A";
const STARTS_WITHIN: Duration = Duration::from_secs(60);
