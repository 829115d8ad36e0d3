//! `kafka-storage format`: all directories of a node get its ids, and a controller's metadata log gets the snapshot that it
//! begins with. It must never change a directory that is formatted.

use super::voters::{FirstVoter, FirstVoters};
use super::{directories, features, features::Levels, random_id, text_of, voters};
use crate::options::Given;
use anyhow::{Context, bail};
use ottla_log::bootstrap::Bootstrap;
use ottla_log::dirs::{MetaProperties, format};
use ottla_log::disk::{Disk, RealDisk};
use ottla_model::config::{BrokerConfig, Role};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// What all directories of the node get.
struct New<'a> {
    config: &'a BrokerConfig,
    cluster_id: String,
    levels: Levels,
    /// `None`: neither --standalone nor --initial-controllers names the first voters.
    voters: Option<FirstVoters>,
}

pub(super) fn run(given: &Given, config: &BrokerConfig) -> anyhow::Result<()> {
    let cluster_id = given.required("cluster-id").map_err(text_of)?.to_string();
    check_cluster_id(&cluster_id)?;
    check_quorum(given, config)?;
    if given.has("add-scram") {
        // What would have to be kept for the first start, and is not yet, is refused rather than forgotten.
        bail!("--add-scram is not supported yet");
    }
    let dynamic = config.controller_quorum_voters.is_empty();
    let unstable = config.unstable_features();
    let levels = features::levels(given, dynamic, unstable)?;
    let new = New { config, cluster_id, levels, voters: first_voters(given, config)? };
    let disk = RealDisk::default();
    let empty = empty(given, &new, &disk)?;
    if empty.is_empty() {
        println!("All of the log directories are already formatted.");
    }
    empty.iter().try_for_each(|dir| new.format(&disk, dir))
}

/// The directories that are not formatted. All are looked at before any is written.
fn empty(given: &Given, new: &New<'_>, disk: &dyn Disk) -> anyhow::Result<Vec<PathBuf>> {
    let (config, cluster_id) = (new.config, &new.cluster_id);
    let mut empty = Vec::new();
    for dir in directories(config) {
        match MetaProperties::read(disk, &dir)? {
            None => empty.push(dir),
            Some(read) if !given.has("ignore-formatted") => {
                bail!(
                    "{} is already formatted, for cluster {}; with --ignore-formatted such directories are left \
                     alone and the others formatted",
                    dir.display(),
                    read.cluster_id
                )
            }
            Some(read) if read.cluster_id != *cluster_id => {
                bail!("{} belongs to cluster {}, not to {cluster_id}", dir.display(), read.cluster_id)
            }
            Some(read) if read.node_id != config.node_id => {
                bail!("{} belongs to node {}, not to {}", dir.display(), read.node_id, config.node_id)
            }
            Some(_) => {}
        }
    }
    Ok(empty)
}

impl New<'_> {
    // The mark of a formatted directory comes last: what is half done is done again.
    fn format(&self, disk: &dyn Disk, dir: &Path) -> anyhow::Result<()> {
        let is_metadata = dir == self.config.metadata_log_dir;
        let me = self.voters.as_ref().filter(|_| is_metadata).and_then(|all| all.get(&self.config.node_id.0));
        let kind = match (is_metadata, me) {
            (false, _) => "data directory",
            (true, Some(_)) => "dynamic metadata voter directory",
            (true, None) if self.voters.is_some() => "dynamic metadata directory",
            (true, None) => "metadata directory",
        };
        let version = self.levels.metadata_version;
        println!("Formatting {kind} {} with metadata.version {version}.", dir.display());
        if is_metadata && self.config.has_role(Role::Controller) {
            self.found(disk, dir)
                .with_context(|| format!("cannot write the first snapshot in {}", dir.display()))?;
        }
        let directory_id = Some(me.map_or_else(random_id, |voter| voter.directory));
        let meta = MetaProperties {
            cluster_id: self.cluster_id.clone(),
            node_id: self.config.node_id,
            directory_id,
        };
        format(disk, dir, &meta)?;
        Ok(())
    }

    fn found(&self, disk: &dyn Disk, dir: &Path) -> std::io::Result<()> {
        let listener = self.config.controller_listener_names.first().map_or("CONTROLLER", String::as_str);
        let membership = voters::membership(self.levels.kraft_version, self.voters.as_ref(), listener);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis() as i64);
        let bootstrap = Bootstrap { membership, records: self.levels.records() };
        bootstrap.write(disk, dir, self.levels.metadata_version, now)
    }
}

/// Any text can be a cluster id for Kafka, but an empty one or one in quotes is a slip.
fn check_cluster_id(id: &str) -> anyhow::Result<()> {
    if id.is_empty() || id.chars().any(|c| c.is_whitespace() || c.is_control() || c == '"' || c == '\'') {
        bail!("{id:?} cannot be a cluster id; the command random-uuid makes one");
    }
    Ok(())
}

fn first_voters(given: &Given, config: &BrokerConfig) -> anyhow::Result<Option<FirstVoters>> {
    if let Some(text) = given.one("initial-controllers").map_err(text_of)? {
        return voters::parse(text).map(Some);
    }
    if !given.has("standalone") {
        return Ok(None);
    }
    let first =
        config.controller_listeners().next().context("no listener of this node is the controller's")?;
    let (host, port) = config.controller_address(first);
    let me = FirstVoter { directory: random_id(), host: host.unwrap_or_else(|| "localhost".into()), port };
    Ok(Some(FirstVoters::from([(config.node_id.0, me)])))
}

fn check_quorum(given: &Given, config: &BrokerConfig) -> anyhow::Result<()> {
    let ways =
        ["standalone", "no-initial-controllers", "initial-controllers"].map(|way| (way, given.has(way)));
    let chosen: Vec<&str> = ways.iter().filter(|(_, has)| *has).map(|(way, _)| *way).collect();
    if let [first, second, ..] = chosen[..] {
        bail!("--{first} does not go together with --{second}");
    }
    let (is_controller, has_voters) =
        (config.has_role(Role::Controller), !config.controller_quorum_voters.is_empty());
    if has_voters && (given.has("standalone") || given.has("initial-controllers")) {
        bail!(
            "controller.quorum.voters names the voters already, so --standalone and --initial-controllers cannot; for \
             a dynamic quorum, configure controller.quorum.bootstrap.servers in its place"
        );
    }
    if given.has("standalone") && !is_controller {
        bail!("--standalone is for controllers, and process.roles does not name that role");
    }
    if is_controller && !has_voters && chosen.is_empty() {
        bail!(
            "a controller without controller.quorum.voters is formatted with one of --standalone, \
             --initial-controllers and --no-initial-controllers"
        );
    }
    Ok(())
}
