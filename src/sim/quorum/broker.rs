//! A broker's process in this world: its life, what it hosts, and what it knows. It does what a broker's shell does around
//! `node::lifecycle` and `node::replicas`. Its partitions hold no records: whoever fetches has everything.
//! It must never decide anything that those decide.

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_core::controller::{
    AlterPartition, Altered, Command, IsrProposal, NotController, Registration, Reply,
};
use ottla_core::partition::{InSyncMember, Leadership, Proposal, Standing};
use ottla_core::question::Question as _;
use ottla_model::config::BrokerConfig;
use ottla_model::image::Image;
use ottla_model::{BrokerEpoch, DirectoryId, NodeId};
use ottla_node::lane::Role;
use ottla_node::lifecycle::{self, Lifecycle, Timing};
use ottla_node::replicas::{Action, Input, Key, Opened, Replicas};
use ottla_protocol::{ErrorCode, LeaderEpoch};
use uuid::Uuid;

use super::asks::Kind;
use crate::dice::Dice;
use crate::mutation::Mutation;

/// What happens to a broker.
pub(crate) enum Moment {
    /// Something is due in its life.
    Time,
    /// The controller has answered, or will not.
    Answered(Kind, u64, Box<Result<Reply, NotController>>),
    /// Another controller is known to lead.
    AnotherLeads,
    /// The metadata has changed, and there is time to carry that out.
    Show(Arc<Image>),
    /// It looks after its partitions.
    Work,
    /// A follower fetches.
    Fetched(Fetches),
    /// It learns whether its log directory has room.
    Room,
    /// The operator stops it.
    Stop { deadline_ms: i64 },
    /// It has left its cluster.
    Stopped,
}

/// A broker asks another one for records of partitions that it follows under these epochs.
#[derive(Clone, Debug)]
pub(crate) struct Fetches {
    pub from: NodeId,
    pub broker_epoch: i64,
    pub of: Vec<(Key, LeaderEpoch)>,
}

/// A question that waits for its answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question {
    pub number: u64,
    /// Who was believed to lead.
    pub to: Option<NodeId>,
}

/// What a leader knows of a partition.
#[derive(Debug)]
struct Led {
    leadership: Leadership,
    /// Which processes have fetched since this broker leads, by their broker epochs.
    fetched: BTreeMap<NodeId, i64>,
    /// Those of which it was told anything but that they live.
    standing: BTreeMap<NodeId, Standing>,
    /// The controller turned somebody away: who wants to join is proposed alone, as it may be one whose disk is full.
    one_by_one: bool,
}

pub(crate) struct Broker {
    me: NodeId,
    pub life: Lifecycle,
    /// When [`Moment::Time`] happens the next time.
    pub wakes_ms: Option<i64>,
    pub incarnation: Uuid,
    directory: DirectoryId,
    replicas: Replicas,
    /// What this broker shows to everybody.
    pub shown: Arc<Image>,
    pub asked: BTreeMap<Kind, Question>,
    /// Who is known to lead the controllers.
    pub controller: Option<NodeId>,
    questions: u64,
    /// Its life was told to end.
    pub stops: bool,
    pub joined: bool,
    leads: BTreeMap<Key, Led>,
    follows: BTreeMap<Key, (NodeId, LeaderEpoch)>,
    /// The partitions of its last proposals.
    proposed: Vec<Key>,
    mutation: Option<Mutation>,
}

/// What a broker starts with.
pub(crate) struct Beginning {
    pub config: Arc<BrokerConfig>,
    pub incarnation: Uuid,
    pub directory: DirectoryId,
    /// What a clean stop has left.
    pub previous_epoch: Option<BrokerEpoch>,
    pub mutation: Option<Mutation>,
}

impl Broker {
    pub fn start(beginning: Beginning) -> Broker {
        let Beginning { config, incarnation, directory, previous_epoch, mutation } = beginning;
        let registration = Registration {
            id: config.node_id,
            incarnation,
            endpoints: Vec::new(),
            rack: None,
            log_dirs: vec![directory],
            features: Vec::new(),
            previous_epoch,
        };
        Broker {
            me: config.node_id,
            life: Lifecycle::new(registration, Vec::new(), Timing::of(&config)),
            wakes_ms: None,
            incarnation,
            directory,
            replicas: Replicas::new(config, incarnation),
            shown: Arc::new(Image::empty()),
            asked: BTreeMap::new(),
            controller: None,
            questions: 0,
            stops: false,
            joined: false,
            leads: BTreeMap::new(),
            follows: BTreeMap::new(),
            proposed: Vec::new(),
            mutation,
        }
    }

    /// For its life: which of its directories are full.
    pub fn full(&self, full: bool) -> lifecycle::Input {
        lifecycle::Input::DirectoriesFull(if full { vec![self.directory] } else { Vec::new() })
    }

    /// A question is on its way; its number.
    pub fn asks(&mut self, kind: Kind, to: Option<NodeId>) -> u64 {
        self.questions += 1;
        self.asked.insert(kind, Question { number: self.questions, to });
        self.questions
    }

    /// Whether that question still waits.
    pub fn takes(&mut self, kind: Kind, number: u64) -> bool {
        let waits = self.asked.get(&kind).is_some_and(|question| question.number == number);
        waits && self.asked.remove(&kind).is_some()
    }

    /// What this process leads, and under which epochs.
    pub fn leads(&self) -> impl Iterator<Item = (Key, LeaderEpoch)> {
        self.leads.iter().map(|(key, led)| (*key, led.leadership.epoch))
    }

    pub fn show(&mut self, image: Arc<Image>) {
        let actions = self.replicas.step(Input::Published(image));
        self.carry_out(actions);
    }

    fn carry_out(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Lead(key, leadership) => self.lead(key, leadership),
                Action::Follow(key, followership) => {
                    self.follow(key, followership.leader, followership.epoch);
                }
                Action::Stands(key, id, standing) => {
                    if let Some(led) = self.leads.get_mut(&key) {
                        led.standing.insert(id, standing);
                    }
                }
                Action::Open(openings) => {
                    let opened = openings.into_iter().map(|opening| {
                        match opening.role.clone() {
                            Role::Leader(leadership) => self.lead(opening.key(), leadership),
                            Role::Follower(at) => self.follow(opening.key(), at.leader, at.epoch),
                        }
                        Opened { opening, outcome: Ok(Some(self.directory)) }
                    });
                    let opened = opened.collect();
                    let more = self.replicas.step(Input::Opened(opened));
                    self.carry_out(more);
                }
                Action::Delete { key, .. } => {
                    self.leads.remove(&key);
                    self.follows.remove(&key);
                }
                Action::Show(image) => self.shown = image,
                // One directory each, which the controller knows, and no log.
                Action::Assign(_) | Action::TakeOffline(_) | Action::Settle(_) => {}
                Action::Configure(..) | Action::ApplySettings(_) | Action::ExpireProducersAfter(_) => {}
                Action::ForgetTopics(_) | Action::Note(_) => {}
            }
        }
    }

    fn lead(&mut self, key: Key, leadership: Leadership) {
        self.follows.remove(&key);
        let known = self.leads.remove(&key).filter(|led| led.leadership.epoch == leadership.epoch);
        let (fetched, standing, one_by_one) =
            known.map(|led| (led.fetched, led.standing, led.one_by_one)).unwrap_or_default();
        self.leads.insert(key, Led { leadership, fetched, standing, one_by_one });
    }

    fn follow(&mut self, key: Key, leader: Option<NodeId>, epoch: LeaderEpoch) {
        if self.mutation == Some(Mutation::LeadWhenFenced) && leader.is_none() {
            return;
        }
        self.leads.remove(&key);
        match leader {
            Some(leader) => drop(self.follows.insert(key, (leader, epoch))),
            None => drop(self.follows.remove(&key)),
        }
    }

    /// What it asks other brokers for, where it is not in sync yet.
    pub fn fetches(&self) -> BTreeMap<NodeId, Fetches> {
        let mut all: BTreeMap<NodeId, Fetches> = BTreeMap::new();
        let Some(epoch) = self.life.epoch() else { return all };
        for (key, (leader, leader_epoch)) in &self.follows {
            let topic = self.shown.topic_by_id(key.0);
            let partition = topic.and_then(|topic| topic.partitions.get(&key.1));
            if partition.is_none_or(|partition| partition.isr.contains(&self.me)) {
                continue;
            }
            let (from, broker_epoch) = (self.me, epoch.0);
            let fetches = all.entry(*leader).or_insert(Fetches { from, broker_epoch, of: Vec::new() });
            fetches.of.push((*key, *leader_epoch));
        }
        all
    }

    /// A follower fetches. What of that it was served.
    pub fn serve(&mut self, fetches: &Fetches) -> Vec<Key> {
        let Fetches { from, broker_epoch, of } = fetches;
        let mut served = Vec::new();
        for (key, epoch) in of {
            let Some(led) = self.leads.get_mut(key) else { continue };
            if led.leadership.epoch == *epoch && led.leadership.replicas.contains(from) {
                led.fetched.insert(*from, *broker_epoch);
                served.push(*key);
            }
        }
        served
    }

    /// What this leader proposes: whoever has fetched is in sync, and now and then somebody is late.
    pub fn proposals(&mut self, dice: &mut Dice, late_percent: u64) -> Option<Command> {
        let epoch = self.life.epoch().filter(|_| !self.asked.contains_key(&Kind::InSync))?;
        let proposals: Vec<IsrProposal> = self
            .leads
            .iter()
            .filter_map(|(key, led)| {
                let late = dice.percent(late_percent);
                let proposal = self.proposal(led, late, dice)?;
                Some(IsrProposal { topic: key.0, partition: key.1, proposal, recovering: false })
            })
            .collect();
        self.proposed = proposals.iter().map(|one| (one.topic, one.partition)).collect();
        let asks = !proposals.is_empty();
        asks.then(|| AlterPartition { broker: self.me, epoch, proposals }.command())
    }

    /// What became of that.
    pub fn altered(&mut self, outcomes: &[Result<Altered, ErrorCode>]) {
        for (key, outcome) in self.proposed.iter().zip(outcomes) {
            if let Some(led) = self.leads.get_mut(key) {
                led.one_by_one |= matches!(outcome, Err(ErrorCode::IneligibleReplica));
            }
        }
    }

    fn proposal(&self, led: &Led, late: bool, dice: &mut Dice) -> Option<Proposal> {
        let Leadership { epoch, partition_epoch, isr, replicas } = &led.leadership;
        let believes_anybody = self.mutation == Some(Mutation::LetAnyProcessJoin);
        let member = |id: NodeId, broker_epoch: Option<i64>| InSyncMember {
            replica: id,
            broker_epoch: broker_epoch.filter(|_| !believes_anybody),
        };
        let mut members: Vec<InSyncMember> = isr.iter().map(|id| member(*id, None)).collect();
        let late = late && members.len() > 1;
        if late && let Some(at) = members.iter().rposition(|member| member.replica != self.me) {
            members.remove(at);
        }
        let joins = |(id, fetched): &(&NodeId, &i64)| {
            // Of whom nothing was told, it is known that it lives.
            let told = led.standing.get(id);
            let lives = told.is_none_or(|s| s.broker_epoch == Some(**fetched) && !s.shutting_down);
            replicas.contains(id) && !isr.contains(id) && (lives || believes_anybody)
        };
        let mut joining: Vec<_> = led.fetched.iter().filter(joins).filter(|_| !late).collect();
        if led.one_by_one && joining.len() > 1 {
            joining = vec![*dice.pick(&joining)];
        }
        members.extend(joining.iter().map(|(id, fetched)| member(**id, Some(**fetched))));
        let changes = late || !joining.is_empty();
        changes.then_some(Proposal { leader_epoch: *epoch, partition_epoch: *partition_epoch, isr: members })
    }
}
