//! Values of options.

use std::time::Duration;

/// More than a demo should make on purpose.
const MAX_RATE: f64 = 1000.0;
const MAX_SECONDS: u64 = 7 * 24 * 60 * 60;
const MAX_SPAN_SECONDS: u64 = 31 * 24 * 60 * 60;

pub(super) fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.0..=MAX_RATE).contains(&rate) { Ok(rate) } else { Err(format!("allowed is 0 to {MAX_RATE}")) }
}

pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: u64 = text.parse().map_err(|_| "not a whole number of seconds".to_owned())?;
    if (1..=MAX_SECONDS).contains(&seconds) {
        Ok(Duration::from_secs(seconds))
    } else {
        Err(format!("allowed is 1 to {MAX_SECONDS}"))
    }
}

/// `90s`, `30m`, `24h`, `7d`.
pub(super) fn span(text: &str) -> Result<Duration, String> {
    let wrong = || "not a span of time: write it as 30m, 24h or 7d".to_owned();
    let unit = text.chars().last().ok_or_else(wrong)?;
    let scale = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return Err(wrong()),
    };
    let number: u64 = text[..text.len() - unit.len_utf8()].parse().map_err(|_| wrong())?;
    let seconds = number.saturating_mul(scale);
    if (1..=MAX_SPAN_SECONDS).contains(&seconds) {
        Ok(Duration::from_secs(seconds))
    } else {
        Err("allowed is 1s to 31d".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_and_bounded() {
        for (text, seconds) in
            [("90s", Some(90)), ("30m", Some(1_800)), ("24h", Some(86_400)), ("31d", Some(2_678_400))]
        {
            assert_eq!(span(text).ok().map(|span| span.as_secs()), seconds, "{text}");
        }
        for text in ["", "h", "0h", "-1h", "1.5h", "32d", "99999999999999999999h", "1é", "24"] {
            assert!(span(text).is_err(), "{text}");
        }
    }
}
