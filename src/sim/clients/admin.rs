//! An admin who creates topics and now and then deletes one, one request at a time.

use std::collections::BTreeMap;

use ottla_core::controller::{NotController, Reply};
use ottla_model::TopicId;

use super::around::{Around, Request, client_topics};
use crate::node::Answer;
use crate::plan::{TOPIC_NAMES, compact};

/// One admin.
#[derive(Default)]
pub(crate) struct Admin {
    deletes: bool,
    /// Some topics are to be compacted.
    compacts: bool,
    under_way: BTreeMap<u64, i64>,
}

impl Admin {
    pub fn new(deletes: bool, compacts: bool) -> Admin {
        Admin { deletes, compacts, under_way: BTreeMap::new() }
    }

    pub fn wake(&mut self, around: &mut Around<'_>) -> i64 {
        self.under_way.retain(|_, at_ms| *at_ms + PATIENCE_MS > around.now_ms);
        let Some(node) = around.node else { return 50 };
        if !self.under_way.is_empty() || around.finishing {
            return 50;
        }
        let topics: Vec<TopicId> = client_topics(node).map(|topic| topic.id).collect();
        let some = topics.len() as u64;
        let request = if self.deletes && some > 0 && around.dice.percent(20) {
            let id = *around.dice.pick(&topics);
            around.judge.metadata.deleting(id);
            Request::DeleteTopic(id)
        } else if some < TOPIC_NAMES {
            let mut topic = around.plan.draw_topic(around.dice);
            if self.compacts && around.dice.percent(70) {
                compact(&mut topic, around.dice);
            }
            Request::CreateTopic(topic)
        } else {
            return around.dice.between(100, 1_000);
        };
        let request = around.send(request);
        self.under_way.insert(request, around.now_ms);
        around.dice.between(20, 600)
    }

    pub fn hear(&mut self, request: u64, _answer: &Answer) {
        self.under_way.remove(&request);
    }
}

/// What a reply of the controller confirms, whoever asked.
pub(crate) fn confirmed(reply: &Result<Reply, NotController>) -> (Vec<(TopicId, String)>, Vec<TopicId>) {
    let (mut created, mut deleted) = (Vec::new(), Vec::new());
    match reply {
        Ok(Reply::TopicsCreated(outcomes)) => {
            let done = outcomes.iter().filter_map(|(name, o)| Some((o.as_ref().ok()?.id, name.to_string())));
            created.extend(done);
        }
        Ok(Reply::TopicsDeleted(outcomes)) => {
            deleted.extend(outcomes.iter().filter(|(_, o)| o.is_ok()).map(|(id, _)| *id));
        }
        _ => {}
    }
    (created, deleted)
}

/// Then the reply is not waited for any more.
const PATIENCE_MS: i64 = 1_000;
