//! Which clients are connected, and whether another one may connect: `max.connections*` and
//! `max.connection.creation.rate`, over all listeners. It must never know what is sent on a connection.

use std::collections::HashMap;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::pace::Pace;
use crate::run::owners::settings::Settings;

/// The connections by address, over all listeners.
pub(crate) struct Census {
    counts: Mutex<Counts>,
    /// A connection has ended. This wakes every listener that waits for room, and everybody who waits for all connections
    /// to end. To wake only one of them could wake a listener to which nobody connects.
    ended: Notify,
    pace: Mutex<Pace>,
    began: Instant,
}

impl Default for Census {
    fn default() -> Census {
        let (counts, ended, pace) = Default::default();
        Census { counts, ended, pace, began: Instant::now() }
    }
}

#[derive(Default)]
struct Counts {
    all: usize,
    by_ip: HashMap<IpAddr, usize>,
}

impl Census {
    /// Waits until every connection has ended.
    pub async fn emptied(&self) {
        loop {
            // Created before the check, so that a connection which ends after the check is noticed.
            let ended = self.ended.notified();
            if self.counts.lock().all == 0 {
                return;
            }
            ended.await;
        }
    }

    /// Waits until there are fewer than `max.connections`.
    pub async fn room(&self, settings: &Settings) {
        loop {
            // Both are created before the check, for the same reason.
            let (ended, change) = (self.ended.notified(), settings.change());
            if self.counts.lock().all < settings.now().max_connections as usize {
                return;
            }
            tokio::select! {
                () = ended => {}
                () = change => {}
            }
        }
    }

    /// Counts one more connection. `None`: there are `most` from that address already.
    pub fn admit(self: &Arc<Self>, ip: IpAddr, most: usize) -> Option<CountedConnection> {
        let mut counts = self.counts.lock();
        let count = counts.by_ip.entry(ip).or_default();
        if *count >= most {
            if *count == 0 {
                counts.by_ip.remove(&ip);
            }
            return None;
        }
        *count += 1;
        counts.all += 1;
        Some(CountedConnection { census: self.clone(), ip })
    }

    /// Waits until `max.connection.creation.rate` allows the new connection to be served.
    pub async fn pace(&self, settings: &Settings) {
        let mut change = pin!(settings.change());
        let mut wait =
            self.pace.lock().admit(self.began.elapsed(), settings.now().max_connection_creation_rate);
        while !wait.is_zero() {
            tokio::select! {
                () = tokio::time::sleep(wait) => return,
                // The setting has changed: at a slow rate, the rest of the old wait could be long and for nothing.
                () = change.as_mut() => {}
            }
            change.set(settings.change());
            wait = self.pace.lock().wait(self.began.elapsed(), settings.now().max_connection_creation_rate);
        }
    }
}

/// A counted connection. Dropping it ends the counting.
pub(crate) struct CountedConnection {
    census: Arc<Census>,
    ip: IpAddr,
}

impl Drop for CountedConnection {
    fn drop(&mut self) {
        let mut counts = self.census.counts.lock();
        counts.all -= 1;
        if let Some(count) = counts.by_ip.get_mut(&self.ip) {
            *count -= 1;
            if *count == 0 {
                counts.by_ip.remove(&self.ip);
            }
        }
        drop(counts);
        self.census.ended.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use ottla_model::config::{Sources, load};

    use super::*;

    fn settings(overrides: &[(&str, &str)]) -> Arc<Settings> {
        let overrides: Vec<_> =
            overrides.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
        let (config, _) =
            load(Sources { file: None, env: [], overrides: &overrides }).expect("a configuration");
        Arc::new(Settings::new(Arc::new(config)))
    }

    /// Two listeners wait for room, and nobody connects to one of them. The other one has to be woken, too.
    #[tokio::test]
    async fn every_listener_hears_that_there_is_room() {
        let census = Arc::new(Census::default());
        let settings = settings(&[("max.connections", "1")]);
        let place = census.admit(Ipv4Addr::LOCALHOST.into(), 9).expect("there is room");
        let waits = |census: Arc<Census>, settings: Arc<Settings>| {
            tokio::spawn(async move { census.room(&settings).await })
        };
        let waiting = [(); 2].map(|()| waits(census.clone(), settings.clone()));
        let stopping = tokio::spawn({
            let census = census.clone();
            async move { census.emptied().await }
        });
        tokio::task::yield_now().await;
        assert!(waiting.iter().all(|listener| !listener.is_finished()) && !stopping.is_finished());
        drop(place);
        for listener in waiting {
            listener.await.expect("it was told");
        }
        stopping.await.expect("and so was whoever waits for all to be gone");
    }
}
