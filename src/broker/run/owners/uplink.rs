//! The way of a broker to an active controller that is another node: one connection, made when it is needed. A broker's own
//! questions go as the requests of `travels`, what clients ask goes in envelopes (KIP-590).

mod envelope;

use std::sync::Arc;
use std::time::Duration;

use ottla_client::{Connection, Options};
use ottla_core::controller::{Command, NotController, Reply};
use ottla_model::config::HostPort;
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;
use tracing::debug;

use super::leading::Leading;
use super::metadata::Metadata;
use crate::request::{Answer, ClientRequest};
use crate::travels::{Introduction, Travels};

/// For a question, its connection included.
const PATIENCE: Duration = Duration::from_secs(5);
/// For how long a client's request waits for a controller that takes it.
const FORWARDING: Duration = Duration::from_secs(30);
/// After an attempt that met no active controller.
const AGAIN_AFTER: Duration = Duration::from_millis(50);

/// Leads to the active controller.
pub(crate) struct Uplink {
    cluster_id: String,
    leading: watch::Receiver<Leading>,
    /// The metadata as the broker of this node knows it.
    known: Arc<Metadata>,
    connected: Mutex<Option<Connected>>,
}

struct Connected {
    address: HostPort,
    connection: Connection,
}

/// What became of a client's request.
pub(crate) enum Forwarded {
    Answered(Answer),
    /// The active controller is in this process.
    Here,
    /// No controller took it in time.
    Nobody,
}

impl Uplink {
    pub fn new(cluster_id: String, leading: watch::Receiver<Leading>, known: Arc<Metadata>) -> Uplink {
        Uplink { cluster_id, leading, known, connected: Mutex::default() }
    }

    /// Asks a question of the broker's own. Those that only a client's request asks are no questions of a broker.
    pub async fn carry(&self, command: Command) -> Result<Reply, NotController> {
        match command {
            Command::RegisterBroker(registration) => {
                let introduction = Introduction { cluster_id: self.cluster_id.clone(), registration };
                let response = self.call(&introduction.request()).await?;
                introduction.registration.of_response(response).map(Reply::BrokerRegistered)
            }
            Command::Heartbeat(question) => self.ask(question).await.map(Reply::Heartbeat),
            Command::AllocateProducerIds(question) => self.ask(question).await.map(Reply::ProducerIds),
            Command::AlterPartition(question) => self.ask(question).await.map(Reply::PartitionsAltered),
            Command::AssignReplicas(question) => self.ask(question).await.map(Reply::ReplicasAssigned),
            Command::RegisterController(question) => {
                self.ask(question).await.map(Reply::ControllerRegistered)
            }
            Command::CreateTopics(create) => self.create_topics(create).await.map(Reply::TopicsCreated),
            Command::AlterConfigs(alter) => self.alter_configs(alter).await.map(Reply::ConfigsAltered),
            _ => Err(NotController),
        }
    }

    async fn ask<Q: Travels>(&self, question: Q) -> Result<Q::Answer, NotController> {
        let response = self.call(&question.request()).await?;
        question.of_response(response)
    }

    // Whoever was active may be cut off and never answer, and a heartbeat that waits for that comes too late at the
    // controller after it.
    async fn call<R: ottla_client::Request>(&self, request: &R) -> Result<R::Response, NotController> {
        let mut leading = self.leading.clone();
        let asked = leading.borrow_and_update().address.clone();
        let exchange = async {
            let connection = self.connection().await?;
            connection.call(request).await.map_err(|error| {
                debug!(%error, "the active controller did not answer");
                NotController
            })
        };
        // In all: whoever waits for the connection that another one makes waits no longer for that.
        tokio::select! {
            answer = tokio::time::timeout(PATIENCE, exchange) => answer.unwrap_or(Err(NotController)),
            _ = leading.wait_for(|now| now.address != asked) => Err(NotController),
        }
    }

    async fn connection(&self) -> Result<Connection, NotController> {
        let address = self.leading.borrow().address.clone().ok_or(NotController)?;
        let mut connected = self.connected.lock().await;
        let fits = |known: &&Connected| known.address == address && !known.connection.is_closed();
        if let Some(known) = connected.as_ref().filter(fits) {
            return Ok(known.connection.clone());
        }
        let options = Options { connect_timeout: PATIENCE, request_timeout: PATIENCE, ..Options::default() };
        let made = Connection::connect_with(&address.to_string(), options).await;
        let connection = made.map_err(|error| {
            debug!(%error, "cannot reach the active controller");
            NotController
        })?;
        *connected = Some(Connected { address, connection: connection.clone() });
        Ok(connection)
    }

    /// Sends a client's request on, and again for as long as it meets no active controller.
    pub async fn forward(&self, asked: &ClientRequest) -> Forwarded {
        let deadline = Instant::now() + FORWARDING;
        let mut leading = self.leading.clone();
        while Instant::now() < deadline {
            if leading.borrow().here {
                return Forwarded::Here;
            }
            if let Ok(answer) = self.enclose(asked).await {
                return Forwarded::Answered(answer);
            }
            // Whichever is first: another leader, or the time for another attempt.
            let _ = tokio::time::timeout(AGAIN_AFTER, leading.changed()).await;
        }
        Forwarded::Nobody
    }
}

#[cfg(test)]
mod tests {
    use ottla_core::controller::AllocateProducerIds;
    use ottla_core::question::Question;
    use ottla_model::{BrokerEpoch, NodeId};
    use ottla_protocol::LeaderEpoch;

    use super::*;

    // Whoever was active accepts connections and says nothing, like a process that is stopped. The second one waits for the
    // connection that the first one makes, and for no longer than that.
    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_long_for_a_connection_that_somebody_else_makes() {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = silent.local_addr().expect("an address").port();
        let leading = Leading {
            epoch: LeaderEpoch(1),
            leader: Some(NodeId(2)),
            address: Some(HostPort { host: "127.0.0.1".into(), port }),
            ..Leading::nobody()
        };
        let (_says, known) = watch::channel(leading);
        let uplink = Uplink::new("one".into(), known, Arc::default());
        let ask = || {
            let question = AllocateProducerIds { broker: NodeId(1), epoch: BrokerEpoch(1) };
            uplink.carry(question.command())
        };
        let begun = Instant::now();
        let (first, second) = tokio::join!(ask(), ask());
        assert!(matches!((first, second), (Err(NotController), Err(NotController))));
        assert!(begun.elapsed() <= PATIENCE + Duration::from_millis(100), "{:?}", begun.elapsed());
    }
}
