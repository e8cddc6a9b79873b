//! A provider's stream on its way to a caller of the model path: read in the provider's dialect, proved before
//! anything is committed, told truthfully to its end.
//!
//! [`Reading`] turns a body into [`Piece`]s in the caller's OpenAI shape; [`prove()`] holds the first of them until the
//! stream is worth committing to; [`Relay`] gives the rest to the caller and says how it ended. Promises: what a
//! caller gets are whole events in order, nothing twice and nothing missing before a cut; `[DONE]` only after the
//! provider's proper end; at most one read is held. Refuses to know who is asked next, budgets and records.

use bytes::Bytes;
use mainstay_base::Class;
use mainstay_net::BodyError;
use mainstay_wire::llm::{Finish, Usage, failure::Told};

mod committed;
mod convert;
mod ending;
mod prove;
mod reading;
mod relay;
mod same;
mod skim;
#[cfg(test)]
mod tests;
mod whole;

pub(crate) use committed::{Committed, ContinueWith, Said, Streaming};
pub(crate) use ending::{fell_behind, glance, tells_of_a_cut, tells_of_the_end};
pub(crate) use prove::{Proved, Unproved, Waits, prove};
pub(crate) use reading::{Reading, Wanted};
pub(crate) use relay::{Relay, Step, Tally, Terms};

/// What kind of events the caller reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Form {
    /// `/v1/chat/completions`
    Chat,
    /// `/v1/completions`
    Completion,
    /// Typed events: `/v1/responses`, speech, transcriptions, images.
    Typed,
}

/// Whole events that go to the caller together, and what they say.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Piece {
    /// As the caller gets them: LF line ends, one blank line after each. Empty when all of them were for us alone.
    pub(crate) bytes: Bytes,
    pub(crate) facts: Facts,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Facts {
    pub(crate) events: u32,
    /// Characters of text, reasoning, refusal and arguments.
    pub(crate) chars: u64,
    /// What they weigh in quarters of a token, by the rule of [`crate::path::normalize::model::tokens`].
    pub(crate) quarters: u64,
    /// Text, reasoning, a refusal or a tool call began: the provider does its work.
    pub(crate) has_content: bool,
    /// Something that is not plain text (a tool call, a refusal, reasoning) is in it.
    pub(crate) has_more_than_text: bool,
    /// The text of choice 0, when the reading was told to keep it.
    pub(crate) said: String,
    pub(crate) usage: Option<Usage>,
    /// The usage stands in `bytes`.
    pub(crate) shows_usage: bool,
    /// What was said after any usage that was told before: it counts too little.
    pub(crate) outdates_usage: bool,
    pub(crate) finish: Option<Finish>,
    /// The provider said that there is no more.
    pub(crate) is_done: bool,
}

impl Facts {
    /// The provider tells what was used up to here.
    pub(super) fn tell(&mut self, usage: Usage, is_shown: bool) {
        self.usage = Some(usage);
        self.shows_usage = is_shown;
        self.outdates_usage = false;
    }

    /// More was said, and no usage with it.
    pub(super) fn outdate(&mut self) {
        self.shows_usage = false;
        self.outdates_usage = true;
    }
}

/// Why a stream is no more what it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Broken {
    pub(crate) class: Class,
    /// The provider's own words, when it had any.
    pub(crate) told: Option<Told>,
    /// For operators.
    pub(crate) internal: String,
}

impl Broken {
    pub(crate) fn new(class: Class, internal: impl Into<String>) -> Broken {
        Broken { class, told: None, internal: internal.into() }
    }

    /// An error that the provider sent as an event, or instead of a stream.
    pub(crate) fn inside(told: Told) -> Broken {
        let internal = format!("the provider failed in band: {}", told.message);
        Broken { class: told.class, told: Some(told), internal }
    }

    pub(crate) fn by(error: &BodyError) -> Broken {
        let class = match error {
            BodyError::Idle(_) => Class::Stall,
            BodyError::Total(_) => Class::TotalTimeout,
            BodyError::Closed(_) | BodyError::Other(_) => Class::Cut,
        };
        Broken::new(class, error.to_string())
    }
}
