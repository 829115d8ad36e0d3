//! Which leader epoch began at which offset: followers truncate by it (KIP-101, KIP-279). Stored in
//! `leader-epoch-checkpoint`. It must never know who leads now.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use ottla_protocol::{LeaderEpoch, Offset};

use super::files::LEADER_EPOCHS;
use crate::Disk;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EpochStart {
    pub epoch: LeaderEpoch,
    pub offset: Offset,
}

/// Epochs and offsets both rise from entry to entry.
pub(super) type Starts = Vec<EpochStart>;

/// The owner's side. Readers share the published list.
#[derive(Debug)]
pub(super) struct Epochs {
    path: PathBuf,
    starts: Starts,
    shared: Arc<ArcSwap<Starts>>,
    /// The file has entries that were removed, or lacks others.
    stale: bool,
    /// There may be entries among them that began at the end of the log or above. Opening the log would remove them again, but
    /// only for as long as nothing has been appended there.
    contradicts_appends: bool,
}

impl Epochs {
    /// `None`: the file is missing or cannot be parsed.
    pub fn read(disk: &dyn Disk, dir: &Path) -> io::Result<Option<Starts>> {
        match disk.read_to_vec(&dir.join(LEADER_EPOCHS)) {
            Ok(bytes) => Ok(parse(&bytes)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    pub fn new(dir: &Path, starts: Starts) -> Epochs {
        let shared = Arc::new(ArcSwap::from_pointee(starts.clone()));
        Epochs { path: dir.join(LEADER_EPOCHS), starts, shared, stale: false, contradicts_appends: false }
    }

    pub fn shared(&self) -> Arc<ArcSwap<Starts>> {
        self.shared.clone()
    }

    pub fn starts(&self) -> Arc<Starts> {
        self.shared.load_full()
    }

    /// Goes back to `before` after the new list could not be written.
    pub fn restore(&mut self, before: &Starts) {
        self.starts.clone_from(before);
        self.changed();
    }

    pub fn latest(&self) -> Option<EpochStart> {
        self.starts.last().copied()
    }

    /// Adds an epoch and removes the entries that contradict it. Returns whether the list changed, which `write` then
    /// makes durable.
    pub fn assign(&mut self, start: EpochStart) -> bool {
        let news = self.latest().is_none_or(|l| start.epoch != l.epoch || start.offset < l.offset);
        if !start.epoch.is_some() || start.offset < 0 || !news {
            return false;
        }
        let keep =
            self.starts.iter().take_while(|s| s.epoch < start.epoch && s.offset < start.offset).count();
        self.starts.truncate(keep);
        self.starts.push(start);
        self.changed();
        true
    }

    /// The log has nothing at or above `end` any more. The entries are removed even if no bytes were (KAFKA-10706).
    pub fn truncate_end(&mut self, end: Offset) {
        if self.latest().is_some_and(|latest| latest.offset >= end) {
            self.starts.retain(|s| s.offset < end);
            self.changed();
            self.contradicts_appends = true;
        }
    }

    /// A batch of that epoch begins there: whoever noted that a later epoch had begun by then has cut the log since, and could not
    /// remove its note before it ended.
    pub fn found(&mut self, batch: EpochStart) {
        let later = self.starts.partition_point(|s| s.epoch <= batch.epoch);
        let wrong = self.starts[later..].iter().take_while(|s| s.offset <= batch.offset).count();
        if batch.epoch.is_some() && wrong > 0 {
            self.starts.drain(later..later + wrong);
            self.changed();
            self.contradicts_appends = true;
        }
        if self.latest().is_none_or(|latest| latest.epoch < batch.epoch) {
            self.assign(batch);
        }
    }

    /// The log has nothing below `start` any more. The epoch that contains `start` begins at `start` from now on.
    pub fn truncate_start(&mut self, start: Offset) {
        let covered = self.starts.iter().take_while(|s| s.offset <= start).count();
        if covered == 0 || (covered == 1 && self.starts[0].offset == start) {
            return;
        }
        self.starts.drain(..covered - 1);
        self.starts[0].offset = start;
        self.changed();
    }

    pub fn clear(&mut self) {
        if !self.starts.is_empty() {
            self.starts.clear();
            self.changed();
        }
    }

    pub fn stale(&self) -> bool {
        self.stale
    }

    /// The list has to be written before anything is appended: what is appended would make the file wrong.
    pub fn must_be_written(&self) -> bool {
        self.contradicts_appends
    }

    /// The list is durable when this returns.
    pub fn write(&mut self, disk: &dyn Disk) -> io::Result<()> {
        // The name may have been changed, and the folder not been synced.
        self.contradicts_appends = true;
        disk.replace(&self.path, text(&self.starts).as_bytes())?;
        (self.stale, self.contradicts_appends) = (false, false);
        Ok(())
    }

    fn changed(&mut self) {
        self.stale = true;
        self.shared.store(Arc::new(self.starts.clone()));
    }
}

/// The largest epoch not above `epoch`, and where the next one begins. `(NONE, -1)`: unknown.
pub(super) fn end_offset(
    starts: &[EpochStart],
    epoch: LeaderEpoch,
    log_end: Offset,
) -> (LeaderEpoch, Offset) {
    let unknown = (LeaderEpoch::NONE, -1);
    let Some(latest) = starts.last() else { return unknown };
    if epoch == latest.epoch {
        return (epoch, log_end);
    }
    let above = starts.partition_point(|s| s.epoch <= epoch);
    match (above.checked_sub(1), starts.get(above)) {
        _ if !epoch.is_some() => unknown,
        (_, None) => unknown,
        // All records of that epoch are gone: the follower is sent to the log's first offset.
        (None, Some(next)) => (epoch, next.offset),
        (Some(floor), Some(next)) => (starts[floor].epoch, next.offset),
    }
}

/// As `end_offset`, under a current epoch that has not written anything yet.
pub(super) fn end_offset_under(
    starts: &[EpochStart],
    current: LeaderEpoch,
    epoch: LeaderEpoch,
    log_end: Offset,
) -> (LeaderEpoch, Offset) {
    let latest = starts.last().map_or(LeaderEpoch::NONE, |latest| latest.epoch);
    if latest >= current || !epoch.is_some() {
        return end_offset(starts, epoch, log_end);
    }
    match epoch {
        _ if epoch > current => (LeaderEpoch::NONE, -1),
        _ if epoch == current => (current, log_end),
        _ if epoch >= latest && latest.is_some() => (latest, log_end),
        _ if latest.is_some() => end_offset(starts, epoch, log_end),
        _ => (epoch, log_end),
    }
}

fn text(starts: &[EpochStart]) -> String {
    let entries = starts.iter().map(|s| format!("{} {}\n", s.epoch, s.offset)).collect::<String>();
    format!("{VERSION}\n{}\n{entries}", starts.len())
}

fn parse(bytes: &[u8]) -> Option<Starts> {
    let text = str::from_utf8(bytes).ok()?;
    // Kafka creates the file without contents.
    if text.is_empty() {
        return Some(Starts::new());
    }
    let mut lines = text.lines();
    if lines.next()?.trim() != VERSION {
        return None;
    }
    let count: usize = lines.next()?.trim().parse().ok()?;
    let mut starts = Starts::new();
    for line in lines {
        let (epoch, offset) = line.trim().split_once(char::is_whitespace)?;
        let start =
            EpochStart { epoch: LeaderEpoch(epoch.parse().ok()?), offset: offset.trim().parse().ok()? };
        let rises = starts.last().is_none_or(|last| last.epoch < start.epoch && last.offset < start.offset);
        if !start.epoch.is_some() || start.offset < 0 || !rises {
            return None;
        }
        starts.push(start);
    }
    (starts.len() == count).then_some(starts)
}

const VERSION: &str = "0";

#[cfg(test)]
mod tests {
    use super::*;

    fn epochs(starts: &[(i32, Offset)]) -> Epochs {
        let starts = starts.iter().map(|&(e, offset)| EpochStart { epoch: LeaderEpoch(e), offset });
        Epochs::new(Path::new("/"), starts.collect())
    }

    #[track_caller]
    fn check(
        what: &str,
        starts: &[(i32, Offset)],
        change: impl FnOnce(&mut Epochs),
        expected: &[(i32, Offset)],
    ) {
        let mut epochs = epochs(starts);
        change(&mut epochs);
        let now = epochs.starts.iter().map(|s| (s.epoch.0, s.offset)).collect::<Vec<_>>();
        assert_eq!(now, expected, "{what}");
        assert_eq!(*epochs.shared().load_full(), epochs.starts, "{what}, as readers see it");
    }

    fn assign(epoch: i32, offset: Offset) -> impl FnOnce(&mut Epochs) {
        move |epochs| {
            epochs.assign(EpochStart { epoch: LeaderEpoch(epoch), offset });
        }
    }

    #[test]
    fn epochs_are_entered_once_and_contradictions_go() {
        check("the first", &[], assign(0, 0), &[(0, 0)]);
        check("the next", &[(0, 0)], assign(2, 10), &[(0, 0), (2, 10)]);
        check("again, later", &[(0, 0), (2, 10)], assign(2, 20), &[(0, 0), (2, 10)]);
        check("again, earlier", &[(0, 0), (2, 10)], assign(2, 5), &[(0, 0), (2, 5)]);
        check("an epoch that wrote nothing", &[(0, 0), (2, 10)], assign(3, 10), &[(0, 0), (3, 10)]);
        check("a lower epoch at a higher offset", &[(0, 0), (5, 10)], assign(3, 20), &[(0, 0), (3, 20)]);
        check("no epoch", &[(0, 0)], assign(-1, 20), &[(0, 0)]);
    }

    #[test]
    fn both_ends_follow_the_log() {
        let all = [(1, 5), (3, 10), (4, 20)];
        check("above the end", &all, |e| e.truncate_end(21), &all);
        check("at an entry", &all, |e| e.truncate_end(20), &[(1, 5), (3, 10)]);
        check("everything", &all, |e| e.truncate_end(0), &[]);
        check("below the start", &all, |e| e.truncate_start(4), &all);
        check("at the start", &all, |e| e.truncate_start(5), &all);
        check("inside an epoch", &all, |e| e.truncate_start(12), &[(3, 12), (4, 20)]);
        check("at an epoch", &all, |e| e.truncate_start(20), &[(4, 20)]);
        check("past the last", &all, |e| e.truncate_start(30), &[(4, 30)]);
        check("cleared", &all, |e| e.clear(), &[]);
    }

    #[test]
    fn an_epoch_that_has_not_written_begins_at_the_end() {
        let end = |starts: &[(i32, Offset)], current, asked| {
            let starts = epochs(starts).starts;
            let (epoch, offset) = end_offset_under(&starts, LeaderEpoch(current), LeaderEpoch(asked), 99);
            (epoch.0, offset)
        };
        let written = [(1, 5), (3, 10)];
        for (asked, expected) in [
            (-1, (-1, -1)),
            (0, (0, 5)),
            (1, (1, 10)),
            (3, (3, 99)),
            (4, (3, 99)),
            (7, (7, 99)),
            (8, (-1, -1)),
        ] {
            assert_eq!(end(&written, 7, asked), expected, "epoch {asked} of a log that 7 leads");
        }
        for (asked, expected) in [(3, (3, 99)), (4, (-1, -1))] {
            assert_eq!(end(&written, 3, asked), expected, "epoch {asked} of a log that 3 leads and wrote to");
        }
        for (asked, expected) in [(-1, (-1, -1)), (1, (1, 99)), (2, (2, 99)), (3, (-1, -1))] {
            assert_eq!(end(&[], 2, asked), expected, "epoch {asked} of an empty log that 2 leads");
        }
    }

    #[test]
    fn the_end_of_an_epoch_is_where_the_next_begins() {
        let all = epochs(&[(1, 5), (3, 10), (4, 20)]);
        for (asked, expected) in
            [(-1, (-1, -1)), (0, (0, 5)), (1, (1, 10)), (2, (1, 10)), (3, (3, 20)), (4, (4, 99))]
        {
            let (epoch, offset) = end_offset(&all.starts, LeaderEpoch(asked), 99);
            assert_eq!((epoch.0, offset), expected, "{asked}");
        }
        assert_eq!(end_offset(&all.starts, LeaderEpoch(5), 99), (LeaderEpoch::NONE, -1), "the future");
        assert_eq!(end_offset(&[], LeaderEpoch(5), 99), (LeaderEpoch::NONE, -1), "none known");
    }

    #[test]
    fn the_file_is_kafkas() {
        let all = epochs(&[(0, 0), (3, 10)]).starts;
        assert_eq!(text(&all), "0\n2\n0 0\n3 10\n");
        assert_eq!(text(&[]), "0\n0\n");
        assert_eq!(parse(text(&all).as_bytes()), Some(all));
        assert_eq!(parse(b""), Some(vec![]));
        for wrong in
            ["1\n0\n", "0\n2\n0 0\n", "0\n1\n0\n", "0\n1\nx 0\n", "0\n2\n3 10\n0 0\n", "0\n1\n-1 0\n", "0"]
        {
            assert_eq!(parse(wrong.as_bytes()), None, "{wrong:?}");
        }
    }
}
