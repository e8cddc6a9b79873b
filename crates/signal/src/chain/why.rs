//! Why a target is passed over or stands back, for `--explain`.

use std::fmt;

use mainstay_base::Micros;
use serde::{Deserialize, Serialize};

/// What is said of a target that takes a call of the Responses API in other words.
pub const CONVERTED: &str = "calls of /v1/responses are converted for it";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "why")]
pub enum Why {
    /// Only calls of other virtual keys go there.
    OtherKeys,
    /// The call's input is shorter than this target is for.
    InputTooShort {
        at_least: u64,
    },
    /// Longer than it is for.
    InputTooLong {
        at_most: u64,
    },
    /// It does not name the demanded region.
    OtherRegion {
        has: Option<String>,
    },
    /// It may not see data of this class.
    DataClass {
        may_see: Vec<String>,
    },
    /// Input and output do not fit into its context.
    ContextTooShort {
        context_tokens: u64,
    },
    /// It cannot give so long an answer.
    OutputTooShort {
        max_output_tokens: u64,
    },
    NoTools,
    NoVision,
    NoStructuredOutput,
    /// Embeddings stay with the chain's first fitting model.
    OtherModel,
    /// It does not speak the Responses API, and the call cannot be converted.
    NoResponses,
    BreakerOpen {
        until: Micros,
    },
    Drained,
    KeysRest {
        until: Micros,
    },
    Ejected,
    RateLimited {
        wait_ms: u64,
    },
    Busy,
    FailedOver {
        from: String,
    },
    /// Its breaker is open, and nobody else is left.
    LastResort,
    /// Nobody gives so long an answer: what it is asked for is cut to what it can.
    AnswerCut {
        max_output_tokens: u64,
    },
}

impl fmt::Display for Why {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::OtherKeys => write!(formatter, "it is for other virtual keys"),
            Why::InputTooShort { at_least } => {
                write!(formatter, "it is for inputs of at least {at_least} tokens")
            }
            Why::InputTooLong { at_most } => {
                write!(formatter, "it is for inputs of at most {at_most} tokens")
            }
            Why::OtherRegion { has: Some(has) } => {
                write!(formatter, "it is in region {has}, and the call demands another")
            }
            Why::OtherRegion { has: None } => {
                write!(formatter, "it names no region, and the call demands one")
            }
            Why::DataClass { may_see } => {
                write!(formatter, "it may see data of class {} only", may_see.join(", "))
            }
            Why::ContextTooShort { context_tokens } => {
                write!(formatter, "its context of {context_tokens} tokens is too short")
            }
            Why::OutputTooShort { max_output_tokens } => {
                write!(formatter, "it answers with at most {max_output_tokens} tokens")
            }
            Why::NoTools => write!(formatter, "it has no tools"),
            Why::NoVision => write!(formatter, "it sees no images"),
            Why::NoStructuredOutput => write!(formatter, "it gives no structured output"),
            Why::OtherModel => write!(formatter, "embeddings stay with one model, and this is another"),
            Why::NoResponses => {
                write!(formatter, "it does not speak the Responses API, and this call cannot be converted")
            }
            Why::BreakerOpen { until } => {
                write!(formatter, "its breaker is open; the next probe is at {}", until.0)
            }
            Why::Drained => write!(formatter, "its provider is drained"),
            Why::KeysRest { until } => write!(formatter, "all its keys rest until {}", until.0),
            Why::Ejected => write!(formatter, "it fails more than the others and is ejected for a while"),
            Why::RateLimited { wait_ms } => {
                write!(formatter, "its grant for this minute is used up; more in {wait_ms} ms")
            }
            Why::Busy => write!(formatter, "all its places are taken"),
            Why::FailedOver { from } => write!(formatter, "failed over by hand from {from}"),
            Why::LastResort => write!(formatter, "its breaker is open, but nobody else is left"),
            Why::AnswerCut { max_output_tokens } => {
                write!(formatter, "the answer is cut to the {max_output_tokens} tokens that it gives at most")
            }
        }
    }
}
