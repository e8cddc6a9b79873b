//! Why a request has no answer of its own: a reason that decides its [`Kind`], and a message for operators.
//!
//! What the caller reads is written in [`super::compose`], never here.

use std::{any::Any, borrow::Cow, time::Duration};

use mainstay_base::{Class, Kind, verdict::Fault};
use mainstay_net::{Class as SendClass, SendError};

use super::headers::Account;

#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) reason: Reason,
    /// For the record: names peers and causes, which the caller's answer does not.
    pub(crate) internal: Cow<'static, str>,
    /// What a call of a model went through before it failed.
    pub(crate) account: Option<Box<Account>>,
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
    /// A form with files that two readers could read differently.
    MalformedForm {
        why: &'static str,
    },
    NotForm,
    /// A known field of the body, of the wrong type or there twice.
    BadField {
        name: &'static str,
        why: &'static str,
    },
    ModelMissing,
    ModelUnknown {
        model: String,
    },
    /// The model exists, and this virtual key may not use it.
    ModelNotAllowed {
        model: String,
    },
    /// The virtual key's own limit of requests or tokens a minute, or of calls at once.
    KeyLimited {
        limit: &'static str,
        retry_after: Duration,
    },
    /// The virtual key's budget of this window is spent.
    BudgetSpent {
        retry_after: Duration,
    },
    /// The virtual key's budget cannot be asked for, and the key is closed without it.
    BudgetUnreachable,
    /// No target of the model serves what the call demands; in words for the caller.
    NoTargetFits {
        why: String,
    },
    /// The call's ceiling is below what its first attempt may cost.
    CostCeiling,
    /// The call's deadline passed.
    DeadlineOver,
    /// What the last provider that was asked did wrong, or said.
    Provider(Box<FromProvider>),
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

/// An attempt's failure, as far as a caller may know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FromProvider {
    pub(crate) class: Class,
    /// The status that came back; `None` when none did.
    pub(crate) status: Option<u16>,
    /// The provider's words, masked and shortened; shown only where the class makes them the caller's business.
    pub(crate) message: Option<String>,
    /// The field of the request that is wrong and the word for what is, from a provider that speaks the caller's own
    /// dialect; shown for a caller's mistake.
    pub(crate) param: Option<String>,
    pub(crate) code: Option<String>,
    pub(crate) retry_after: Option<Duration>,
}

impl FromProvider {
    /// In no words but the class's.
    pub(crate) fn wordless(class: Class, retry_after: Option<Duration>) -> FromProvider {
        FromProvider { class, status: None, message: None, param: None, code: None, retry_after }
    }

    /// Nobody was asked, for there are no other words for the call. `why` begins with the field that is in the way, if one
    /// is.
    pub(crate) fn not_convertible(why: &str, message: String) -> FromProvider {
        let field = why.strip_prefix('`').and_then(|rest| rest.split_once('`')).map(|(field, _)| field);
        FromProvider {
            message: Some(message),
            param: field.map(str::to_owned),
            code: Some("not_convertible".to_owned()),
            ..FromProvider::wordless(Class::NotConvertible, None)
        }
    }
}

impl Reason {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Reason::NoCredentials
            | Reason::WrongScheme
            | Reason::UnknownKey
            | Reason::ModelNotAllowed { .. } => Kind::Denied,
            Reason::KeyLimited { .. } | Reason::BudgetSpent { .. } | Reason::CostCeiling => Kind::OverBudget,
            Reason::BudgetUnreachable | Reason::DeadlineOver => Kind::Unavailable,
            Reason::Provider(failed) => kind_of_class(failed.class),
            Reason::NoSuchPath
            | Reason::WrongMethod
            | Reason::BadPath
            | Reason::BadHeader { .. }
            | Reason::BodyTooLarge { .. }
            | Reason::BodyTooSlow
            | Reason::BodyBroken
            | Reason::MalformedJson
            | Reason::NotJson
            | Reason::MalformedForm { .. }
            | Reason::NotForm
            | Reason::BadField { .. }
            | Reason::NoTargetFits { .. }
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

/// Whose doing an attempt's failure is, as a caller sees it: a key of ours is our matter, not theirs.
pub(crate) fn kind_of_class(class: Class) -> Kind {
    match class.fault() {
        Fault::Caller => Kind::Caller,
        Fault::Key | Fault::Provider => Kind::Upstream,
        Fault::Network => Kind::Unavailable,
        Fault::Nobody => Kind::Bug,
    }
}

impl Failure {
    pub(crate) fn new(reason: Reason, internal: impl Into<Cow<'static, str>>) -> Failure {
        Failure { reason, internal: internal.into(), account: None }
    }

    /// With what the call went through, for the answer's headers.
    pub(crate) fn with_account(mut self, account: Account) -> Failure {
        self.account = Some(Box::new(account));
        self
    }

    pub(crate) fn kind(&self) -> Kind {
        self.reason.kind()
    }

    /// No answer came from `name`.
    pub(crate) fn send(name: &str, error: &SendError) -> Failure {
        let reason = match error.class() {
            SendClass::InvalidRequest | SendClass::AddressRefused | SendClass::Dns => Reason::Unreachable,
            SendClass::Connect | SendClass::ConnectTimeout | SendClass::Tls => Reason::Unreachable,
            SendClass::FirstByteTimeout | SendClass::TotalTimeout => Reason::NoAnswerInTime,
            SendClass::Closed => Reason::BrokenOff,
            SendClass::RequestBody => Reason::BodyBroken,
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
