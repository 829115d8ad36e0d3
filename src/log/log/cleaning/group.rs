//! Which segments become one: as many as fit, or cleaned segments would become smaller and smaller. It must never look
//! into a segment.

use std::ops::Range;

use ottla_protocol::Offset;

use super::job::Job;
use crate::log::index::{IndexEntry, OffsetEntry, TimeEntry};
use crate::log::segment::Segment;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Group {
    /// A range of the job's segments.
    pub segments: Range<usize>,
    pub base: Offset,
    /// The base offset of the segment after the group.
    pub end: Offset,
}

/// The sizes of one segment's files, or their sums for several segments.
#[derive(Clone, Copy, Debug, Default)]
struct Sizes {
    log: u64,
    offset_index: u64,
    time_index: u64,
}

/// Divides the first `count` segments into groups, in order.
pub(super) fn groups(job: &Job, count: usize) -> Vec<Group> {
    let limit = |bytes: i32| u64::try_from(bytes).unwrap_or(0);
    let (log_max, index_max) = (limit(job.config.segment_bytes), limit(job.config.segment_index_bytes));
    let mut groups = Vec::<(Group, Sizes)>::new();
    for at in 0..count {
        let (segment, end) = (&job.segments[at], job.base_of(at + 1));
        let sizes = Sizes::of(segment);
        if let Some((group, so_far)) = groups.last_mut() {
            let sum = so_far.plus(&sizes);
            // An empty segment has no offset that an index has to store relative to the group's base.
            let reaches = sizes.log == 0 || end - 1 - group.base <= i32::MAX.into();
            if sum.log <= log_max && sum.offset_index <= index_max && sum.time_index <= index_max && reaches {
                (group.segments.end, group.end, *so_far) = (at + 1, end, sum);
                continue;
            }
        }
        groups.push((Group { segments: at..at + 1, base: segment.base, end }, sizes));
    }
    groups.into_iter().map(|(group, _)| group).collect()
}

impl Sizes {
    fn of(segment: &Segment) -> Sizes {
        Sizes {
            log: segment.sealed_bytes().unwrap_or(0),
            offset_index: (segment.offset_index.len() * OffsetEntry::BYTES) as u64,
            time_index: (segment.time_index.len() * TimeEntry::BYTES) as u64,
        }
    }

    fn plus(&self, more: &Sizes) -> Sizes {
        Sizes {
            log: self.log + more.log,
            offset_index: self.offset_index + more.offset_index,
            time_index: self.time_index + more.time_index,
        }
    }
}
