//! What a word of state means to an operator's eye. The one table from words to shapes and colours.

/// How a state is shown: each has its own shape, so that colour is never alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    Ok,
    Warn,
    Bad,
    Busy,
    Idle,
}

impl Tone {
    /// The class in the style sheet.
    pub(crate) fn class(self) -> &'static str {
        match self {
            Tone::Ok => "ok",
            Tone::Warn => "warn",
            Tone::Bad => "bad",
            Tone::Busy => "busy",
            Tone::Idle => "idle",
        }
    }
}

/// The tone of a state's word. A word that is not known is shown plainly, never as good.
pub(crate) fn of(word: &str) -> Tone {
    match word {
        "ok" | "succeeded" | "delivered" | "resolved" | "passed" | "verified" | "healthy" | "live"
        | "closed" | "in use" => Tone::Ok,
        "degraded" | "warning" | "partial-succeeded" | "exception" | "acknowledged" | "paged" | "retry"
        | "caller_gone" | "refused" | "frozen" | "drained" | "unknown" | "unconsumed" | "half_open"
        | "resting" | "at_risk" | "blind" => Tone::Warn,
        "down" | "failed" | "dead" | "firing" | "critical" | "cut" | "late" | "open" | "silent"
        | "failing" | "exhausted" => Tone::Bad,
        "running" | "leased" | "requested" | "acting" | "verifying" | "holding" | "undoing" | "watching" => {
            Tone::Busy
        }
        _ => Tone::Idle,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_is_not_known_is_never_shown_as_good() {
        assert_eq!(of("something new"), Tone::Idle);
        assert_eq!(of(""), Tone::Idle);
    }
}
