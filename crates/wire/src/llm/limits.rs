//! What a provider's answer says of its rate limits, in its headers.
//!
//! Promises: every field stands alone, and one that cannot be read is as one that is not there. A window is not always
//! a minute (Groq counts requests by the day), so `limit` is good for showing, `left` and `reset` for judging.

use std::time::Duration;

use mainstay_base::snapshot::Dialect;

/// What was told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Learned {
    pub requests: Quota,
    /// Input and output together.
    pub tokens: Quota,
    /// Of providers that count the two apart.
    pub input_tokens: Quota,
    pub output_tokens: Quota,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    pub limit: Option<u64>,
    pub left: Option<u64>,
    /// From now until it is full again.
    pub reset: Option<Duration>,
}

/// A longer wait is no rate limit but a mistake of ours or theirs.
const MAX_RESET: Duration = Duration::from_secs(31 * 24 * 3600);

/// The names of a quota's limit, rest and reset.
type Names = [&'static str; 3];

const ANTHROPIC_REQUESTS: Names = [
    "anthropic-ratelimit-requests-limit",
    "anthropic-ratelimit-requests-remaining",
    "anthropic-ratelimit-requests-reset",
];
const ANTHROPIC_TOKENS: Names = [
    "anthropic-ratelimit-tokens-limit",
    "anthropic-ratelimit-tokens-remaining",
    "anthropic-ratelimit-tokens-reset",
];
const ANTHROPIC_INPUT_TOKENS: Names = [
    "anthropic-ratelimit-input-tokens-limit",
    "anthropic-ratelimit-input-tokens-remaining",
    "anthropic-ratelimit-input-tokens-reset",
];
const ANTHROPIC_OUTPUT_TOKENS: Names = [
    "anthropic-ratelimit-output-tokens-limit",
    "anthropic-ratelimit-output-tokens-remaining",
    "anthropic-ratelimit-output-tokens-reset",
];
const REQUESTS: [Names; 4] = [
    ["x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"],
    [
        "x-ratelimit-limit-requests-minute",
        "x-ratelimit-remaining-requests-minute",
        "x-ratelimit-reset-requests-minute",
    ],
    ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"],
    ["ratelimit-limit", "ratelimit-remaining", "ratelimit-reset"],
];
const TOKENS: [Names; 2] = [
    ["x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"],
    [
        "x-ratelimit-limit-tokens-minute",
        "x-ratelimit-remaining-tokens-minute",
        "x-ratelimit-reset-tokens-minute",
    ],
];

/// `header` gives a header by its lower-case name, `now` is in Unix seconds.
pub fn learned<'h>(dialect: &Dialect, header: impl Fn(&str) -> Option<&'h str>, now: i64) -> Learned {
    let quota = |[limit, left, reset]: Names| Quota {
        limit: header(limit).and_then(count),
        left: header(left).and_then(count),
        reset: header(reset).and_then(|text| until(text, now)),
    };
    let first = |all: &[Names]| {
        let told = all.iter().map(|names| quota(*names)).find(|told| *told != Quota::default());
        told.unwrap_or_default()
    };
    match dialect {
        Dialect::Anthropic => Learned {
            requests: quota(ANTHROPIC_REQUESTS),
            tokens: quota(ANTHROPIC_TOKENS),
            input_tokens: quota(ANTHROPIC_INPUT_TOKENS),
            output_tokens: quota(ANTHROPIC_OUTPUT_TOKENS),
        },
        // Gemini and Bedrock tell nothing in headers; a gateway between us and them may.
        _ => Learned {
            requests: match first(&REQUESTS) {
                told if told == Quota::default() => draft(header("ratelimit-policy"), header("ratelimit")),
                told => told,
            },
            tokens: first(&TOKENS),
            ..Learned::default()
        },
    }
}

/// Some write `1000.0`, some `100, 100;w=60`.
fn count(text: &str) -> Option<u64> {
    let number = text.split([',', ';']).next()?.trim();
    number.parse().ok().or_else(|| {
        let number: f64 = number.parse().ok()?;
        (0.0..=9e15).contains(&number).then_some(number as u64)
    })
}

/// `RateLimit: "default";r=50;t=30` and `RateLimit-Policy: "default";q=100;w=60`, the later draft; also the one between,
/// `RateLimit: limit=100, remaining=50, reset=30`.
fn draft(policy: Option<&str>, limit: Option<&str>) -> Quota {
    let field = |text: Option<&str>, names: [&str; 2]| {
        text?.split([';', ',']).find_map(|part| {
            let (name, value) = part.split_once('=')?;
            names.contains(&name.trim()).then(|| count(value)).flatten()
        })
    };
    Quota {
        limit: field(policy, ["q", "limit"]).or_else(|| field(limit, ["q", "limit"])),
        left: field(limit, ["r", "remaining"]),
        reset: field(limit, ["t", "reset"]).map(Duration::from_secs).filter(|wait| *wait <= MAX_RESET),
    }
}

/// A wait (`6m0s`, `20ms`, `59.9`), or a moment: RFC 3339, or Unix time in seconds or milliseconds.
fn until(text: &str, now: i64) -> Option<Duration> {
    let text = text.trim();
    let wait = duration(text).or_else(|| moment(text, now))?;
    (wait <= MAX_RESET).then_some(wait)
}

/// As Go writes it: numbers with units, largest first; a number alone is seconds.
fn duration(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok().filter(|wait| *wait <= MAX_RESET);
    }
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
        let (number, after) = rest.split_at(digits);
        let letters = after.find(|letter: char| letter.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let seconds = match unit {
            "d" => 86_400.0,
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        let part = Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()?;
        total = total.checked_add(part)?;
        rest = after;
    }
    (!text.is_empty()).then_some(total)
}

/// A moment that has passed is no wait.
fn moment(text: &str, now: i64) -> Option<Duration> {
    let now = jiff::Timestamp::from_second(now).ok()?;
    let at = match text.parse::<f64>() {
        // OpenRouter says milliseconds, others seconds; no rate limit ends in the year 5000.
        Ok(number) if number.abs() >= 1e11 => jiff::Timestamp::from_millisecond(number as i64).ok()?,
        Ok(number) => jiff::Timestamp::from_second(number as i64).ok()?,
        Err(_) => text.parse().ok()?,
    };
    Some(Duration::try_from(at.duration_since(now)).unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// 2026-01-01T00:00:00Z.
    const NOW: i64 = 1_767_225_600;

    fn read(dialect: &Dialect, headers: &[(&'static str, &'static str)]) -> Learned {
        learned(
            dialect,
            |name| headers.iter().find(|(known, _)| *known == name).map(|(_, value)| *value),
            NOW,
        )
    }

    fn quota(limit: u64, left: u64, reset_ms: u64) -> Quota {
        Quota { limit: Some(limit), left: Some(left), reset: Some(Duration::from_millis(reset_ms)) }
    }

    #[test]
    fn openai_and_azure_say_how_long() {
        let headers = [
            ("x-ratelimit-limit-requests", "60"),
            ("x-ratelimit-remaining-requests", "59"),
            ("x-ratelimit-reset-requests", "1s"),
            ("x-ratelimit-limit-tokens", "150000"),
            ("x-ratelimit-remaining-tokens", "149984"),
            ("x-ratelimit-reset-tokens", "6m0s"),
        ];
        let told = Learned {
            requests: quota(60, 59, 1000),
            tokens: quota(150_000, 149_984, 360_000),
            ..Learned::default()
        };
        assert_eq!(read(&Dialect::OpenAi, &headers), told);
        assert_eq!(read(&Dialect::Azure { api_version: "v1".to_owned() }, &headers), told);
    }

    #[test]
    fn groq_says_fractions() {
        let told = read(
            &Dialect::OpenAi,
            &[
                ("x-ratelimit-limit-requests", "14400"),
                ("x-ratelimit-remaining-requests", "14370"),
                ("x-ratelimit-reset-requests", "2m59.56s"),
                ("x-ratelimit-remaining-tokens", "17997"),
                ("x-ratelimit-reset-tokens", "7.66s"),
            ],
        );
        assert_eq!(told.requests, quota(14_400, 14_370, 179_560));
        assert_eq!(
            told.tokens,
            Quota { left: Some(17_997), reset: Some(Duration::from_millis(7660)), limit: None }
        );
    }

    #[test]
    fn anthropic_says_when_and_counts_input_and_output_apart() {
        let told = read(
            &Dialect::Anthropic,
            &[
                ("anthropic-ratelimit-requests-limit", "1000"),
                ("anthropic-ratelimit-requests-remaining", "999"),
                ("anthropic-ratelimit-requests-reset", "2025-12-31T23:59:59Z"),
                ("anthropic-ratelimit-input-tokens-limit", "80000"),
                ("anthropic-ratelimit-input-tokens-remaining", "0"),
                ("anthropic-ratelimit-input-tokens-reset", "2026-01-01T00:00:30Z"),
                ("anthropic-ratelimit-output-tokens-limit", "16000"),
                ("anthropic-ratelimit-output-tokens-remaining", "16000"),
                ("anthropic-ratelimit-output-tokens-reset", "2026-01-01T00:00:00Z"),
            ],
        );
        assert_eq!(told.requests, quota(1000, 999, 0));
        assert_eq!(told.input_tokens, quota(80_000, 0, 30_000));
        assert_eq!(told.output_tokens, quota(16_000, 16_000, 0));
        assert_eq!(told.tokens, Quota::default());
    }

    #[test]
    fn others_say_it_in_one_of_the_common_ways() {
        for headers in [
            // OpenRouter: the moment in milliseconds.
            &[
                ("x-ratelimit-limit", "20"),
                ("x-ratelimit-remaining", "0"),
                ("x-ratelimit-reset", "1767225660000"),
            ][..],
            &[
                ("x-ratelimit-limit", "20"),
                ("x-ratelimit-remaining", "0"),
                ("x-ratelimit-reset", "1767225660"),
            ],
            &[("ratelimit-limit", "20, 20;w=60"), ("ratelimit-remaining", "0"), ("ratelimit-reset", "60")],
            &[("ratelimit-policy", "\"default\";q=20;w=60"), ("ratelimit", "\"default\";r=0;t=60")],
            &[("ratelimit", "limit=20, remaining=0, reset=60")],
        ] {
            assert_eq!(read(&Dialect::OpenAi, headers).requests, quota(20, 0, 60_000), "{headers:?}");
        }
    }

    #[test]
    fn durations_are_read_as_go_writes_them() {
        for (text, expected) in [
            ("20ms", Some(Duration::from_millis(20))),
            ("1s", Some(Duration::from_secs(1))),
            ("6m0s", Some(Duration::from_secs(360))),
            ("1h2m3.5s", Some(Duration::from_millis(3_723_500))),
            ("1d", Some(Duration::from_secs(86_400))),
            ("0", Some(Duration::ZERO)),
            ("59.5", Some(Duration::from_millis(59_500))),
            ("", None),
            ("s", None),
            ("5", Some(Duration::from_secs(5))),
            ("5x", None),
            ("-5", None),
            ("1.2.3s", None),
            ("5s6", None),
            ("NaN", None),
            ("inf", None),
            ("1e300", None),
            ("99999999999999999999d", None),
        ] {
            assert_eq!(until(text, NOW).filter(|_| duration(text).is_some()), expected, "{text:?}");
        }
    }

    #[test]
    fn what_cannot_be_read_spoils_only_itself() {
        let told = read(
            &Dialect::OpenAi,
            &[
                ("x-ratelimit-limit-requests", "many"),
                ("x-ratelimit-remaining-requests", "7"),
                ("x-ratelimit-reset-requests", "soon"),
            ],
        );
        assert_eq!(told.requests, Quota { left: Some(7), ..Quota::default() });
    }

    proptest! {
        #[test]
        fn any_header_is_read_without_a_panic(text in "\\PC{0,40}", now in any::<i64>()) {
            for dialect in [Dialect::OpenAi, Dialect::Anthropic] {
                let told = learned(&dialect, |_| Some(text.as_str()), now);
                for quota in [told.requests, told.tokens, told.input_tokens, told.output_tokens] {
                    prop_assert!(quota.reset.is_none_or(|wait| wait <= MAX_RESET));
                }
            }
        }

        #[test]
        fn any_number_and_unit_is_read_without_a_panic(text in "([0-9.eE+-]{0,24}(ns|us|ms|s|m|h|d)?){0,4}") {
            prop_assert!(until(&text, NOW).is_none_or(|wait| wait <= MAX_RESET));
        }
    }
}
