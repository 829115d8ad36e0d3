//! A producer id is handed out once, whatever happens in between (KIP-730).

use std::collections::BTreeSet;

use crate::verdict::{Verdict, Violation};
use ottla_protocol::ProducerId;

/// Every id that anybody was given.
#[derive(Debug, Default)]
pub(crate) struct ProducerIds(BTreeSet<ProducerId>);

impl ProducerIds {
    pub fn given(&mut self, id: ProducerId) -> Verdict {
        match self.0.insert(id) {
            true => Ok(()),
            false => Err(Violation::new(NAME, format!("producer id {id} was handed out twice"))),
        }
    }
}

const NAME: &str = "producer ids are handed out once";
