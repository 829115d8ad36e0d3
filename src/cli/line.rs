//! An error as the line that a person reads. It must never know whose error it is.

/// The error and what caused it, each once. Errors of ours end with their cause and name it as their source too; those
/// of others do one or the other.
pub fn line_of(error: &anyhow::Error) -> String {
    let mut line = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !line.ends_with(&cause) {
            line.push_str(": ");
            line.push_str(&cause);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;
    use std::fmt;
    use std::io::{Error, ErrorKind};

    /// What it says, and what caused it.
    #[derive(Debug)]
    struct Sample(&'static str, Error);

    impl fmt::Display for Sample {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl std::error::Error for Sample {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            Some(&self.1)
        }
    }

    #[test]
    fn a_cause_is_told_once() {
        let in_use = || Error::new(ErrorKind::AddrInUse, "in use");
        let check = |error: anyhow::Error, expected: &str| assert_eq!(line_of(&error), expected);
        check(Sample("cannot listen on 9092: in use", in_use()).into(), "cannot listen on 9092: in use");
        check(Sample("cannot listen", in_use()).into(), "cannot listen: in use");
        let outer = Err::<(), _>(Sample("cannot listen: in use", in_use())).context("start");
        check(outer.expect_err("it failed"), "start: cannot listen: in use");
        check(Err::<(), _>(in_use()).context("a").context("b").expect_err("it failed"), "b: a: in use");
        check(anyhow::anyhow!("alone"), "alone");
    }
}
