//! Trying again what may succeed later, until a deadline. It must never know what is being tried.

use crate::Result;
use std::time::Duration;
use tokio::time::Instant;

const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Runs `attempt` until it succeeds, fails for good, or the next pause would pass the deadline; the last
/// failure is returned.
pub(crate) async fn until<T, F>(deadline: Instant, mut attempt: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let mut pause = PAUSE_MIN;
    loop {
        match attempt().await {
            Err(error) if error.is_retriable() && Instant::now() + pause < deadline => {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ClientError;
    use ottla_protocol::ErrorCode;
    use std::cell::Cell;

    /// `codes` are what the attempts answer in turn, `None` for success.
    async fn check(
        story: &str,
        deadline: Duration,
        codes: &[Option<ErrorCode>],
        attempts: usize,
        succeeds: bool,
    ) {
        let made = Cell::new(0);
        let result = until(Instant::now() + deadline, || async {
            made.set(made.get() + 1);
            match codes[made.get() - 1] {
                None => Ok(()),
                Some(code) => Err(ClientError::broker("a test", code, None)),
            }
        })
        .await;
        assert_eq!((made.get(), result.is_ok()), (attempts, succeeds), "{story}: {result:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn repeats_what_is_retriable_until_the_deadline() {
        use ErrorCode::{InvalidTopicException as Fatal, NotLeaderOrFollower as Later};
        let minute = Duration::from_secs(60);
        check("at once", minute, &[None], 1, true).await;
        check("later", minute, &[Some(Later), Some(Later), None], 3, true).await;
        check("for good", minute, &[Some(Later), Some(Fatal)], 2, false).await;
        check("no time", Duration::ZERO, &[Some(Later)], 1, false).await;
        check("50 + 100 ms fit, 200 more do not", Duration::from_millis(300), &[Some(Later); 3], 3, false)
            .await;
    }
}
