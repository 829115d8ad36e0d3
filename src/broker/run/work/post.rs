//! What this broker has for other brokers: things for the same broker gather while a request is under way, and go together in
//! the next one. Each kind of thing has connections of its own to each broker, so that one kind does not wait for another.
//! It must never know what the things are, nor send one again.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use ottla_client::{ClientError, Connection, Options};
use ottla_model::image::Image;
use ottla_model::{BrokerEpoch, NodeId};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tracing::{debug, warn};

use crate::run::owners::metadata::Metadata;
use crate::run::owners::settings::Settings;

/// One kind of thing that brokers send each other, many in one request.
pub(crate) trait Thing: Sized + Send + Sync + 'static {
    type Answer: Send + 'static;

    /// For log lines.
    const NAME: &'static str;

    /// Which of the connections to a broker it takes, of those of its kind. What waits long for its answer holds up what comes
    /// after it on the same connection.
    fn line(&self) -> usize {
        0
    }

    /// Whether it may be in one request with the others. Where it may not, it waits for the next one.
    fn goes_with(&self, others: &[Self]) -> bool;

    /// Sends all of them in one request, and returns the answers in their order.
    fn send(
        things: &[Self],
        over: &Connection,
    ) -> impl Future<Output = Result<Vec<Self::Answer>, ClientError>> + Send;
}

/// The things of one kind.
pub(crate) struct Post<T: Thing> {
    station: Station,
    runtime: Handle,
    lines: Mutex<Lines<T>>,
}

/// The mailboxes of those who carry things, by the broker that they carry them to and [`Thing::line`].
type Lines<T> = BTreeMap<(NodeId, usize), mpsc::UnboundedSender<Letter<T>>>;

/// What those who carry them work with.
#[derive(Clone)]
struct Station {
    me: NodeId,
    settings: Arc<Settings>,
    image: Arc<Metadata>,
}

struct Letter<T: Thing> {
    thing: T,
    answer: oneshot::Sender<T::Answer>,
}

impl<T: Thing> Post<T> {
    /// Connections are made when they are needed.
    pub fn new(me: NodeId, settings: Arc<Settings>, image: Arc<Metadata>, runtime: Handle) -> Post<T> {
        Post { station: Station { me, settings, image }, runtime, lines: Mutex::default() }
    }

    /// Sends a thing to another broker, then waits for the answer. `None`: there is none, and the broker may have got the thing
    /// or not.
    pub fn send(&self, to: NodeId, thing: T) -> impl Future<Output = Option<T::Answer>> + Send + use<T> {
        let (answer, answered) = oneshot::channel();
        self.queue(to, Letter { thing, answer });
        async move { answered.await.ok() }
    }

    fn queue(&self, to: NodeId, letter: Letter<T>) {
        let mut lines = self.lines.lock();
        let line = lines.entry((to, letter.thing.line())).or_insert_with(|| self.start(to));
        if let Err(unsent) = line.send(letter) {
            // The task has panicked. Another one takes its place, whose mailbox is open.
            *line = self.start(to);
            let _ = line.send(unsent.0);
        }
    }

    fn start(&self, to: NodeId) -> mpsc::UnboundedSender<Letter<T>> {
        let (letters, inbox) = mpsc::unbounded_channel();
        let task =
            Task { to, station: self.station.clone(), waiting: VecDeque::new(), line: None, said: None };
        self.runtime.spawn(task.run(inbox));
        letters
    }
}

/// Carries the things for one broker.
struct Task<T: Thing> {
    to: NodeId,
    station: Station,
    waiting: VecDeque<Letter<T>>,
    line: Option<Line>,
    /// The last thing that was wrong, which is logged once.
    said: Option<String>,
}

/// A connection to a broker that was registered like that.
struct Line {
    connection: Connection,
    address: String,
    epoch: BrokerEpoch,
}

impl<T: Thing> Task<T> {
    // Until nobody can send anything any more.
    async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Letter<T>>) {
        loop {
            if self.waiting.is_empty() {
                let Some(first) = inbox.recv().await else { return };
                self.waiting.push_back(first);
            }
            while let Ok(letter) = inbox.try_recv() {
                self.waiting.push_back(letter);
            }
            let (things, answers) = take_batch(&mut self.waiting);
            match self.send(&things).await {
                Ok(told) => {
                    self.said = None;
                    for (answer, told) in answers.into_iter().zip(told) {
                        // This fails if nobody waits for it any more.
                        let _ = answer.send(told);
                    }
                }
                // Whoever waits for an answer sees that there will be none.
                Err(why) => self.failed(&why),
            }
        }
    }

    async fn send(&mut self, things: &[T]) -> Result<Vec<T::Answer>, String> {
        self.connect().await?;
        let Some(line) = &self.line else { return Err("there is no connection".into()) };
        let is_gone =
            |image: &Image| self.station.registered(image, self.to).is_none_or(|epoch| epoch != line.epoch);
        tokio::select! {
            answered = T::send(things, &line.connection) => answered.map_err(|error| error.to_string()),
            // A machine that does not answer is not waited for: others lead by now.
            () = self.station.image.shows(is_gone) => Err("the broker was fenced".into()),
        }
    }

    // The connection that there is goes on, unless it leads to where the broker was before.
    async fn connect(&mut self) -> Result<(), String> {
        let Station { me, settings, image } = &self.station;
        let (config, image) = (settings.now().clone(), image.load_full());
        let epoch = self.station.registered(&image, self.to).ok_or("the broker is not there")?;
        let address = address(&image, self.to, &config.inter_broker_listener_name)?;
        let fits =
            |line: &Line| (&line.address, line.epoch) == (&address, epoch) && !line.connection.is_closed();
        if self.line.as_ref().is_some_and(fits) {
            return Ok(());
        }
        // The broker may wait as long itself, before it says that something took too long.
        let patience = Duration::from_millis(config.request_timeout_ms.max(1).unsigned_abs().into());
        let options = Options {
            client_id: Some(format!("broker-{}-{}", me.0, T::NAME)),
            connect_timeout: patience.min(CONNECT_TIMEOUT),
            request_timeout: patience + GRACE,
            requests_in_flight_max: 1,
            ..Options::default()
        };
        let connected = Connection::connect_with(&address, options).await;
        let connection = connected.map_err(|error| error.to_string())?;
        debug!(broker = self.to.0, address, "connected for {}", T::NAME);
        self.line = Some(Line { connection, address, epoch });
        Ok(())
    }

    fn failed(&mut self, why: &str) {
        if let Some(line) = self.line.take() {
            line.connection.close();
        }
        if self.said.as_deref() != Some(why) {
            warn!(broker = self.to.0, why, "cannot send {}", T::NAME);
            self.said = Some(why.to_owned());
        }
    }
}

impl Station {
    // `None`: the broker is fenced, or nobody knows it. Then it leads nothing.
    fn registered(&self, image: &Image, broker: NodeId) -> Option<BrokerEpoch> {
        image.broker(broker).filter(|broker| !broker.fenced).map(|broker| broker.epoch)
    }
}

// Those that go with the first one, in their order.
fn take_batch<T: Thing>(waiting: &mut VecDeque<Letter<T>>) -> (Vec<T>, Vec<oneshot::Sender<T::Answer>>) {
    let (mut things, mut answers) = (Vec::new(), Vec::new());
    let mut others = VecDeque::new();
    for letter in waiting.drain(..) {
        if things.len() < THINGS_MAX && letter.thing.goes_with(&things) {
            things.push(letter.thing);
            answers.push(letter.answer);
        } else {
            others.push_back(letter);
        }
    }
    *waiting = others;
    (things, answers)
}

fn address(image: &Image, broker: NodeId, listener: &str) -> Result<String, String> {
    let endpoint = image.broker(broker).and_then(|broker| broker.endpoint(listener));
    let endpoint = endpoint.ok_or_else(|| format!("broker {broker} has no listener {listener}"))?;
    Ok(match endpoint.host.contains(':') {
        true => format!("[{}]:{}", endpoint.host, endpoint.port),
        false => format!("{}:{}", endpoint.host, endpoint.port),
    })
}

/// How many things are in one request at most.
const THINGS_MAX: usize = 500;
/// A machine that is gone does not refuse connections, and its brokers may be back soon.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// For an answer to arrive that was given at the last moment.
const GRACE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    /// Of one transaction each; two of the same one do not share a request.
    #[derive(Debug, PartialEq)]
    struct OfTransaction(i32);

    impl Thing for OfTransaction {
        type Answer = ();
        const NAME: &'static str = "tests";

        fn goes_with(&self, others: &[Self]) -> bool {
            !others.contains(self)
        }

        async fn send(things: &[Self], _: &Connection) -> Result<Vec<()>, ClientError> {
            Ok(vec![(); things.len()])
        }
    }

    #[test]
    fn things_share_a_request_as_far_as_they_may_and_keep_their_order() {
        let mut waiting: VecDeque<_> = [1, 2, 1, 3, 1, 2]
            .map(|number| Letter { thing: OfTransaction(number), answer: oneshot::channel().0 })
            .into();
        let mut requests = Vec::new();
        while !waiting.is_empty() {
            requests.push(take_batch(&mut waiting).0.into_iter().map(|thing| thing.0).collect::<Vec<_>>());
        }
        assert_eq!(requests, [vec![1, 2, 3], vec![1, 2], vec![1]]);
    }

    #[test]
    fn a_request_has_an_end() {
        let many = 0..THINGS_MAX as i32 + 1;
        let mut waiting: VecDeque<_> = many
            .map(|number| Letter { thing: OfTransaction(number), answer: oneshot::channel().0 })
            .collect();
        assert_eq!(take_batch(&mut waiting).0.len(), THINGS_MAX);
        assert_eq!(waiting.len(), 1);
    }
}
