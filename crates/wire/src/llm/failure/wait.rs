//! How long a provider wants to be left alone: from headers, from fields, from its words.

use std::time::Duration;

use jiff::fmt::rfc2822::DateTimeParser;

use super::body::Spoken;

/// A longer wait than this says no more than this.
const MAX_WAIT: Duration = Duration::from_secs(24 * 60 * 60);

static HTTP_DATE: DateTimeParser = DateTimeParser::new();

pub(super) fn from_headers<'h>(header: &impl Fn(&str) -> Option<&'h str>, now: i64) -> Option<Duration> {
    if let Some(wait) = header("retry-after-ms").and_then(|text| number(text, 0.001)) {
        return Some(wait);
    }
    let text = header("retry-after")?.trim();
    number(text, 1.0).or_else(|| {
        let then = HTTP_DATE.parse_timestamp(text).ok()?.as_second();
        Some(bounded(Duration::from_secs(u64::try_from(then.saturating_sub(now)).unwrap_or(0))))
    })
}

/// `retryDelay` and its kind first, then phrases as "try again in 1.5s".
pub(super) fn from_words(spoken: &Spoken) -> Option<Duration> {
    if let Some(wait) = spoken.wait.as_deref().and_then(span) {
        return Some(wait);
    }
    let lower = spoken.message.to_ascii_lowercase();
    const PHRASES: [&str; 6] =
        ["try again in ", "retry after ", "retry in ", "please wait ", "try again after ", "retry-after: "];
    PHRASES.iter().find_map(|phrase| {
        let at = lower.find(phrase)? + phrase.len();
        span(&lower[at..])
    })
}

/// `1.5s`, `20ms`, `6m0s`, `1h2m3s`, `6 seconds`, `2 minutes`: as many of number and unit as follow each other.
fn span(text: &str) -> Option<Duration> {
    let mut total = None;
    let mut rest = text.trim_start();
    loop {
        let end = rest.find(|char: char| !(char.is_ascii_digit() || char == '.')).unwrap_or(rest.len());
        let (digits, after) = rest.split_at(end);
        let digits = digits.trim_matches('.');
        if digits.is_empty() {
            return total;
        }
        let after = after.trim_start();
        let end = after.find(|char: char| !char.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, next) = after.split_at(end);
        let Some(scale) = scale(unit) else { return total };
        let part = number(digits, scale)?;
        total = Some(bounded(total.unwrap_or_default().saturating_add(part)));
        rest = next;
    }
}

/// Seconds of a unit. A number alone counts seconds.
fn scale(unit: &str) -> Option<f64> {
    match unit {
        "ms" | "millisecond" | "milliseconds" => Some(0.001),
        "" | "s" | "sec" | "secs" | "second" | "seconds" => Some(1.0),
        "m" | "min" | "mins" | "minute" | "minutes" => Some(60.0),
        "h" | "hour" | "hours" => Some(3600.0),
        _ => None,
    }
}

fn number(text: &str, scale: f64) -> Option<Duration> {
    let value: f64 = text.trim().parse().ok()?;
    let seconds = (value * scale).clamp(0.0, MAX_WAIT.as_secs_f64());
    Duration::try_from_secs_f64(seconds).ok()
}

fn bounded(wait: Duration) -> Duration {
    wait.min(MAX_WAIT)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of_headers(pairs: &[(&str, &'static str)], now: i64) -> Option<u128> {
        let header = |name: &str| pairs.iter().find(|pair| pair.0 == name).map(|pair| pair.1);
        from_headers(&header, now).map(|wait| wait.as_millis())
    }

    #[test]
    fn headers_count_seconds_milliseconds_or_name_a_moment() {
        assert_eq!(of_headers(&[("retry-after", "7")], 0), Some(7000));
        assert_eq!(of_headers(&[("retry-after", " 0.5 ")], 0), Some(500));
        assert_eq!(of_headers(&[("retry-after-ms", "250"), ("retry-after", "9")], 0), Some(250));
        let date = [("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT")];
        assert_eq!(of_headers(&date, 784_111_770), Some(7000));
        assert_eq!(of_headers(&date, 784_111_999), Some(0), "a moment that is over");
        assert_eq!(of_headers(&[("retry-after", "1e300")], 0), Some(86_400_000));
        assert_eq!(of_headers(&[("retry-after", "-3")], 0), Some(0));
        for unreadable in ["soon", "NaN", ""] {
            assert_eq!(of_headers(&[("retry-after", unreadable)], 0), None, "{unreadable}");
        }
    }

    #[test]
    fn words_name_spans_in_many_ways() {
        for (message, millis) in [
            ("Rate limit reached. Please try again in 1.5s. Visit", Some(1500)),
            ("Please try again in 20ms.", Some(20)),
            ("Please try again in 6m0s.", Some(360_000)),
            ("Please try again in 1h2m3.5s", Some(3_723_500)),
            ("Please retry after 6 seconds.", Some(6000)),
            ("Please retry in 34.074824224s.", Some(34_074)),
            ("Too many tokens, please wait before trying again.", None),
            ("try again in a moment", None),
            ("nothing", None),
        ] {
            let spoken = Spoken { message: message.to_owned(), ..Spoken::default() };
            assert_eq!(from_words(&spoken).map(|wait| wait.as_millis()), millis, "{message}");
        }
    }

    proptest! {
        #[test]
        fn any_words_give_a_bounded_wait_or_none(text in "(try again in )?[0-9.hms a-z]{0,20}") {
            prop_assert!(span(&text).is_none_or(|wait| wait <= MAX_WAIT));
            let spoken = Spoken { message: text, ..Spoken::default() };
            prop_assert!(from_words(&spoken).is_none_or(|wait| wait <= MAX_WAIT));
        }
    }
}
