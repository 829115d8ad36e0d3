//! Whom a controller asks for the metadata log, and when, while no leader speaks to it: one that is not among the voters, above all. What
//! the answers mean is `quorum`'s business.
//! It must never know how a question travels.

use ottla_model::config::BrokerConfig;
use ottla_protocol::ErrorCode;

use crate::observer::{Answered, Asked, Asking, Leader, Refused, To, WAIT_MS};
use crate::quorum::{Portions, Quorum};

pub(super) struct Following {
    asking: Asking,
    portions: Portions,
}

impl Following {
    pub fn of(config: &BrokerConfig) -> Following {
        let bytes = |bytes: i32| usize::try_from(bytes).unwrap_or(0).max(1);
        let (backoff_ms, timeout_ms) =
            (config.controller_quorum_retry_backoff_ms, config.controller_quorum_request_timeout_ms);
        Following {
            asking: Asking::new(backoff_ms.into(), timeout_ms.max(1).into()),
            portions: Portions {
                fetch_bytes: bytes(config.controller_quorum_fetch_max_bytes),
                snapshot_bytes: bytes(config.controller_quorum_fetch_snapshot_max_bytes),
            },
        }
    }

    /// The next question, when one is due. To be called after each step.
    pub fn ask(&mut self, now_ms: i64, quorum: &Quorum) -> Option<Asked> {
        if let Some(asked) = self.asking.given_up(now_ms) {
            self.asking.ask_somebody_else(now_ms, &asked.to);
        }
        if !quorum.is_unheard() {
            return None;
        }
        let to = self.asking.next(now_ms)?;
        let question = quorum.question(matches!(to, To::Leader(_)), self.portions);
        let asked = Asked { to, question };
        self.asking.ask(now_ms, asked.clone());
        Some(asked)
    }

    /// What came of a question. An answer that is late, or comes twice, is left aside.
    pub fn hear(&mut self, now_ms: i64, answered: Answered, quorum: &mut Quorum) -> Result<(), Refused> {
        let Some(since_ms) = self.asking.answered(&answered.asked) else { return Ok(()) };
        let to = answered.asked.to.clone();
        match heard(&mut self.asking, answered, quorum) {
            Ok(Next::AskAgain) => self.asking.went_well(now_ms),
            // A leader that has nothing new waits, so that this does not turn in circles.
            Ok(Next::AfterAPause) if now_ms - since_ms >= WAIT_MS => self.asking.went_well(now_ms),
            Ok(Next::AfterAPause) => self.asking.pause(now_ms),
            Ok(Next::AskSomebodyElse) => self.asking.ask_somebody_else(now_ms, &to),
            Err(refused) => {
                self.asking.ask_somebody_else(now_ms, &to);
                return Err(refused);
            }
        }
        Ok(())
    }
}

enum Next {
    AskAgain,
    AfterAPause,
    AskSomebodyElse,
}

// Kafka's rules for observers.
fn heard(asking: &mut Asking, answered: Answered, quorum: &mut Quorum) -> Result<Next, Refused> {
    let Answered { asked, answer } = answered;
    let Some(answer) = answer else { return Ok(Next::AskSomebodyElse) };
    // A leader speaks to this member again, or has spoken since.
    if !quorum.is_unheard() || !quorum.still_asks(&asked.question) {
        return Ok(Next::AfterAPause);
    }
    let (said, error) = (answer.leadership().clone(), answer.error());
    if let Some(code) = error.filter(|_| !said.epoch.is_some()) {
        return Err(Refused::Said(code));
    }
    if said.epoch < quorum.epoch() || error == Some(ErrorCode::UnknownLeaderEpoch) {
        return Ok(Next::AskSomebodyElse);
    }
    let Some(leader) = said.leader else { return Ok(Next::AskSomebodyElse) };
    if leader == quorum.me() {
        return Err(Refused::Namesake(leader));
    }
    let unfit = |why: crate::quorum::Refused| Refused::Unfit(why.to_string());
    let heard = match error {
        Some(ErrorCode::FencedLeaderEpoch | ErrorCode::NotLeaderOrFollower) => {
            quorum.hear_about_leader(leader, said.epoch)
        }
        _ => quorum.hear_of_leader(leader, said.epoch),
    };
    heard.map_err(unfit)?;
    asking.trust(Some(Leader { id: leader, endpoint: said.endpoint }));
    match (error, asked.to) {
        (Some(ErrorCode::FencedLeaderEpoch), _) | (Some(ErrorCode::NotLeaderOrFollower), To::Anybody(_)) => {
            Ok(Next::AskAgain)
        }
        (Some(ErrorCode::NotLeaderOrFollower), To::Leader(_)) => Ok(Next::AskSomebodyElse),
        // The leader has a newer one by now, and will say so.
        (Some(ErrorCode::SnapshotNotFound | ErrorCode::PositionOutOfRange), _) => {
            quorum.abandon_partial();
            Ok(Next::AfterAPause)
        }
        (Some(code), _) => Err(Refused::Said(code)),
        (None, _) => {
            let came = quorum.hear_answer(leader, said.epoch, answer).map_err(unfit)?;
            Ok(if came { Next::AskAgain } else { Next::AfterAPause })
        }
    }
}
