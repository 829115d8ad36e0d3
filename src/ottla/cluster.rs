//! `ottla quickstart --nodes 3`: that many nodes on this machine, each a process as `ottla server` makes it, with a folder of
//! their own that goes with them; and a first record through a topic that has a replica on each.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::signal::unix::{SignalKind, signal};

const CLUSTER_ID: &str = "4L6g3nShT-eMCtK--X86sw";
const NODES_MAX: usize = 9;
/// More replicas than these make no record safer to look at.
const REPLICAS_MAX: usize = 3;
/// For the first record: nodes that start on a busy machine have to find each other.
const PATIENCE: Duration = Duration::from_secs(60);

/// How many nodes the arguments ask for. `None`: they do not say, and one is started as ever.
pub fn nodes(args: &[String]) -> anyhow::Result<Option<usize>> {
    let mut words = args.iter().flat_map(|arg| arg.split('='));
    if words.next() != Some("--nodes") {
        return Ok(None);
    }
    let count =
        words.next().and_then(|count| count.parse().ok()).filter(|count| (1..=NODES_MAX).contains(count));
    match (count, words.next()) {
        (Some(count), None) => Ok(Some(count)),
        (Some(_), Some(more)) => bail!("{more} does not go together with --nodes"),
        (None, _) => bail!("--nodes needs a number from 1 to {NODES_MAX}"),
    }
}

/// Starts them, shows a record, and stays until Ctrl-C, or until all of them have ended.
pub fn run(count: usize) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut cluster = Cluster::start(count)?;
    runtime.block_on(async {
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        tokio::select! {
            outcome = cluster.serve() => outcome,
            _ = terminate.recv() => Ok(()),
            _ = interrupt.recv() => Ok(()),
        }
    })
}

struct Cluster {
    folder: PathBuf,
    nodes: Vec<Node>,
}

struct Node {
    id: usize,
    address: String,
    file: PathBuf,
    process: Child,
}

impl Cluster {
    fn start(count: usize) -> anyhow::Result<Cluster> {
        let folder = std::env::temp_dir().join(format!("ottla-quickstart-{}", std::process::id()));
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let mut cluster = Cluster { folder, nodes: Vec::new() };
        let ports = free_ports(2 * count)?;
        let (clients, controllers) = ports.split_at(count);
        let voters = controllers.iter().enumerate();
        let voters: Vec<String> = voters.map(|(at, port)| format!("{}@127.0.0.1:{port}", at + 1)).collect();
        for (at, (client, controller)) in clients.iter().zip(controllers).enumerate() {
            let properties = properties(&cluster.folder, at + 1, *client, *controller, &voters);
            let node = spawn(&cluster.folder, at + 1, &properties, format!("localhost:{client}"))?;
            cluster.nodes.push(node);
        }
        Ok(cluster)
    }

    async fn serve(&mut self) -> anyhow::Result<()> {
        let (seen, leader) = self.first_record().await?;
        println!("\n{seen}\n");
        for Node { id, address, process, .. } in &self.nodes {
            println!("Node {id} is at {address}, process {}.", process.id());
        }
        if let Some(node) = self.nodes.iter().find(|node| node.id as i32 == leader && self.nodes.len() > 1) {
            let (id, process, file) = (node.id, node.process.id(), node.file.display());
            println!("Node {id} leads the topic. Kill it, and the others go on: kill -9 {process}");
            println!("It comes back with: ottla server {file}");
        }
        println!(
            "Data and logs are in {}. Ctrl-C stops all of them and deletes it.\n",
            self.folder.display()
        );
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            if self.nodes.iter_mut().all(|node| !matches!(node.process.try_wait(), Ok(None))) {
                bail!("all nodes have ended");
            }
        }
    }

    // What was there, and the node that leads the topic. Tried again until the nodes have found each other.
    async fn first_record(&mut self) -> anyhow::Result<(String, i32)> {
        let (deadline, replicas) = (Instant::now() + PATIENCE, self.nodes.len().min(REPLICAS_MAX));
        loop {
            let address = &self.nodes[0].address;
            let error = match ottla_cli::first_record(address, replicas as i16).await {
                Ok(seen) => return Ok(seen),
                Err(error) => error,
            };
            for node in &mut self.nodes {
                if !matches!(node.process.try_wait(), Ok(None)) {
                    let log = node.file.with_extension("log");
                    let said = std::fs::read_to_string(&log).unwrap_or_default();
                    bail!("node {} has ended: {}", node.id, said.lines().last().unwrap_or("it says nothing"));
                }
            }
            if Instant::now() > deadline {
                return Err(error.context("the nodes do not serve"));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Cluster {
    // What they have is thrown away, so nobody asks them to close their logs.
    fn drop(&mut self) {
        for node in &mut self.nodes {
            let _ = node.process.kill();
            let _ = node.process.wait();
        }
        if let Err(error) = std::fs::remove_dir_all(&self.folder) {
            eprintln!("ottla: cannot delete {}: {error}", self.folder.display());
        }
    }
}

fn spawn(folder: &Path, id: usize, properties: &str, address: String) -> anyhow::Result<Node> {
    let file = folder.join(format!("{id}.properties"));
    std::fs::write(&file, properties).with_context(|| format!("cannot write {}", file.display()))?;
    let log = file.with_extension("log");
    let log = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
    let process = Command::new(std::env::current_exe()?)
        .arg("server")
        .arg(&file)
        .env("CLUSTER_ID", CLUSTER_ID)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("cannot start another process")?;
    Ok(Node { id, address, file, process })
}

fn properties(folder: &Path, id: usize, client: u16, controller: u16, voters: &[String]) -> String {
    let replicas = voters.len().min(REPLICAS_MAX);
    let minimum = replicas.div_ceil(2);
    let (data, voters) = (folder.join(id.to_string()), voters.join(","));
    format!(
        "process.roles=broker,controller\n\
         node.id={id}\n\
         controller.quorum.voters={voters}\n\
         listeners=PLAINTEXT://localhost:{client},CONTROLLER://127.0.0.1:{controller}\n\
         controller.listener.names=CONTROLLER\n\
         listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT\n\
         inter.broker.listener.name=PLAINTEXT\n\
         log.dirs={}\n\
         default.replication.factor={replicas}\n\
         min.insync.replicas={minimum}\n\
         offsets.topic.replication.factor={replicas}\n\
         transaction.state.log.replication.factor={replicas}\n\
         transaction.state.log.min.isr={minimum}\n\
         group.initial.rebalance.delay.ms=0\n",
        data.display()
    )
}

// All are held at once, so that no two are the same.
fn free_ports(count: usize) -> anyhow::Result<Vec<u16>> {
    let held: Vec<TcpListener> =
        (0..count).map(|_| TcpListener::bind(("127.0.0.1", 0))).collect::<Result<_, _>>()?;
    held.iter().map(|socket| Ok(socket.local_addr()?.port())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_nodes_is_asked_for_alone() {
        let check = |words: &str, expected: Result<Option<usize>, &str>| {
            let args: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
            match (nodes(&args), expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{words}"),
                (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{words}: {error}"),
                (found, _) => panic!("{words}: {found:?}"),
            }
        };
        check("", Ok(None));
        check("a.properties --override k=v", Ok(None));
        check("--nodes 3", Ok(Some(3)));
        check("--nodes=5", Ok(Some(5)));
        check("--nodes", Err("from 1 to 9"));
        check("--nodes 0", Err("from 1 to 9"));
        check("--nodes many", Err("from 1 to 9"));
        check("--nodes 3 a.properties", Err("a.properties does not go together"));
    }
}
