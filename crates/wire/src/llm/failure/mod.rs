//! What a provider says of a failure, in whatever dialect, as one [`Class`].
//!
//! Promises: a class is found from status, code and words together, by the table in [`rules`]; messages are short and
//! hold nothing that looks like a key; no body makes it panic. Refuses to know what is done about a failure.

mod body;
mod rules;
mod table;
mod wait;
mod words;

use std::time::Duration;

use body::Spoken;
use mainstay_base::{Class, snapshot::Dialect};

use crate::openai::may_hold_an_error;

/// A failure as the provider told it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    pub class: Class,
    /// The provider's words, for operators; shortened, and with keys masked.
    pub message: String,
    /// The provider's own word for it, as `rate_limit_exceeded`.
    pub code: Option<String>,
    pub blamed: Option<Box<Blamed>>,
    /// When the provider wants to be asked again.
    pub retry_after: Option<Duration>,
}

/// What OpenAI's error says in `param` and in `code`, as it stands there: which field of the request, and what is wrong
/// with it. Shortened, and with keys masked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blamed {
    pub param: Option<String>,
    pub code: Option<String>,
}

impl Told {
    /// In our own words.
    pub fn plain(class: Class, message: impl Into<String>) -> Told {
        Told { class, message: message.into(), code: None, blamed: None, retry_after: None }
    }
}

/// What an answer that is no success says. `now` is in Unix seconds, for providers that name a moment.
pub fn told<'h>(
    dialect: &Dialect,
    status: u16,
    header: impl Fn(&str) -> Option<&'h str>,
    body: &[u8],
    now: i64,
) -> Told {
    let mut spoken = Spoken::of(body);
    // Bedrock names the error in a header: `ThrottlingException:http://internal.amazon.com/…`.
    if let Some(kind) = header("x-amzn-errortype") {
        spoken.codes.insert(0, kind.split(':').next().unwrap_or(kind).to_owned());
    }
    let retry_after = wait::from_headers(&header, now).or_else(|| wait::from_words(&spoken));
    said(dialect, status, &spoken, retry_after)
}

/// The error inside an answer of status 200, or inside an event of a stream. A page for humans is one, too.
pub fn inside(dialect: &Dialect, body: &[u8]) -> Option<Told> {
    if body.trim_ascii_start().first() == Some(&b'<') {
        return Some(said(dialect, 200, &Spoken::of(body), None));
    }
    if !may_hold_an_error(body) {
        return None;
    }
    let spoken = Spoken::of(body);
    spoken.is_error.then(|| said(dialect, 200, &spoken, wait::from_words(&spoken)))
}

fn blamed(spoken: &Spoken) -> Option<Box<Blamed>> {
    let [param, code] =
        [&spoken.param, &spoken.param_code].map(|word| word.as_deref().map(words::shown_code));
    (param.is_some() || code.is_some()).then(|| Box::new(Blamed { param, code }))
}

fn said(dialect: &Dialect, status: u16, spoken: &Spoken, retry_after: Option<Duration>) -> Told {
    let message = match spoken.message.trim() {
        "" => format!("the provider answered {status} without a word"),
        text => words::shown(text),
    };
    Told {
        class: rules::class(dialect, status, spoken),
        message,
        code: spoken.code().map(words::shown_code),
        blamed: blamed(spoken),
        retry_after,
    }
}

#[cfg(test)]
mod tests;
