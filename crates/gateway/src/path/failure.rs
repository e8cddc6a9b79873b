//! Why a request has no answer of its own: a reason that decides its [`Kind`], and a message for operators.
//!
//! What the caller reads is written in [`super::compose`], never here.

use std::{any::Any, borrow::Cow};

use mainstay_base::Kind;
use mainstay_net::{Class, SendError};

#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) reason: Reason,
    /// For the record: names peers and causes, which the caller's answer does not.
    pub(crate) internal: Cow<'static, str>,
}

/// What the stages may refuse or fail with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    NoCredentials,
    WrongScheme,
    UnknownKey,
    NoSuchPath,
    WrongMethod,
    BadPath,
    BadHeader {
        name: &'static str,
        why: &'static str,
    },
    BodyTooLarge {
        limit_bytes: u64,
    },
    BodyTooSlow,
    BodyBroken,
    MalformedJson,
    NotJson,
    ModelMissing,
    ModelUnknown {
        model: String,
    },
    /// This gateway is full.
    Saturated,
    /// Nobody is configured to answer.
    NoCandidate,
    /// No candidate could be connected to.
    Unreachable,
    /// A candidate took the request and gave no answer in time.
    NoAnswerInTime,
    /// A candidate took the request and left without an answer.
    BrokenOff,
    Panicked,
}

impl Reason {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Reason::NoCredentials | Reason::WrongScheme | Reason::UnknownKey => Kind::Denied,
            Reason::NoSuchPath
            | Reason::WrongMethod
            | Reason::BadPath
            | Reason::BadHeader { .. }
            | Reason::BodyTooLarge { .. }
            | Reason::BodyTooSlow
            | Reason::BodyBroken
            | Reason::MalformedJson
            | Reason::NotJson
            | Reason::ModelMissing
            | Reason::ModelUnknown { .. } => Kind::Caller,
            Reason::Saturated | Reason::NoCandidate | Reason::Unreachable | Reason::NoAnswerInTime => {
                Kind::Unavailable
            }
            Reason::BrokenOff => Kind::Upstream,
            Reason::Panicked => Kind::Bug,
        }
    }
}

impl Failure {
    pub(crate) fn new(reason: Reason, internal: impl Into<Cow<'static, str>>) -> Failure {
        Failure { reason, internal: internal.into() }
    }

    pub(crate) fn kind(&self) -> Kind {
        self.reason.kind()
    }

    /// No answer came from `name`.
    pub(crate) fn send(name: &str, error: &SendError) -> Failure {
        let reason = match error.class() {
            Class::InvalidRequest | Class::AddressRefused | Class::Dns => Reason::Unreachable,
            Class::Connect | Class::ConnectTimeout | Class::Tls => Reason::Unreachable,
            Class::FirstByteTimeout | Class::TotalTimeout => Reason::NoAnswerInTime,
            Class::Closed => Reason::BrokenOff,
            Class::RequestBody => Reason::BodyBroken,
        };
        Failure::new(reason, format!("{name}: {error}"))
    }

    pub(crate) fn panicked(panic: &(dyn Any + Send)) -> Failure {
        let text = panic.downcast_ref::<&str>().copied();
        let text =
            text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
        Failure::new(Reason::Panicked, format!("panicked: {text}"))
    }
}
