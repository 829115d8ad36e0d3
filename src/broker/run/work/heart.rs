//! The task that lives a broker's life: it asks what `node::lifecycle` wants asked, and tells what became of it. It runs beside the
//! controller's network, so that a busy broker is not taken for a dead one.

use std::sync::Arc;
use std::time::Duration;

use ottla_model::BrokerEpoch;
use ottla_node::lifecycle::{Input, Lifecycle, Next};
use tokio::sync::watch;
use tracing::info;

use crate::clock::now_ms;
use crate::run::owners::controller::Controller;
use crate::run::owners::metadata::Metadata;

/// Where a broker is in its life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Coming,
    /// It serves, under this epoch.
    Here(BrokerEpoch),
    Refused(String),
    Left,
}

/// Beats until the broker has left.
pub(crate) struct Heart {
    pub life: Lifecycle,
    pub controller: Controller,
    pub image: Arc<Metadata>,
    pub standing: watch::Sender<Standing>,
    /// Turns true when the broker is to leave.
    pub leave: watch::Receiver<bool>,
}

impl Heart {
    pub async fn beat(mut self) {
        let mut next = self.life.begin();
        let mut leaving = false;
        loop {
            let input = match next {
                Next::Ask(command) => Input::Replied(self.controller.ask(command).await),
                Next::WaitUntil(at_ms) => self.wait(at_ms, &mut leaving).await,
                Next::Joined(epoch) => {
                    info!("The broker has been unfenced. Transitioning from RECOVERY to RUNNING.");
                    self.standing.send_replace(Standing::Here(epoch));
                    Input::Due
                }
                Next::Refused(why) => {
                    self.standing.send_replace(Standing::Refused(why));
                    return;
                }
                Next::Left => {
                    self.standing.send_replace(Standing::Left);
                    return;
                }
            };
            next = self.life.next(now_ms(), input, &self.image.load());
        }
    }

    async fn wait(&mut self, at_ms: i64, leaving: &mut bool) -> Input {
        let ms = u64::try_from(at_ms - now_ms()).unwrap_or(0);
        let due = tokio::time::sleep(Duration::from_millis(ms));
        if *leaving {
            due.await;
            return Input::Due;
        }
        tokio::select! {
            () = due => Input::Due,
            // If nobody can say so any more, the process is ending.
            _ = self.leave.wait_for(|leave| *leave) => {
                *leaving = true;
                Input::Leave
            }
        }
    }
}
