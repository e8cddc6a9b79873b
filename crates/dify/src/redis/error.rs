//! What went wrong with a Redis, by what an operator would do about it.

use ::redis::{ErrorKind, RedisError, ServerErrorKind};

/// Holds no password: the library's texts name none, and ours are made from addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("Redis at {at} refuses the password or user")]
    WrongPassword { at: String },
    #[error("Redis at {at} cannot be reached: {reason}")]
    Unreachable { at: String, reason: String },
    #[error("Redis at {at} did not answer {what} within {waited_ms} ms")]
    TimedOut { at: String, what: &'static str, waited_ms: u64 },
    #[error("Redis at {at} is still loading its data")]
    Loading { at: String },
    #[error("Redis at {at} is a replica and takes no writes")]
    ReadOnly { at: String },
    #[error("Redis at {at} is out of memory and takes no writes")]
    OutOfMemory { at: String },
    /// It cannot save to its disk and is told to stop writes then (`MISCONF`).
    #[error("Redis at {at} cannot save to disk and takes no writes")]
    CannotSave { at: String },
    #[error("the user at Redis {at} may not do this: {reason}")]
    NotPermitted { at: String, reason: String },
    #[error("no sentinel of {at} knows a master named {service}: {reason}")]
    NoMaster { at: String, service: String, reason: String },
    #[error("Redis at {at} answered with an error: {reason}")]
    Answered { at: String, reason: String },
}

impl Error {
    pub(super) fn of(error: &RedisError, at: &str, waited_ms: u64) -> Error {
        let at = at.to_owned();
        let reason = cut(&error.to_string());
        match error.kind() {
            ErrorKind::AuthenticationFailed => Error::WrongPassword { at },
            ErrorKind::Server(ServerErrorKind::BusyLoading) => Error::Loading { at },
            ErrorKind::Server(ServerErrorKind::ReadOnly) => Error::ReadOnly { at },
            ErrorKind::Server(ServerErrorKind::NoPerm) => Error::NotPermitted { at, reason },
            _ => match error.code() {
                Some("WRONGPASS" | "NOAUTH") => Error::WrongPassword { at },
                Some("OOM") => Error::OutOfMemory { at },
                Some("MISCONF") => Error::CannotSave { at },
                Some("NOPERM") => Error::NotPermitted { at, reason },
                Some(_) => Error::Answered { at, reason },
                None if error.is_timeout() => Error::TimedOut { at, what: "a command", waited_ms },
                None if error.is_io_error() || error.is_connection_dropped() => {
                    Error::Unreachable { at, reason }
                }
                None => Error::Answered { at, reason },
            },
        }
    }

    /// Whether the connection is of no more use.
    pub(super) fn ends_connection(&self) -> bool {
        matches!(
            self,
            Error::Unreachable { .. }
                | Error::TimedOut { .. }
                | Error::WrongPassword { .. }
                | Error::Loading { .. }
                // After a failover the same address may be a replica; the sentinels know the new one.
                | Error::ReadOnly { .. }
        )
    }

    /// What to do about it, in one line.
    pub fn remedy(&self) -> &'static str {
        match self {
            Error::WrongPassword { .. } => {
                "Give the user and password that Redis has: requirepass, or the ACL's user"
            }
            Error::Unreachable { .. } => {
                "See that Redis runs and that its host and port are reachable from here"
            }
            Error::TimedOut { .. } => {
                "Look at Redis' load and at firewalls between: a connection that is accepted and not answered"
            }
            Error::Loading { .. } => {
                "Wait: Redis reads its data after a start; look at its log when it lasts"
            }
            Error::ReadOnly { .. } => "Point Dify and Mainstay at the master, or through the sentinels",
            Error::OutOfMemory { .. } => {
                "Raise maxmemory or free memory; a broker must run with maxmemory-policy noeviction"
            }
            Error::CannotSave { .. } => {
                "Free the disk of Redis or repair its folder; see its log for the failed save"
            }
            Error::NotPermitted { .. } => "Allow the user of Redis the command and key that the reason names",
            Error::NoMaster { .. } => "Check the service's name at the sentinels: SENTINEL MASTERS",
            Error::Answered { .. } => "Look up the error in Redis' log",
        }
    }
}

/// An error's text may quote what the server sent; this much of it is enough.
fn cut(text: &str) -> String {
    const MAX_CHARS: usize = 300;
    text.chars().take(MAX_CHARS).map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}
