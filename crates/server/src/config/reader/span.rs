//! Time spans as operators write them: `250ms`, `5s`, `10m`, `2h`, `30d`.

use std::time::Duration;

pub(super) fn parse(text: &str) -> Result<Duration, String> {
    const WRONG: &str = "is not a time span such as 250ms, 5s, 10m, 2h or 30d";
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (count, unit) = text.split_at(digits);
    let count: u64 = count.parse().map_err(|_| WRONG.to_owned())?;
    let unit_ms = match unit.trim() {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(WRONG.to_owned()),
    };
    match count.checked_mul(unit_ms) {
        None | Some(0) => Err("must be more than nothing and less than for ever".to_owned()),
        Some(ms) => Ok(Duration::from_millis(ms)),
    }
}

/// `0s` and its kind, which mean something only where a bound has them.
pub(super) fn is_nothing(text: &str) -> bool {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let has_unit = ["ms", "s", "m", "h", "d"].contains(&&text[digits.len()..]);
    has_unit && !digits.is_empty() && digits.bytes().all(|byte| byte == b'0')
}

/// As a person would write it in the file.
pub(super) fn spell(span: Duration) -> String {
    let ms = span.as_millis();
    for (unit, unit_ms) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)] {
        if ms >= unit_ms && ms.is_multiple_of(unit_ms) {
            return format!("{}{unit}", ms / unit_ms);
        }
    }
    if ms == 0 { "0s".to_owned() } else { format!("{ms}ms") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_spans_have_units() {
        assert_eq!(parse("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse("2h"), Ok(Duration::from_secs(7200)));
        for bad in ["", "5", "s", "-5s", "5 weeks", "0s", "99999999999999999999s", "9999999999999999d"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
