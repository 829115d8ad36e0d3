//! A process from its start to its clean stop, in the broker's order: storage, quorum, image, registration, unfencing.
//! It must never start half: what fails here ends the process.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;

use ottla_core::controller::{Bootstrap, Command, NotController, Registration, Reply};
use ottla_log::Disk;
use ottla_model::BrokerEpoch;
use ottla_model::config::BrokerConfig;
use ottla_model::fresh_id;
use ottla_model::image::Image;
use ottla_node::controller::{Controller, Output as ControllerOutput, Settings, Snapshots};
use ottla_node::lifecycle::{Input, Lifecycle, Output, Timing};
use ottla_node::quorum::{Founder, Keep, Quorum};
use ottla_node::replicas::Replicas;
use uuid::Uuid;

use super::holding::{Coordinator, TransactionCoordinator};
use super::said::BootError;
use super::storage::{Storage, holds};
use super::{Node, Said, Waiter, Who};
use crate::dice::Dice;
use crate::marks::mark_if;
use crate::mutation::Mutation;
use crate::plan::{LOG_DIRS, Plan};

fn failed(error: impl std::fmt::Display) -> BootError {
    BootError(error.to_string())
}

impl Node {
    /// What it says on the way (partitions that cannot be opened, replies that nobody waits for any more) goes to
    /// `said`.
    pub fn boot(
        disk: Arc<dyn Disk>,
        config: Arc<BrokerConfig>,
        plan: &Plan,
        now_ms: i64,
        mut dice: Dice,
        mutation: Option<Mutation>,
        said: &mut Vec<Said>,
    ) -> Result<Node, BootError> {
        let me = config.node_id;
        let storage = Storage::open(disk.clone(), &config, &mut dice, mutation).map_err(failed)?;
        let metadata = Path::new(LOG_DIRS[0]).join("__cluster_metadata-0");
        mark_if(holds(&*disk, &metadata, ".checkpoint"), "metadata was read from a snapshot");
        let controller = controller(disk, &config, &storage, now_ms, &mut dice)?;
        let coordinator = plan.services.as_ref().map(|services| Coordinator::new(&config, services));
        let transactional = plan.transactional.as_ref();
        let transactions = transactional.map(|plan| TransactionCoordinator::new(&config, plan, mutation));
        let incarnation = fresh_id(|| (u128::from(dice.number()) << 64) | u128::from(dice.number()));
        let mut node = Node {
            me,
            replicas: Replicas::new(config.clone(), incarnation),
            config,
            storage,
            controller,
            unheard: VecDeque::new(),
            image: Arc::new(Image::empty()),
            partitions: BTreeMap::new(),
            retired: Vec::new(),
            epoch: BrokerEpoch(-1),
            lifecycle: None,
            ids: None,
            ids_asked: false,
            waiting_for_ids: Vec::new(),
            coordinator,
            transactions,
            works: None,
            dice,
            mutation,
        };
        let mut out = Vec::new();
        node.controller.settle(now_ms, &mut out).map_err(failed)?;
        node.unheard.extend(out);
        node.join(now_ms, incarnation, said)?;
        node.set_strays_aside().map_err(failed)?;
        node.wake_shards(said);
        Ok(node)
    }

    fn join(&mut self, now_ms: i64, incarnation: Uuid, said: &mut Vec<Said>) -> Result<(), BootError> {
        let registration = Registration {
            id: self.me,
            incarnation,
            endpoints: Vec::new(),
            rack: None,
            log_dirs: self.storage.directory_ids(),
            features: Vec::new(),
            previous_epoch: self.storage.previous_epoch(),
        };
        let found = self.storage.found().map_err(failed)?;
        self.lifecycle = Some(Lifecycle::new(registration, found, Timing::of(&self.config)));
        match self.live(now_ms, Input::Time, said)? {
            Output::Joined(epoch) => self.epoch = epoch,
            ended => return Err(failed(format!("{ended:?}"))),
        }
        Ok(())
    }

    // Goes on until the broker has come into its cluster, or cannot, or may stop.
    fn live(&mut self, mut now_ms: i64, mut input: Input, said: &mut Vec<Said>) -> Result<Output, BootError> {
        loop {
            let Some(lifecycle) = &mut self.lifecycle else { return Err(failed("it has stopped")) };
            let outputs = lifecycle.step(now_ms, input, &self.image);
            let due_ms = lifecycle.due_ms();
            input = Input::Time;
            for output in outputs {
                match output {
                    Output::Ask(command) => input = Input::Answered(self.ask(now_ms, command, said)?),
                    Output::Registered(epoch) => self.epoch = epoch,
                    // This is the only controller, and its disk gets no better while nothing else happens.
                    Output::Waits(_) | Output::Joined(_) | Output::Refused(_) | Output::StopNow => {
                        return Ok(output);
                    }
                }
            }
            if matches!(input, Input::Time) {
                now_ms = due_ms.unwrap_or(now_ms).max(now_ms);
            }
        }
    }

    // Asks and publishes until the answer is there: nobody else is served before.
    fn ask(
        &mut self,
        now_ms: i64,
        command: Command,
        said: &mut Vec<Said>,
    ) -> Result<Result<Reply, NotController>, BootError> {
        let mut out = Vec::new();
        self.command(now_ms, Who::Shell, command, &mut out);
        if let Some(Said::Died(why)) = out.into_iter().find(|s| matches!(s, Said::Died(_))) {
            return Err(BootError(why));
        }
        while let Some(next) = self.unheard.front() {
            if let ControllerOutput::Reply { token: Who::Shell, reply } = next {
                let reply = reply.clone();
                self.unheard.pop_front();
                return Ok(reply);
            }
            let mut heard = Vec::new();
            self.publish(now_ms, &mut heard);
            // What is published may ask the controller for something, too. Its errors are final.
            if let Some(Said::Died(why)) = heard.iter().find(|s| matches!(s, Said::Died(_))) {
                return Err(BootError(why.clone()));
            }
            said.extend(heard.into_iter().filter(|s| !matches!(s, Said::Publish)));
        }
        Err(failed("the controller did not answer"))
    }

    /// Stops: no new requests, everything flushed, directories marked clean.
    pub fn stop(mut self, now_ms: i64, said: &mut Vec<Said>) {
        // A controller that cannot write any more does not keep the logs from being closed.
        let _ = self.live(now_ms, Input::Stop { deadline_ms: now_ms + STOP_MS }, said);
        let (mut closed, mut failed) = (Vec::new(), Vec::new());
        for partition in self.partitions.values_mut() {
            let (log, refused) = partition.close();
            said.extend(refused.into_iter().filter_map(|(token, code)| match token {
                Waiter::Client(ask) => Some(Said::Produced { ask, outcome: Err(code) }),
                // Every shard has resigned.
                Waiter::Shard | Waiter::Marker(..) | Waiter::Nobody => None,
            }));
            let Some(mut log) = log else { continue };
            if partition.offline {
                failed.push(log.dir().to_owned());
            }
            match log.close() {
                Ok(()) => closed.push(log),
                Err(_) => failed.push(log.dir().to_owned()),
            }
        }
        self.storage.close(&closed, &failed, self.epoch);
    }
}

/// For so long a broker waits until others have taken over.
const STOP_MS: i64 = 1_000;

/// Small, so that every run has some.
const SNAPSHOT_BYTES: i64 = 2_000;

fn controller(
    disk: Arc<dyn Disk>,
    config: &BrokerConfig,
    storage: &Storage,
    now_ms: i64,
    dice: &mut Dice,
) -> Result<Controller<Who>, BootError> {
    let founder = Founder {
        cluster_id: "simulated".into(),
        directory: Some(storage.metadata_dir()),
        // A quorum of one waits for nobody, so there is nothing to draw.
        chance: Box::new(|| 0),
    };
    let (quorum, _) = Quorum::found(disk, config, founder, now_ms).map_err(failed)?;
    let mut chance = dice.split();
    let settings = Settings {
        config: config.clone(),
        snapshots: Snapshots {
            bytes: SNAPSHOT_BYTES,
            interval_ms: 0,
            keep: Keep { bytes: 4 * SNAPSHOT_BYTES, ms: -1 },
        },
        bootstrap: Bootstrap::latest(),
        chance: Box::new(move || chance.number()),
    };
    Ok(Controller::new(quorum, settings))
}
