//! The task that lives a broker's life: it asks what `node::lifecycle` wants asked, and tells what became of it. It runs beside the
//! controller's network, so that a busy broker is not taken for a dead one.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use ottla_core::controller::{Command, NotController, Reply};
use ottla_model::BrokerEpoch;
use ottla_node::lifecycle::{Input, Lifecycle, Output};
use tokio::sync::{mpsc, watch};
use tracing::{info, warn};

use crate::clock::now_ms;
use crate::run::owners::controller::Controller;
use crate::run::owners::metadata::Metadata;

/// Where a broker is in its life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Coming,
    Here,
    Refused(String),
    Left,
}

/// What a broker is known by: where it stands, and the epoch under which it is registered.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub standing: Standing,
    pub epoch: Option<BrokerEpoch>,
}

/// Beats until the broker has left.
pub(crate) struct Heart {
    pub life: Lifecycle,
    pub controller: Controller,
    pub image: Arc<Metadata>,
    pub known: watch::Sender<Known>,
    /// What others have to say to the broker's life.
    pub inputs: mpsc::UnboundedReceiver<Input>,
}

type Answering = Pin<Box<dyn Future<Output = Result<Reply, NotController>> + Send>>;

impl Heart {
    pub async fn beat(mut self) {
        let mut input = Input::Time;
        let mut answering: Option<Answering> = None;
        let mut leading = self.controller.leading.clone();
        loop {
            for output in self.life.step(now_ms(), input, &self.image.load()) {
                match output {
                    Output::Ask(command) => answering = Some(self.ask(command)),
                    Output::Registered(epoch) => {
                        info!(broker_epoch = epoch.0, "registered with the controller");
                        self.known.send_modify(|known| known.epoch = Some(epoch));
                    }
                    Output::Joined(_) => {
                        info!("The broker has been unfenced. Transitioning from RECOVERY to RUNNING.");
                        self.tell(Standing::Here);
                        // From now on a heartbeat says that this process lives, and nothing else. If the controller beside it
                        // answered only when the broker has carried out everything, a broker that opens thousands of new logs
                        // would be silent for so long, and be fenced.
                        self.controller.carried_out = false;
                    }
                    Output::Waits(why) => warn!("still waiting for the controller: {why}"),
                    Output::Refused(why) => return self.tell(Standing::Refused(why)),
                    Output::StopNow => return self.tell(Standing::Left),
                }
            }
            // A stop does not wait for an answer that may never come.
            input = tokio::select! {
                reply = reply(&mut answering) => {
                    answering = None;
                    Input::Answered(reply)
                }
                Some(said) = self.inputs.recv() => said,
                // Nobody says who leads any more once the network of controllers has ended, and this with it.
                Ok(()) = leading.changed() => match leading.borrow_and_update().can_be_asked() {
                    true => Input::AnotherLeads,
                    false => Input::Time,
                },
                () = due(&self.life) => Input::Time,
            };
        }
    }

    fn ask(&self, command: Command) -> Answering {
        let controller = self.controller.clone();
        Box::pin(async move { controller.ask(command).await })
    }

    fn tell(&self, standing: Standing) {
        self.known.send_modify(|known| known.standing = standing);
    }
}

// The answer to what was asked; without a question, never.
async fn reply(answering: &mut Option<Answering>) -> Result<Reply, NotController> {
    match answering {
        Some(answering) => answering.await,
        None => std::future::pending().await,
    }
}

// Waits until something is due, or for ever.
fn due(life: &Lifecycle) -> impl Future<Output = ()> + use<> {
    let at_ms = life.due_ms();
    async move {
        match at_ms {
            Some(at_ms) => {
                let ms = u64::try_from(at_ms - now_ms()).unwrap_or(0);
                tokio::time::sleep(Duration::from_millis(ms)).await;
            }
            None => std::future::pending().await,
        }
    }
}
