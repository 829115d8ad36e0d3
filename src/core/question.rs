//! Questions, and the types of their answers. All that a machine can be asked is one enum of commands, and all that it
//! replies is one enum of replies, so that both can wait in queues. A question is one of the commands, and knows which
//! of the replies is its answer: whoever asks a question never meets a reply that cannot come.

/// One kind of question to a machine.
pub trait Question: Sized {
    /// All that the machine can be asked.
    type Command;
    /// All that the machine replies.
    type Reply;
    type Answer;

    fn command(self) -> Self::Command;

    /// The answer in the reply to this question. Panics if it is a reply to another question, which a machine never
    /// gives.
    fn answer(reply: Self::Reply) -> Self::Answer;
}

/// Pairs questions with their answers. A row names the type of a question, how the question becomes a command, and the
/// kind of reply that has its answer.
macro_rules! questions {
    ($command:ident, $reply:ident: $($question:ident => $into:expr, $kind:ident($answer:ty);)+) => {$(
        impl $crate::question::Question for $question {
            type Command = $command;
            type Reply = $reply;
            type Answer = $answer;

            fn command(self) -> $command {
                let into: fn($question) -> $command = $into;
                into(self)
            }

            fn answer(reply: $reply) -> $answer {
                match reply {
                    $reply::$kind(answer) => answer,
                    other => panic!("a reply to something else than {}: {other:?}", stringify!($question)),
                }
            }
        }
    )+};
}

pub(crate) use questions;
