//! The bytes of one file: what processes read, what is durable, and the changes between the two. Must never know names or
//! folders.

use ottla_model::dice::Dice;
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Default)]
pub(super) struct Content {
    /// What reads return.
    cache: Vec<u8>,
    durable: Vec<u8>,
    /// The changes that turn `durable` into `cache`, oldest first (without those that a failed sync has lost).
    pending: Vec<Change>,
    /// The number of the first change in `pending`; a `SyncMark` is such a number.
    first_pending: u64,
    open: Arc<()>,
}

#[derive(Clone)]
enum Change {
    Write { at: u64, bytes: Arc<[u8]> },
    Length(u64),
}

impl Content {
    pub(super) fn fork(&self) -> Content {
        Content {
            cache: self.cache.clone(),
            durable: self.durable.clone(),
            pending: self.pending.clone(),
            first_pending: self.first_pending,
            open: Arc::default(),
        }
    }

    /// The file counts as open for as long as somebody holds this.
    pub(super) fn hold(&self) -> Arc<()> {
        self.open.clone()
    }

    pub(super) fn is_open(&self) -> bool {
        Arc::strong_count(&self.open) > 1
    }

    pub(super) fn len(&self) -> u64 {
        self.cache.len() as u64
    }

    pub(super) fn available(&self, at: u64) -> usize {
        self.len().saturating_sub(at) as usize
    }

    pub(super) fn read(&self, buf: &mut [u8], at: u64) {
        if !buf.is_empty() {
            buf.copy_from_slice(&self.cache[at as usize..][..buf.len()]);
        }
    }

    pub(super) fn write(&mut self, at: u64, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.change(Change::Write { at, bytes: bytes.into() });
        }
    }

    pub(super) fn truncate(&mut self, len: u64) {
        if len != self.len() {
            self.change(Change::Length(len));
        }
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.cache);
        self.pending.push(change);
    }

    pub(super) fn mark(&self) -> u64 {
        self.first_pending + self.pending.len() as u64
    }

    /// All changes before `mark` are durable.
    pub(super) fn sync(&mut self, mark: u64) {
        for change in self.take_before(mark) {
            change.apply(&mut self.durable);
        }
    }

    pub(super) fn fail_sync(&mut self, mark: u64, dice: &mut Dice) {
        let covered = self.take_before(mark);
        settle(&mut self.durable, &covered, dice);
    }

    pub(super) fn crash(&mut self, dice: &mut Dice) {
        self.fail_sync(self.mark(), dice);
        self.cache = self.durable.clone();
    }

    fn take_before(&mut self, mark: u64) -> Vec<Change> {
        let covered = mark.saturating_sub(self.first_pending).min(self.pending.len() as u64);
        self.first_pending += covered;
        self.pending.drain(..covered as usize).collect()
    }
}

impl Change {
    fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Change::Length(len) => to.resize(*len as usize, 0),
            Change::Write { at, bytes } => {
                let (start, end) = (*at as usize, *at as usize + bytes.len());
                if to.len() < end {
                    to.resize(end, 0);
                }
                to[start..end].copy_from_slice(bytes);
            }
        }
    }

    fn length_after(&self, before: u64) -> u64 {
        match self {
            Change::Length(len) => *len,
            Change::Write { at, bytes } => before.max(at + bytes.len() as u64),
        }
    }
}

/// How much survives this time. Without the two extremes, a large file would almost never be kept or lost as a whole.
#[derive(Clone, Copy)]
enum Mood {
    AllLost,
    AllKept,
    /// The new length survives and the data does not: the new part reads as zeros.
    LengthOnly,
    /// Each sector has all of its changes with this chance in eight, and otherwise only some of the first ones.
    Mixed(usize),
}

/// Decides what is durable after a loss of power during `changes`.
fn settle(durable: &mut Vec<u8>, changes: &[Change], dice: &mut Dice) {
    if changes.is_empty() {
        return;
    }
    let mood = match dice.below(8) {
        0 => Mood::AllLost,
        1 => Mood::AllKept,
        2 => Mood::LengthOnly,
        _ => Mood::Mixed(1 + dice.below(7)),
    };
    let (lengths, cuts) = history(durable.len() as u64, changes);
    let cuts_kept = match mood {
        Mood::AllLost => 0,
        Mood::AllKept => cuts.len(),
        Mood::LengthOnly | Mood::Mixed(_) => dice.below(cuts.len() + 1),
    };
    let (kept, lost) = cuts.split_at(cuts_kept);
    let first_lost = lost.first().copied();

    // Changes are counted from 1 here. The cutoff of a sector is the last change that has reached it.
    let mut cutoffs = BTreeMap::new();
    for (sector, seen_by) in sectors(changes, first_lost) {
        let cut_here = |cut: &&usize| (sector + 1) * SECTOR > end_of(&changes[**cut]);
        let must = kept.iter().rev().find(cut_here).map_or(0, |cut| cut + 1);
        let may: Vec<usize> = seen_by.into_iter().filter(|index| *index > must).collect();
        let cutoff = match mood {
            Mood::AllLost | Mood::LengthOnly => must,
            Mood::AllKept => usize::MAX,
            Mood::Mixed(parts) if dice.below(8) < parts => usize::MAX,
            Mood::Mixed(_) if may.is_empty() => must,
            Mood::Mixed(_) => dice.pick(&[&[must], &may[..]].concat()),
        };
        cutoffs.insert(sector, cutoff);
    }

    // The length is one that the file had between the last truncation that survived and the first one that did not.
    let from = kept.last().map_or(0, |cut| cut + 1);
    let to = first_lost.unwrap_or(changes.len());
    let lengths = &lengths[from..=to];
    let len = match mood {
        Mood::AllLost => lengths[0],
        Mood::AllKept | Mood::LengthOnly => lengths[lengths.len() - 1],
        Mood::Mixed(_) if dice.below(8) < 4 => lengths[lengths.len() - 1],
        Mood::Mixed(_) => dice.pick(lengths),
    };

    for (index, change) in changes.iter().enumerate() {
        let seen = |sector: u64| cutoffs.get(&sector).is_some_and(|cutoff| *cutoff > index);
        let lost_so_far = &lost[..lost.partition_point(|cut| *cut <= index)];
        match change {
            Change::Write { at, bytes } => {
                for (sector, start, end) in parts(*at, bytes.len() as u64) {
                    // This block belongs to the file only if the truncation before the write survived.
                    let beyond = |cut: &usize| sector * SECTOR >= block_end(end_of(&changes[*cut]));
                    if seen(sector) && !lost_so_far.iter().any(beyond) {
                        let part = bytes[(start - at) as usize..(end - at) as usize].into();
                        Change::Write { at: start, bytes: part }.apply(durable);
                    }
                }
            }
            Change::Length(cut) if !lost_so_far.is_empty() => {
                for (sector, start, end) in parts(*cut, block_end(*cut) - cut) {
                    if seen(sector) && start < durable.len() as u64 {
                        let end = end.min(durable.len() as u64);
                        durable[start as usize..end as usize].fill(0);
                    }
                }
            }
            Change::Length(cut) => durable.truncate(*cut as usize),
        }
    }
    durable.resize(len as usize, 0);
}

/// The length before the first change and after each, and which changes made the file shorter.
fn history(len: u64, changes: &[Change]) -> (Vec<u64>, Vec<usize>) {
    let mut lengths = vec![len];
    let mut cuts = Vec::new();
    for (index, change) in changes.iter().enumerate() {
        let before = lengths[index];
        let after = change.length_after(before);
        if after < before {
            cuts.push(index);
        }
        lengths.push(after);
    }
    (lengths, cuts)
}

/// Which changes (from 1) each sector has to decide about.
fn sectors(changes: &[Change], first_lost: Option<usize>) -> BTreeMap<u64, Vec<usize>> {
    let mut sectors: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    for (index, change) in changes.iter().enumerate() {
        let (at, len) = match change {
            Change::Write { at, bytes } => (*at, bytes.len() as u64),
            Change::Length(cut) if first_lost.is_some_and(|lost| index >= lost) => {
                (*cut, block_end(*cut) - cut)
            }
            Change::Length(_) => continue,
        };
        for (sector, ..) in parts(at, len) {
            sectors.entry(sector).or_default().push(index + 1);
        }
    }
    sectors
}

/// `(sector, start, end)` of each piece of a range.
fn parts(at: u64, len: u64) -> impl Iterator<Item = (u64, u64, u64)> {
    let end = at + len;
    let sectors = at / SECTOR..end.div_ceil(SECTOR);
    sectors.map(move |sector| (sector, at.max(sector * SECTOR), end.min((sector + 1) * SECTOR)))
}

fn end_of(change: &Change) -> u64 {
    match change {
        Change::Length(len) => *len,
        Change::Write { at, bytes } => at + bytes.len() as u64,
    }
}

fn block_end(position: u64) -> u64 {
    position.next_multiple_of(BLOCK)
}

const SECTOR: u64 = 512;
const BLOCK: u64 = 4096;
