//! How much of a log there is to clean, from what the log's owner has published. It must never choose between logs.

use std::sync::Arc;

use ottla_model::config::TopicConfig;
use ottla_protocol::Offset;

use super::job::floor;
use crate::log::LogReader;
use crate::log::error::LogError;
use crate::log::scan::LOOKUP_BYTES;
use crate::log::segment::Segment;

/// What could be cleaned in a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dirt {
    pub first_dirty: Offset,
    /// Where the first segment starts that is not cleaned now: the active segment, or one that has an open transaction,
    /// is not flushed, or is too young (`min.compaction.lag.ms`).
    pub end: Offset,
    pub clean_bytes: u64,
    pub dirty_bytes: u64,
    /// For how long a record has been waiting beyond `max.compaction.lag.ms`; 0 if none has.
    pub overdue_ms: i64,
    /// What the cleaner's checkpoint has to be corrected to, if it is below the log start or above an offset to which the
    /// log was truncated. `None`: it is right.
    pub checkpoint: Option<Offset>,
}

impl Dirt {
    /// The share of the bytes to be read that is dirty.
    pub fn ratio(&self) -> f64 {
        match self.clean_bytes + self.dirty_bytes {
            0 => 0.0,
            all => self.dirty_bytes as f64 / all as f64,
        }
    }

    /// Whether the log is to be cleaned now.
    pub fn due(&self, config: &TopicConfig) -> bool {
        let overdue = self.overdue_ms > 0 && self.dirty_bytes > 0;
        config.cleanup_policy.compact && (overdue || self.ratio() > config.min_cleanable_dirty_ratio)
    }
}

impl LogReader {
    /// `checkpoint`: the offset up to which the log was cleaned before. `None`: it was never cleaned.
    pub fn dirt(
        &self,
        config: &TopicConfig,
        checkpoint: Option<Offset>,
        now_ms: i64,
    ) -> Result<Dirt, LogError> {
        self.steady(|state, segments| {
            let offsets = state.offsets();
            let active = segments.partition_point(|segment| segment.base < state.log_end.base);
            let checked = checkpoint.map(|at| at.min(self.lowest_cut()));
            let first_dirty = match checked {
                Some(at) if (offsets.log_start..=offsets.log_end).contains(&at) => at,
                _ => offsets.log_start,
            };
            let sealed = &segments[..active];
            let dirty = &sealed[floor(sealed, first_dirty).min(active)..];
            let young = first_young(dirty, config, now_ms)?.unwrap_or(Offset::MAX);
            let unclean = offsets.last_stable.min(self.flushed()).min(young).max(first_dirty);
            let count = floor(segments, unclean).min(active);
            let end = segments.get(count).map_or(first_dirty, |segment| segment.base);
            let bytes = |segments: &[Arc<Segment>]| -> u64 {
                segments.iter().filter_map(|segment| segment.sealed_bytes()).sum()
            };
            let clean = sealed.partition_point(|segment| segment.base < first_dirty);
            Ok(Dirt {
                first_dirty,
                end,
                clean_bytes: bytes(&sealed[..clean]),
                dirty_bytes: bytes(&segments[floor(segments, first_dirty).min(count)..count]),
                overdue_ms: overdue_ms(dirty, config, now_ms)?,
                checkpoint: checkpoint.is_some_and(|at| at != first_dirty).then_some(first_dirty),
            })
        })
    }
}

/// The base offset of the first segment with a record that is younger than `min.compaction.lag.ms`.
fn first_young(
    dirty: &[Arc<Segment>],
    config: &TopicConfig,
    now_ms: i64,
) -> Result<Option<Offset>, LogError> {
    if config.min_compaction_lag_ms <= 0 {
        return Ok(None);
    }
    let old = now_ms.saturating_sub(config.min_compaction_lag_ms);
    for segment in dirty {
        if segment.largest()?.timestamp > old {
            return Ok(Some(segment.base));
        }
    }
    Ok(None)
}

/// Measured from the first batch of each segment, as in Kafka.
fn overdue_ms(dirty: &[Arc<Segment>], config: &TopicConfig, now_ms: i64) -> Result<i64, LogError> {
    let until = now_ms.saturating_sub(config.max_compaction_lag_ms.max(0));
    if until <= 0 {
        return Ok(0);
    }
    let mut earliest = i64::MAX;
    for segment in dirty {
        let mut scan = segment.scan(0, segment.sealed_bytes().unwrap_or(0), LOOKUP_BYTES);
        let first = scan.next().map_err(|e| segment.corrupt(segment.base, e))?;
        let timestamp = first.map_or(0, |found| found.header.max_timestamp);
        if timestamp > 0 {
            earliest = earliest.min(timestamp);
        }
    }
    Ok(if earliest < until { until - earliest } else { 0 })
}
