//! One fetcher's task: it sends what its machine asks for, waits, and hands what comes to the lanes. It must never decide:
//! `node::fetching` does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ottla_client::{ClientError, Connection, Options};
use ottla_model::{NodeId, TopicName};
use ottla_node::fetching::{Answer, Fetcher, Next, Place, Plan, Work, at_start};
use ottla_node::lane::{FetchPosition, FromLeader, Input};
use ottla_node::replicas::Key;
use ottla_protocol::ErrorCode;
use ottla_protocol::api::ApiKey;
use ottla_protocol::messages::ListOffsetsResponse;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tracing::{debug, error, info, warn};

use super::lanes::{self, ForLane};
use super::{Report, wire};
use crate::clock::now_ms;
use crate::run::owners::metadata::Metadata;
use crate::run::owners::partition::Partition;
use crate::run::owners::settings::Settings;
use crate::run::owners::throttling::{Filling, Throttled};
use crate::run::owners::waiter::Waiting;

/// What changes for a fetcher.
pub(super) enum Change {
    /// Also when its leader has a new epoch.
    Follow(Arc<Partition>),
    Leave(Key),
}

/// What a fetcher works with.
pub(super) struct Station {
    pub me: NodeId,
    pub leader: NodeId,
    pub settings: Arc<Settings>,
    pub image: Arc<Metadata>,
    pub taken: Arc<Throttled>,
}

/// One fetcher.
pub(super) struct Task {
    station: Station,
    changes: mpsc::UnboundedReceiver<Change>,
    reports: mpsc::UnboundedReceiver<(Key, Result<(), ErrorCode>)>,
    reporter: mpsc::UnboundedSender<(Key, Result<(), ErrorCode>)>,
    machine: Fetcher,
    partitions: BTreeMap<Key, Arc<Partition>>,
    /// Partitions that could not be appended to when they tried last, which is logged once.
    unwell: BTreeSet<Key>,
    connection: Option<(Connection, i16)>,
    /// The last thing that was wrong with the connection, which is logged once.
    said: Option<String>,
}

/// The task has nobody to fetch for any more.
struct Ended;

impl Task {
    pub fn new(station: Station, changes: mpsc::UnboundedReceiver<Change>) -> Task {
        let backoff_ms = i64::from(station.settings.now().replica_fetch_backoff_ms);
        let (reporter, reports) = mpsc::unbounded_channel();
        let (machine, partitions, unwell) = (Fetcher::new(backoff_ms), BTreeMap::new(), BTreeSet::new());
        Task {
            station,
            changes,
            reports,
            reporter,
            machine,
            partitions,
            unwell,
            connection: None,
            said: None,
        }
    }

    /// Fetches until nobody can change anything any more.
    pub async fn run(mut self) {
        while let Ok(()) = self.turn().await {}
    }

    async fn turn(&mut self) -> Result<(), Ended> {
        loop {
            match self.changes.try_recv() {
                Ok(change) => self.change(change),
                Err(mpsc::error::TryRecvError::Empty) => break,
                Err(mpsc::error::TryRecvError::Disconnected) => return Err(Ended),
            }
        }
        self.hear_reports();
        match self.machine.next(now_ms()) {
            Next::Place(keys) => {
                self.place(keys).await;
                Ok(())
            }
            Next::Fetch(plan) => self.fetch(plan).await,
            Next::Wait(until_ms) => {
                tokio::select! {
                    change = self.changes.recv() => self.change(change.ok_or(Ended)?),
                    Some((key, outcome)) = self.reports.recv() => self.report(key, outcome),
                    () = until(until_ms), if until_ms.is_some() => {}
                }
                Ok(())
            }
        }
    }

    fn change(&mut self, change: Change) {
        match change {
            Change::Follow(partition) => {
                let key = (partition.topic_id, partition.id.partition);
                self.partitions.insert(key, partition);
                self.machine.follow(now_ms(), key);
            }
            Change::Leave(key) => {
                self.partitions.remove(&key);
                self.unwell.remove(&key);
                self.machine.leave(key);
            }
        }
    }

    fn hear_reports(&mut self) {
        while let Ok((key, outcome)) = self.reports.try_recv() {
            self.report(key, outcome);
        }
    }

    fn report(&mut self, key: Key, outcome: Result<(), ErrorCode>) {
        self.machine.done(now_ms(), key, outcome.is_ok());
        let Some(partition) = self.partitions.get(&key) else { return };
        match outcome {
            Ok(()) => {
                if self.unwell.remove(&key) {
                    info!(partition = %partition.id, "appends again what the leader sends");
                }
            }
            // The partition has another leader by now, or is going.
            Err(
                ErrorCode::NotLeaderOrFollower | ErrorCode::FencedLeaderEpoch | ErrorCode::UnknownLeaderEpoch,
            ) => {}
            // A full disk refuses each of many attempts.
            Err(code) if self.unwell.insert(key) => {
                let leader = self.station.leader.0;
                error!(partition = %partition.id, leader, code = code.name(), "cannot append what the leader sent; trying again");
            }
            Err(_) => {}
        }
    }

    async fn place(&mut self, mut keys: Vec<Key>) {
        let full: Vec<Key> = keys.extract_if(.., |key| self.has_no_room(*key)).collect();
        let known = keys.iter().filter_map(|key| Some((*key, self.partitions.get(key)?.clone())));
        let asked: Vec<_> = known.filter(|(_, partition)| !self.is_held_back(partition)).collect();
        let mut placed = BTreeMap::from_iter(lanes::places(asked).await);
        for key in keys {
            self.machine.placed(now_ms(), key, placed.remove(&key).flatten());
        }
        if !full.is_empty() {
            self.find_starts(&full).await;
            full.iter().for_each(|key| self.machine.has_no_room(now_ms(), *key));
        }
    }

    fn has_no_room(&self, key: Key) -> bool {
        self.partitions.get(&key).is_some_and(|here| here.place().volume.is_full())
    }

    async fn fetch(&mut self, plan: Plan) -> Result<(), Ended> {
        let answer = match self.send(plan).await? {
            Some(answer) => answer,
            None => return Ok(()),
        };
        let work = self.machine.answered(now_ms(), answer);
        if work.is_empty() {
            return Ok(());
        }
        let mut out_of_range = Vec::new();
        let mut for_lanes = Vec::new();
        for one in work {
            match one {
                Work::Replicate { key, position: fetched, found } => {
                    self.take(key, found.records.len());
                    let (high_watermark, log_start) = (found.high_watermark, found.log_start);
                    let records = found.records;
                    let from_leader = FromLeader { fetched, records, high_watermark, log_start };
                    for_lanes.push((key, Input::Replicate { token: self.token(key), from_leader }));
                }
                Work::Cut { key, position: fetched, cut } => {
                    self.note(key, |partition| info!(%partition, ?fetched, ?cut, "the leader's log has parted from this one"));
                    for_lanes.push((key, Input::Cut { token: self.token(key), fetched, cut }));
                }
                Work::FindEnds { key, position } => out_of_range.push((key, position)),
                Work::Refused { key, code } => {
                    let leader = self.station.leader.0;
                    self.note(key, |partition| debug!(%partition, leader, code = code.name(), "the leader refused a fetch"));
                }
            }
        }
        self.hand_over(for_lanes).await;
        if !out_of_range.is_empty() {
            self.find_ends(out_of_range).await;
        }
        self.wait_for_lanes().await;
        Ok(())
    }

    // Whether it is filled faster than it may be.
    fn is_held_back(&self, partition: &Partition) -> bool {
        let Station { me, settings, image, taken, .. } = &self.station;
        let topic = partition.config.load();
        let filling = Filling::by_follower(&settings.now(), &topic, *me);
        taken.holds_back(&filling, &image.load(), partition)
    }

    fn take(&self, key: Key, bytes: usize) {
        let Station { me, settings, image, taken, .. } = &self.station;
        let Some(partition) = self.partitions.get(&key) else { return };
        let topic = partition.config.load();
        let filling = Filling::by_follower(&settings.now(), &topic, *me);
        taken.pass(&filling, &image.load(), partition, bytes);
    }

    fn token(&self, key: Key) -> Report {
        Report::new(key, self.reporter.clone())
    }

    fn note(&self, key: Key, tell: impl FnOnce(&ottla_model::TopicPartition)) {
        self.partitions.get(&key).inspect(|partition| tell(&partition.id));
    }

    // Appends, and asks in the same go where to fetch from next.
    async fn hand_over(&mut self, work: Vec<(Key, Input<Waiting>)>) {
        if work.is_empty() {
            return;
        }
        let with_partition = |(key, input)| {
            let partition = self.partitions.get(&key)?.clone();
            Some(ForLane { key, partition, input })
        };
        let work: Vec<_> = work.into_iter().filter_map(with_partition).collect();
        let places: BTreeMap<Key, Option<Place>> = lanes::hand_over(work).await.into_iter().collect();
        // A lane that was busy, or flushes, has not reported yet, and says later where it ends.
        while let Ok((key, outcome)) = self.reports.try_recv() {
            self.report(key, outcome);
            if outcome.is_ok()
                && let Some(Some(place)) = places.get(&key)
                && self.partitions.get(&key).is_some_and(|partition| !self.is_held_back(partition))
                && !self.has_no_room(key)
            {
                self.machine.placed(now_ms(), key, Some(*place));
            }
        }
    }

    // A lane that flushes is ready in a moment: the leader is not asked to wait for the others meanwhile.
    async fn wait_for_lanes(&mut self) {
        let until = Instant::now() + GRACE;
        while self.machine.waits_for_work() {
            match timeout_at(until, self.reports.recv()).await {
                Ok(Some((key, outcome))) => self.report(key, outcome),
                Ok(None) | Err(_) => return,
            }
        }
    }

    // Returns the answer. `None`: there is none, and the machine knows.
    async fn send(&mut self, plan: Plan) -> Result<Option<Answer>, Ended> {
        let (connection, version) = match self.connect().await {
            Ok(connected) => connected,
            Err(why) => {
                self.failed(&why);
                return Ok(None);
            }
        };
        let Station { me, settings, image, .. } = &self.station;
        let Some(epoch) = image.load().broker(*me).map(|broker| broker.epoch) else {
            self.failed("this broker is not registered yet");
            return Ok(None);
        };
        let body = wire::request(&plan, *me, epoch, &settings.now(), version);
        let exchange = connection.exchange(ApiKey::Fetch, version, &body);
        tokio::pin!(exchange);
        let patience = sleep(PATIENCE);
        tokio::pin!(patience);
        let mut has_news = false;
        let answer = loop {
            tokio::select! {
                answer = &mut exchange => break answer,
                change = self.changes.recv() => {
                    let change = change.ok_or(Ended)?;
                    has_news |= matches!(change, Change::Follow(_));
                    self.change(change);
                }
                Some((key, outcome)) = self.reports.recv() => {
                    has_news = true;
                    self.report(key, outcome);
                }
                // The leader has nothing for the other partitions, and would let this one wait, too. There is no way to
                // tell it on this connection.
                () = &mut patience, if has_news => {
                    connection.close();
                    self.connection = None;
                    self.machine.interrupted();
                    return Ok(None);
                }
            }
        };
        let read = answer
            .map_err(|error| error.to_string())
            .and_then(|body| wire::answer(version, body).map_err(|malformed| malformed.to_string()));
        match read {
            Ok(answer) => {
                self.said = None;
                Ok(Some(answer))
            }
            Err(why) => {
                connection.close();
                self.connection = None;
                self.failed(&why);
                Ok(None)
            }
        }
    }

    // The connection that there is, or a new one, and the version of Fetch to speak there.
    async fn connect(&mut self) -> Result<(Connection, i16), String> {
        if let Some((connection, version)) = self.connection.as_ref().filter(|(open, _)| !open.is_closed()) {
            return Ok((connection.clone(), *version));
        }
        let Station { me, leader, settings, image, .. } = &self.station;
        let config = settings.now().clone();
        let image = image.load_full();
        let listener = &config.inter_broker_listener_name;
        let endpoint = image.broker(*leader).and_then(|broker| broker.endpoint(listener));
        let endpoint = endpoint.ok_or_else(|| format!("broker {leader} has no listener {listener}"))?;
        let host = match endpoint.host.contains(':') {
            true => format!("[{}]", endpoint.host),
            false => endpoint.host.clone(),
        };
        let request_timeout = Duration::from_millis(config.replica_socket_timeout_ms.max(1) as u64);
        let options = Options {
            client_id: Some(format!("broker-{}-fetcher", me.0)),
            connect_timeout: request_timeout.min(CONNECT_TIMEOUT),
            request_timeout,
            requests_in_flight_max: 1,
            ..Options::default()
        };
        let opened = async {
            let connection = Connection::connect_with(&format!("{host}:{}", endpoint.port), options).await?;
            let known = connection.versions().await?.range(ApiKey::Fetch.row().key);
            Ok::<_, ClientError>((connection, known))
        };
        let (connection, known) = opened.await.map_err(|error| error.to_string())?;
        let version = known.map(|known| known.max.min(*wire::VERSIONS.end()));
        let version = version.filter(|version| wire::VERSIONS.contains(version));
        let version =
            version.ok_or_else(|| format!("broker {leader} serves no Fetch that names topics by id"))?;
        self.connection = Some((connection.clone(), version));
        Ok((connection, version))
    }

    fn failed(&mut self, why: &str) {
        let leader = self.station.leader.0;
        if self.said.as_deref() != Some(why) {
            warn!(leader, why, "cannot fetch from the leader; trying again");
            self.said = Some(why.to_owned());
        }
        self.machine.failed(now_ms());
    }

    // What the leader's log ranges over, for logs here that end outside of it, and the cuts that follow.
    async fn find_ends(&mut self, asked: Vec<(Key, FetchPosition)>) {
        let named = self.named(asked);
        let connection = self.connection.as_ref().map(|(connection, _)| connection.clone());
        // The end first: a log whose start is asked for later can only have become shorter at the start.
        let latest = self.ask_for(connection.as_ref(), wire::LATEST, &named).await;
        let earliest = self.ask_for(connection.as_ref(), wire::EARLIEST, &named).await;
        let mut cuts = Vec::new();
        for (name, key, position) in &named {
            let find = |response: &Option<_>| wire::end_of(response.as_ref()?, name, key.1);
            let ends = find(&earliest).zip(find(&latest));
            if let Some(cut) = self.machine.ends(now_ms(), *key, *position, ends) {
                self.note(*key, |partition| {
                    warn!(%partition, log_end = position.log_end, ?ends, ?cut, "this log ends outside of the leader's");
                });
                cuts.push((*key, Input::Cut { token: self.token(*key), fetched: *position, cut }));
            }
        }
        self.hand_over(cuts).await;
    }

    // Where the leader's logs start, for those here that have no room.
    async fn find_starts(&mut self, full: &[Key]) {
        let known = full.iter().filter_map(|key| Some((*key, self.partitions.get(key)?.clone())));
        let places = lanes::places(known.collect()).await.into_iter();
        let places = BTreeMap::from_iter(places.filter_map(|(key, place)| Some((key, place?))));
        let named = self.named(places.iter().map(|(key, place)| (*key, place.position)).collect());
        let connection = match self.connect().await {
            Ok((connection, _)) => connection,
            Err(why) => return self.failed(&why),
        };
        let Some(earliest) = self.ask_for(Some(&connection), wire::EARLIEST, &named).await else { return };
        let cuts = named.iter().filter_map(|(name, key, position)| {
            let cut = at_start(*places.get(key)?, wire::end_of(&earliest, name, key.1)?)?;
            Some((*key, Input::Cut { token: self.token(*key), fetched: *position, cut }))
        });
        let cuts = cuts.collect();
        self.hand_over(cuts).await;
    }

    fn named(&self, asked: Vec<(Key, FetchPosition)>) -> Vec<(TopicName, Key, FetchPosition)> {
        let named = |(key, position)| Some((self.partitions.get(&key)?.id.topic.clone(), key, position));
        asked.into_iter().filter_map(named).collect()
    }

    async fn ask_for(
        &self,
        connection: Option<&Connection>,
        timestamp: i64,
        named: &[(TopicName, Key, FetchPosition)],
    ) -> Option<ListOffsetsResponse> {
        connection?.call(&wire::ends_request(self.station.me, timestamp, named)).await.ok()
    }
}

async fn until(until_ms: Option<i64>) {
    if let Some(until_ms) = until_ms {
        let ms = until_ms.saturating_sub(now_ms()).max(0) as u64;
        sleep_until(Instant::now() + Duration::from_millis(ms)).await;
    }
}

/// For how long the next fetch waits for lanes that are at work.
const GRACE: Duration = Duration::from_millis(20);
/// For how long a partition that is new waits for a fetch that the leader has nothing for.
const PATIENCE: Duration = Duration::from_millis(20);
/// A machine that is gone does not refuse connections, and its brokers may be back soon.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
