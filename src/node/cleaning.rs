//! Which log is compacted next (`log.cleaner.*`). What is kept of a log is decided in `ottla_log::log`. It must never touch
//! a log but through its reader, or know who compacts.

use std::collections::BTreeSet;

use ottla_log::log::{Dirt, LogError, LogReader};
use ottla_model::config::TopicConfig;
use ottla_protocol::Offset;

use crate::replicas::Key;

/// The logs that nobody else may begin to compact.
#[derive(Debug, Default)]
pub struct Claims {
    busy: BTreeSet<Key>,
    /// They failed to be compacted, and are left alone until the broker starts again.
    uncleanable: BTreeSet<Key>,
}

impl Claims {
    /// Whether a log is not even to be looked at.
    pub fn skips(&self, key: Key) -> bool {
        self.busy.contains(&key) || self.uncleanable.contains(&key)
    }

    /// False: somebody else was quicker.
    pub fn begin(&mut self, key: Key) -> bool {
        self.busy.insert(key)
    }

    pub fn ended(&mut self, key: Key) {
        self.busy.remove(&key);
    }

    pub fn give_up(&mut self, key: Key) {
        self.uncleanable.insert(key);
    }
}

/// A look at all compacted logs, for the one that is to be compacted next. `T` is whatever finds a log again.
#[derive(Debug)]
pub struct Search<T> {
    /// Of those that are due, the one with the largest dirty share.
    pub dirtiest: Option<(T, Dirt)>,
    /// What the checkpoints of the cleaner should say, where they say something else.
    pub corrections: Vec<(T, Offset)>,
}

impl<T: Clone> Search<T> {
    pub fn begin() -> Search<T> {
        Search { dirtiest: None, corrections: Vec::new() }
    }

    /// Looks at one log. `checkpoint`: up to where it was compacted, if it ever was. A log that is being copied to another
    /// directory is not compacted: a tombstone that is taken away before it is copied would bring back what it deleted.
    pub fn look(
        &mut self,
        now_ms: i64,
        log: T,
        reader: &LogReader,
        config: &TopicConfig,
        checkpoint: Option<Offset>,
    ) -> Result<(), LogError> {
        if !config.cleanup_policy.compact || reader.is_copied() {
            return Ok(());
        }
        let dirt = reader.dirt(config, checkpoint, now_ms)?;
        self.corrections.extend(dirt.checkpoint.map(|correct| (log.clone(), correct)));
        let dirtier = self.dirtiest.as_ref().is_none_or(|(_, other)| dirt.ratio() > other.ratio());
        if dirt.due(config) && dirtier {
            self.dirtiest = Some((log, dirt));
        }
        Ok(())
    }
}
