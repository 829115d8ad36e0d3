//! What the thread does first, and who waits for whom.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use ottla_model::NodeId;
use ottla_node::quorum::{Body, ReplicaKey};

use super::*;

impl Controller {
    /// One whose thread answers so.
    pub(crate) fn answered_by(
        mut answer: impl FnMut(Command) -> Result<Reply, NotController> + Send + 'static,
    ) -> Controller {
        let (commands, inbox) = channel();
        // It ends with the last of those who may ask.
        std::thread::spawn(move || {
            for message in inbox {
                if let Message::Ask(command, token) = message {
                    token.answer(answer(command));
                }
            }
        });
        let (_, leading) = watch::channel(Leading { here: true, ..Leading::nobody() });
        let (uplink, agreed, missed) = Default::default();
        Controller { here: Some(Commands(commands)), uplink, leading, carried_out: false, agreed, missed }
    }
}

fn said() -> Said {
    let (from, to) = (ReplicaKey::of(NodeId(2)), ReplicaKey::of(NodeId(1)));
    Said { cluster_id: "one".into(), from, to, voters_index: 0, term: 1, body: Body::TimeoutNow }
}

#[test]
fn a_tick_that_is_due_comes_before_messages_that_wait() {
    let (sender, inbox) = channel();
    (0..1_000).for_each(|n| sender.send(n).expect("somebody listens"));
    let now = Instant::now();
    let later = now + Duration::from_secs(60);
    assert_eq!(next(&inbox, later, now), Ok(0));
    assert_eq!(next(&inbox, now, now), Err(RecvTimeoutError::Timeout));
    assert_eq!(next(&inbox, now, later), Err(RecvTimeoutError::Timeout), "also one that is late");
    assert_eq!(next(&inbox, later, now), Ok(1));
    drop(sender);
    assert_eq!(inbox.iter().count(), 998);
    assert_eq!(next(&inbox, later, now), Err(RecvTimeoutError::Disconnected));
}

// The response comes when the message was heard, and a connection starts no request before the one before is queued: so no
// more than one message of a connection waits here.
#[test]
fn whoever_says_something_waits_until_it_was_heard() {
    let (sender, inbox) = channel();
    let commands = Commands(sender);
    let mut context = Context::from_waker(Waker::noop());
    let mut first = pin!(commands.hear(said()));
    assert_eq!(first.as_mut().poll(&mut context), Poll::Pending);
    let Ok(Message::Hear(heard, waits)) = inbox.try_recv() else { panic!("nothing was said") };
    assert_eq!(*heard, said());
    assert_eq!(first.as_mut().poll(&mut context), Poll::Pending);
    waits.send(()).expect("somebody waits");
    assert_eq!(first.as_mut().poll(&mut context), Poll::Ready(Ok(())));
    let mut second = pin!(commands.hear(said()));
    assert_eq!(second.as_mut().poll(&mut context), Poll::Pending);
    drop(inbox);
    assert_eq!(second.as_mut().poll(&mut context), Poll::Ready(Err(NotController)), "the thread has ended");
}
