//! The one broker that the tests share: found at an address, or built and started. It must never know what
//! is being tested.

use crate::requests::{commit, text};
use anyhow::{Context, Result, bail, ensure};
use ottla_client::admin::NewTopic;
use ottla_client::consume::Isolation;
use ottla_client::{Cluster, ClusterOptions, Connection, Options, RawConnection};
use ottla_protocol::messages::{DescribeGroupsRequest, FindCoordinatorRequest, GroupId};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use uuid::Uuid;

/// A running broker.
#[derive(Debug)]
pub struct Broker {
    /// `host:port` of its client listener.
    pub address: String,
    /// Its process, if it is ours.
    pub pid: Option<u32>,
    /// What it prints goes here.
    output: Option<PathBuf>,
    // Dropped with the test process: that closes its standard input, and it ends the broker.
    _keeper: Option<Child>,
}

/// A topic made for one test.
#[derive(Clone, Debug)]
pub struct Topic {
    pub name: String,
    pub id: Uuid,
}

const START_TIMEOUT: Duration = Duration::from_secs(60);

/// No answer within this is a failure of the test. Long, for machines with other things to do.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The shared broker; the first caller starts it and waits until it answers.
pub async fn broker() -> &'static Broker {
    static BROKER: OnceLock<Broker> = OnceLock::new();
    let broker = BROKER.get_or_init(|| start_or_find().expect("a broker to test"));
    broker.wait_until_ready().await.expect("the broker answers");
    broker
}

fn start_or_find() -> Result<Broker> {
    match std::env::var("PROTOCOL_TESTS_ADDRESS") {
        Ok(address) => Ok(Broker { address, pid: None, output: None, _keeper: None }),
        Err(_) => start(&[]),
    }
}

/// A broker of ours with settings of its own; None where an address was given, which cannot be set up.
pub async fn broker_with(settings: &[(&str, &str)]) -> Result<Option<Broker>> {
    if std::env::var_os("PROTOCOL_TESTS_ADDRESS").is_some() {
        return Ok(None);
    }
    let broker = start(settings)?;
    broker.wait_until_ready().await?;
    Ok(Some(broker))
}

/// A broker that no other test talks to, so that its memory is this test's doing. One that was found at an
/// address cannot be had alone.
pub async fn broker_alone() -> Result<Broker> {
    let broker = start_or_find()?;
    broker.wait_until_ready().await?;
    Ok(broker)
}

fn start(settings: &[(&str, &str)]) -> Result<Broker> {
    let program = program()?;
    let data = tempfile::Builder::new().prefix("protocol-tests-").tempdir()?.keep();
    let (port, controller_port) = (free_port()?, free_port()?);
    let address = format!("127.0.0.1:{port}");
    // A file, so that everything else has Kafka's own default.
    let mut file = format!(
        "process.roles=broker,controller\n\
         node.id=1\n\
         listeners=PLAINTEXT://{address},CONTROLLER://127.0.0.1:{controller_port}\n\
         advertised.listeners=PLAINTEXT://{address}\n\
         controller.listener.names=CONTROLLER\n\
         controller.quorum.voters=1@127.0.0.1:{controller_port}\n\
         offsets.topic.replication.factor=1\n\
         transaction.state.log.replication.factor=1\n\
         transaction.state.log.min.isr=1\n\
         group.initial.rebalance.delay.ms=0\n\
         log.dirs={}\n",
        data.join("logs").display()
    );
    file.extend(settings.iter().map(|(key, value)| format!("{key}={value}\n")));
    std::fs::write(data.join("server.properties"), file)?;
    // The shell ends the broker and removes its data once this process is gone, however it went.
    let keeper = r#""$1" server "$2/server.properties" >"$2/broker.log" 2>&1 &
        echo $!; cat >"$2/stdin"; kill -9 $!; rm -rf "$2""#;
    let mut command = Command::new("sh");
    command.arg("-c").arg(keeper).arg("sh").arg(program).arg(&data);
    let mut keeper = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let stdout = keeper.stdout.take().context("the shell has an output")?;
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line)?;
    let output = Some(data.join("broker.log"));
    Ok(Broker { address, pid: Some(line.trim().parse()?), output, _keeper: Some(keeper) })
}

/// `OTTLA_BIN`, else the binary beside this test's own, built first.
fn program() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("OTTLA_BIN") {
        return Ok(PathBuf::from(path));
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the workspace")?;
    let mut build = Command::new(env!("CARGO"));
    build.current_dir(root).args(["build", "--quiet", "--package", "ottla"]);
    if !cfg!(debug_assertions) {
        build.arg("--release");
    }
    if !build.status().context("running cargo")?.success() {
        bail!("ottla does not build");
    }
    // target/debug/deps/protocol-0123 -> target/debug/ottla
    let own = std::env::current_exe()?;
    let folder = own.ancestors().nth(2).context("the test binary lies in target/<profile>/deps")?;
    Ok(folder.join("ottla"))
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

impl Broker {
    async fn wait_until_ready(&self) -> Result<()> {
        let options = ClusterOptions { call_timeout: START_TIMEOUT, ..ClusterOptions::default() };
        Cluster::connect(&self.address, options).await.with_context(|| self.last_words())?;
        Ok(())
    }

    fn last_words(&self) -> String {
        let output =
            self.output.as_ref().and_then(|path| std::fs::read_to_string(path).ok()).unwrap_or_default();
        let lines: Vec<&str> = output.lines().collect();
        format!("the broker's last words:\n{}", lines[lines.len().saturating_sub(20)..].join("\n"))
    }

    /// Whether it is the ottla of this workspace, with the limits that we set.
    pub fn is_ours(&self) -> bool {
        self.pid.is_some()
    }

    /// A new connection.
    pub async fn connect(&self) -> Result<Connection> {
        let options = Options { request_timeout: PATIENCE, ..Options::default() };
        Ok(Connection::connect_with(&self.address, options).await?)
    }

    /// A new connection that sends and receives bare bytes.
    pub async fn connect_raw(&self) -> Result<RawConnection> {
        Ok(RawConnection::connect(&self.address, PATIENCE).await?)
    }

    /// A client of the cluster.
    pub async fn cluster(&self) -> Result<Cluster> {
        Ok(Cluster::connect(&self.address, ClusterOptions::default()).await?)
    }

    /// A new topic with a name that no other has.
    pub async fn topic(&self, partitions: i32, configs: &[(&str, &str)]) -> Result<Topic> {
        let topic = NewTopic {
            name: unique_name("topic"),
            partitions: Some(partitions),
            replication_factor: Some(1),
            configs: configs.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect(),
            ..NewTopic::default()
        };
        let cluster = self.cluster().await?;
        let created = cluster.create_topic(&topic, false).await?;
        // Metadata may name a leader a moment before it serves.
        let partitions: Vec<i32> = (0..partitions).collect();
        cluster.list_offsets(&topic.name, &partitions, -1, Isolation::ReadUncommitted).await?;
        Ok(Topic { name: topic.name, id: created.topic_id })
    }

    /// A group that no other test uses, whose coordinator is there and ready.
    pub async fn group(&self) -> Result<String> {
        let name = unique_name("group");
        let connection = self.connect().await?;
        let find = FindCoordinatorRequest::default().with_coordinator_keys(vec![text(&name)]);
        let described = DescribeGroupsRequest::default().with_groups(vec![GroupId(text(&name))]);
        crate::eventually("a coordinator", async || {
            let found = connection.send(&find, 4).await?;
            let told = connection.send(&described, 4).await?;
            let ready = found.coordinators[0].error_code == 0 && told.groups[0].error_code == 0;
            Ok(ready.then_some(()))
        })
        .await?;
        Ok(name)
    }

    /// The same, and it has committed an offset in a topic of its own.
    pub async fn group_with_an_offset(&self) -> Result<String> {
        let (group, topic) = (self.group().await?, self.topic(1, &[]).await?);
        let answer = self.connect().await?.send(&commit(&group, &topic, 7, Some("")), 9).await?;
        ensure!(answer.topics[0].partitions[0].error_code == 0, "the commit is taken");
        Ok(group)
    }

    /// Bytes of memory that the process occupies; `None` for a broker that is not ours.
    pub fn resident_bytes(&self) -> Result<Option<u64>> {
        self.status_bytes("VmRSS:")
    }

    /// The most that it has occupied so far.
    pub fn peak_bytes(&self) -> Result<Option<u64>> {
        self.status_bytes("VmHWM:")
    }

    fn status_bytes(&self, key: &str) -> Result<Option<u64>> {
        let Some(pid) = self.pid else { return Ok(None) };
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix(key)).with_context(|| key.to_string())?;
        let kilobytes: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
        Ok(Some(kilobytes * 1024))
    }
}

/// A name that nothing on the broker has yet, also when it is tested twice.
pub fn unique_name(what: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    static RUN: OnceLock<String> = OnceLock::new();
    let run = RUN.get_or_init(|| Uuid::new_v4().simple().to_string()[..8].to_string());
    format!("{what}-{run}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}
