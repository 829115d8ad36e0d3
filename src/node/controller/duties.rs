//! What the active controller does as time goes by: it fences brokers that are not heard of, and looks for better leaders
//! now and then. It must never take its own silence for that of others.

use ottla_core::controller::{Duty, ELECTIONS_MAX, perform};
use ottla_model::NodeId;
use ottla_model::config::BrokerConfig;

use super::{Controller, ControllerError, Missing, Output};
use crate::quorum::{Spend, TICK_MS};

/// A pause between two ticks that is longer than this is not held against the brokers: this process was stopped, or its
/// clock was set.
const PAUSE_MAX_MS: i64 = 1_000;

/// When something is due next.
#[derive(Debug, Default)]
pub(super) struct Timetable {
    ticked_ms: Option<i64>,
    preferred_ms: i64,
    unclean_ms: i64,
}

impl Timetable {
    /// This controller becomes active.
    pub fn begin(&mut self, config: &BrokerConfig, now_ms: i64) {
        self.preferred_ms = now_ms + preferred_interval_ms(config);
        self.unclean_ms = now_ms + config.unclean_leader_election_interval_ms;
    }

    // How much of the time since the last tick has not really passed, or has not passed for this process.
    fn pause_ms(&mut self, now_ms: i64) -> i64 {
        let passed = self.ticked_ms.replace(now_ms).map_or(TICK_MS, |ticked_ms| now_ms - ticked_ms);
        if (0..=PAUSE_MAX_MS).contains(&passed) { 0 } else { passed - TICK_MS }
    }
}

impl<T> Controller<T> {
    pub(super) fn do_duties(&mut self, now_ms: i64, out: &mut Vec<Output<T>>) -> Result<(), ControllerError> {
        let pause_ms = self.timetable.pause_ms(now_ms);
        self.sessions.pardon(pause_ms);
        if self.led.is_none() {
            return Ok(());
        }
        // One after the other: who is fenced next sees what became of the one before.
        for id in self.sessions.silent(&self.decided, now_ms) {
            self.fence(now_ms, id, out)?;
        }
        let (interval_ms, me) = (self.heartbeat_interval_ms(), self.quorum.me());
        let late = self.sessions.late(&self.decided, interval_ms, now_ms).into_iter();
        // The broker of this node goes with this process.
        let missing = late.filter(|(id, _)| *id != me).map(|(id, epoch)| Missing::Broker(id, epoch));
        out.extend(missing.map(Output::LookFor));
        if now_ms >= self.timetable.preferred_ms {
            let config = &self.settings.config;
            let (enabled, interval_ms) = (config.auto_leader_rebalance_enable, preferred_interval_ms(config));
            let more = enabled && self.perform(now_ms, Duty::ElectPreferred, out)? == Some(ELECTIONS_MAX);
            self.timetable.preferred_ms = now_ms + if more { 0 } else { interval_ms };
        }
        if now_ms >= self.timetable.unclean_ms {
            let interval_ms = self.settings.config.unclean_leader_election_interval_ms;
            let more = self.perform(now_ms, Duty::ElectUnclean, out)? == Some(ELECTIONS_MAX);
            self.timetable.unclean_ms = now_ms + if more { 0 } else { interval_ms };
        }
        Ok(())
    }

    /// Nobody listens where `missing` did: its process has ended. So nobody has to wait until a session or an election timeout is
    /// over. A process that stands still, or that the network hides, does not refuse connections. What has been heard in the
    /// meantime counts more.
    pub(super) fn gone(
        &mut self,
        now_ms: i64,
        missing: Missing,
        out: &mut Vec<Output<T>>,
    ) -> Result<(), ControllerError> {
        match missing {
            Missing::Leader(id) => self.quorum.leader_is_gone(id),
            Missing::Broker(id, epoch) => {
                let interval_ms = self.heartbeat_interval_ms();
                let late = self.sessions.is_late(&self.decided, (id, epoch), interval_ms, now_ms);
                if late && self.led.is_some() {
                    self.fence(now_ms, id, out)?;
                }
            }
        }
        Ok(())
    }

    fn fence(&mut self, now_ms: i64, id: NodeId, out: &mut Vec<Output<T>>) -> Result<(), ControllerError> {
        if self.perform(now_ms, Duty::Fence(id), out)?.is_some() {
            self.sessions.forget(id);
            out.push(Output::Fenced(id));
        }
        Ok(())
    }

    // The brokers have the same one, unless somebody has set it differently: then they are looked for needlessly, or late.
    fn heartbeat_interval_ms(&self) -> i64 {
        self.settings.config.broker_heartbeat_interval_ms.into()
    }

    // How many records that took. `None`: they could not be written. What is decided next needs the offset behind them, which
    // the quorum knows once they are in its log.
    fn perform(
        &mut self,
        now_ms: i64,
        duty: Duty,
        out: &mut Vec<Output<T>>,
    ) -> Result<Option<usize>, ControllerError> {
        let records = self.with_view(now_ms, |view| perform(view, duty));
        let written = self.write(now_ms, &records, Spend::Reserve, out);
        if !records.is_empty() {
            self.settle(now_ms, out)?;
        }
        Ok(written.ok().map(|()| records.len()))
    }
}

fn preferred_interval_ms(config: &BrokerConfig) -> i64 {
    config.leader_imbalance_check_interval_seconds.saturating_mul(1_000)
}
