//! A partition has one whole log: after any start there is one folder with the live name, and it is the one that is open.
//! Copies end some day.

use std::path::PathBuf;

use crate::node::Node;
use crate::verdict::{Verdict, Violation};

/// After a start in which no operation on the disk has failed.
pub(crate) fn check(node: &Node) -> Verdict {
    let live = node.live_folders();
    for partition in node.partitions.values() {
        let Some(log) = partition.log() else { continue };
        let mine: Vec<&PathBuf> =
            live.iter().filter(|(id, _)| *id == partition.id).map(|(_, folder)| folder).collect();
        if mine != [log.dir()] {
            return Err(Violation::new(NAME, format!("{} has {mine:?}", partition.id)));
        }
    }
    Ok(())
}

/// When nothing has failed for a while, and nothing more is to be moved.
pub(crate) fn no_copies(node: &Node) -> Verdict {
    let copies = node.copies();
    if copies.is_empty() {
        return Ok(());
    }
    Err(Violation::new(NAME, format!("nothing is moved any more, and there is {copies:?}")))
}

const NAME: &str = "one whole log after every move";
