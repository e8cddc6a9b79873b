//! What a command says when it cannot do its work: the thing, the cause, the next step, and an exit code.

use std::{fmt, process::ExitCode};

/// The exit codes that scripts may rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It worked, and what was asked about is fine.
    Good = 0,
    /// It worked, and found a problem.
    Problem = 1,
    /// The command line or the configuration is wrong.
    Usage = 2,
    /// What the command needs cannot be reached.
    Unreachable = 3,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// A failed command.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    thing: String,
    cause: String,
    next: String,
}

impl Failure {
    pub(crate) fn problem(
        thing: impl Into<String>,
        cause: impl fmt::Display,
        next: impl Into<String>,
    ) -> Failure {
        Failure::new(Exit::Problem, thing, cause, next)
    }

    pub(crate) fn usage(
        thing: impl Into<String>,
        cause: impl fmt::Display,
        next: impl Into<String>,
    ) -> Failure {
        Failure::new(Exit::Usage, thing, cause, next)
    }

    pub(crate) fn unreachable(
        thing: impl Into<String>,
        cause: impl fmt::Display,
        next: impl Into<String>,
    ) -> Failure {
        Failure::new(Exit::Unreachable, thing, cause, next)
    }

    /// Another way out, where there is one at all.
    pub(crate) fn or(mut self, next: &str) -> Failure {
        if !self.next.is_empty() {
            self.next.push_str(next);
        }
        self
    }

    fn new(
        exit: Exit,
        thing: impl Into<String>,
        cause: impl fmt::Display,
        next: impl Into<String>,
    ) -> Failure {
        Failure { exit, thing: thing.into(), cause: cause.to_string(), next: next.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Failure { exit: _, thing, cause, next } = self;
        write!(formatter, "mainstay: {thing}\n  cause: {cause}")?;
        if !next.is_empty() {
            write!(formatter, "\n  next:  {next}")?;
        }
        Ok(())
    }
}

/// An error and what caused it, in one line: each `Display` says only its own part.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_thing_cause_and_next_step() {
        let failure = Failure::unreachable("cannot reach the admin API", "connection refused", "start it");
        assert_eq!(
            failure.to_string(),
            "mainstay: cannot reach the admin API\n  cause: connection refused\n  next:  start it"
        );
        assert_eq!(failure.exit as u8, 3);
    }
}
