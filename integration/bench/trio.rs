//! Three nodes, each broker and controller, as processes on loopback.

use std::path::Path;
use std::process::Child;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use ottla_protocol::ErrorCode;
use tempfile::TempDir;

use crate::broker::{Kind, Programs, free_port, log_tail, server};
use crate::produce::{self, SINGLE_RECORDS};
use crate::section::{Cluster, Target};
use crate::setup::{Setup, retry};

/// Dropped, its nodes are killed and their data removed.
pub struct Trio {
    address: String,
    pids: Vec<u32>,
    nodes: Vec<Node>,
}

struct Node {
    process: Child,
    dir: TempDir,
}

impl Trio {
    /// Returns once a record on three replicas was acknowledged.
    pub fn start(kind: Kind, programs: &Programs) -> Result<Trio> {
        let ports = (0..2 * NODES.len()).map(free_port).collect::<Result<Vec<u16>>>()?;
        let (ports, controllers) = ports.split_at(NODES.len());
        let voters: Vec<String> =
            NODES.iter().zip(controllers).map(|(id, port)| format!("{id}@127.0.0.1:{port}")).collect();
        let mut trio =
            Trio { address: format!("127.0.0.1:{}", ports[0]), pids: Vec::new(), nodes: Vec::new() };
        for (id, (port, controller)) in NODES.iter().zip(ports.iter().zip(controllers)) {
            let dir = tempfile::Builder::new().prefix("ottla-bench-").tempdir()?;
            let text = properties(*id, *port, *controller, &voters.join(","), dir.path());
            std::fs::write(dir.path().join("server.properties"), text)?;
            let mut command = server(kind, programs, dir.path(), &[])?;
            let process = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
            trio.pids.push(process.id());
            trio.nodes.push(Node { process, dir });
        }
        trio.first_record().with_context(|| format!("{kind:?} does not serve:\n{}", trio.log_tails()))?;
        Ok(trio)
    }

    /// The first node leads every partition.
    pub fn target(&self) -> Target<'_> {
        self.with_replicas(&NODES)
    }

    /// The controller spreads the leaders.
    pub fn spread(&self) -> Target<'_> {
        self.with_replicas(&[])
    }

    fn with_replicas<'a>(&'a self, replicas: &'a [i32]) -> Target<'a> {
        let cluster = Cluster { replicas, followers: &self.pids[1..] };
        Target::of_cluster(&self.address, self.pids[0], cluster)
    }

    fn first_record(&self) -> Result<()> {
        let mut setup = Setup::connect(&self.address, STARTS_WITHIN)?;
        let topic = setup.create_topic("first", 1, &[], &NODES, STARTS_WITHIN)?;
        let frame = produce::frame(&topic.id, 0, &produce::batch_of(SINGLE_RECORDS), SINGLE_RECORDS.acks);
        retry(STARTS_WITHIN, || match produce::read_answer(setup.exchange(&frame)?)? {
            ErrorCode::None => Ok(()),
            error => bail!("Produce is answered with {error:?}"),
        })
    }

    fn log_tails(&self) -> String {
        self.nodes.iter().map(|node| log_tail(node.dir.path())).collect::<Vec<_>>().join("\n---\n")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn properties(id: i32, port: u16, controller: u16, voters: &str, dir: &Path) -> String {
    format!(
        "process.roles=broker,controller\n\
         node.id={id}\n\
         controller.quorum.voters={voters}\n\
         listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{port}\n\
         listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
         inter.broker.listener.name=PLAINTEXT\n\
         controller.listener.names=CONTROLLER\n\
         log.dirs={}\n\
         default.replication.factor=3\n\
         min.insync.replicas=2\n\
         log.retention.check.interval.ms=5000\n\
         log.segment.delete.delay.ms=1000\n",
        dir.join("data").display()
    )
}

const NODES: [i32; 3] = [1, 2, 3];
const STARTS_WITHIN: Duration = Duration::from_secs(90);
