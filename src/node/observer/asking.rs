//! Whom an observer asks, and when: the leader, or, while that is not known or does not answer, one node after the other. One
//! question at a time.
//! It must never know what an answer says of the log.

use ottla_model::NodeId;

use crate::quorum::Question;

/// Who leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leader {
    pub id: NodeId,
    /// Host and port, where an answer said so.
    pub endpoint: Option<(String, u16)>,
}

/// To whom a question goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum To {
    Leader(Leader),
    /// The next one in turn of those that are configured (`controller.quorum.bootstrap.servers` or `.voters`): this number,
    /// modulo how many there are.
    Anybody(usize),
}

/// A question that is under way. Its answer comes back with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub to: To,
    pub question: Question,
}

#[derive(Debug)]
pub(crate) struct Asking {
    pub leader: Option<Leader>,
    /// The leader has not answered, or not well: somebody else is asked who leads.
    doubted: bool,
    turn: usize,
    /// In a row.
    failures: u32,
    asked: Option<(Asked, i64)>,
    not_before_ms: i64,
    retry_backoff_ms: i64,
    request_timeout_ms: i64,
}

impl Asking {
    pub fn new(retry_backoff_ms: i64, request_timeout_ms: i64) -> Asking {
        let (leader, doubted, turn, failures, asked, not_before_ms) = Default::default();
        Asking { leader, doubted, turn, failures, asked, not_before_ms, retry_backoff_ms, request_timeout_ms }
    }

    /// Whom to ask now. `None`: an answer is waited for, or a pause is not over.
    pub fn next(&self, now_ms: i64) -> Option<To> {
        if self.asked.is_some() || now_ms < self.not_before_ms {
            return None;
        }
        let leader = self.leader.clone().filter(|_| !self.doubted);
        Some(leader.map_or(To::Anybody(self.turn), To::Leader))
    }

    pub fn ask(&mut self, now_ms: i64, asked: Asked) {
        self.asked = Some((asked, now_ms));
    }

    /// The answer to this question has come: since when it was waited for. `None`: it is not the one that is waited for, or
    /// was answered before.
    pub fn answered(&mut self, asked: &Asked) -> Option<i64> {
        self.asked.take_if(|(waits, _)| waits == asked).map(|(_, since_ms)| since_ms)
    }

    /// The question that has waited for too long.
    pub fn given_up(&mut self, now_ms: i64) -> Option<Asked> {
        let limit_ms = self.request_timeout_ms;
        self.asked.take_if(|(_, since_ms)| now_ms - *since_ms >= limit_ms).map(|(asked, _)| asked)
    }

    /// When there is something to do without an answer.
    pub fn wakes_ms(&self) -> i64 {
        self.asked.as_ref().map_or(self.not_before_ms, |(_, since_ms)| since_ms + self.request_timeout_ms)
    }

    pub fn went_well(&mut self, now_ms: i64) {
        (self.failures, self.not_before_ms) = (0, now_ms);
    }

    /// Nothing came of it: the same again after a pause.
    pub fn pause(&mut self, now_ms: i64) {
        self.pause_up_to(now_ms, PAUSE_MS_MAX);
    }

    fn pause_up_to(&mut self, now_ms: i64, most_ms: i64) {
        let pause_ms = self.retry_backoff_ms.max(1) << self.failures.min(PAUSE_DOUBLINGS_MAX);
        self.failures += 1;
        self.not_before_ms = now_ms + pause_ms.min(most_ms);
    }

    /// Nothing came of it: somebody else is asked after a pause.
    pub fn ask_somebody_else(&mut self, now_ms: i64, asked: &To) {
        match asked {
            To::Leader(_) => self.doubted = true,
            To::Anybody(_) => self.turn = self.turn.wrapping_add(1),
        }
        self.pause_up_to(now_ms, ELSEWHERE_MS_MAX);
    }

    /// Somebody has said who leads.
    pub fn trust(&mut self, leader: Option<Leader>) {
        (self.leader, self.doubted) = (leader, false);
    }
}

const PAUSE_MS_MAX: i64 = 1_000;
/// All nodes of a quorum are to be asked well within a session (9 s): some may be down, and the broker of an observer is not heard of
/// before a leader is found.
const ELSEWHERE_MS_MAX: i64 = 250;
const PAUSE_DOUBLINGS_MAX: u32 = 8;
