//! How what is known of a Dify reads on a page.

use mainstay_base::{Finding, Severity};
use mainstay_control::queue::{Drain, Peek, Rates};

use crate::show;

/// Runs that nobody works on any more.
const STUCK_RUNS: &str = "S23";

/// What [`Drain`] says, for people.
pub(crate) fn drain(drain: &Drain) -> String {
    match drain {
        Drain::Empty => "empty".to_owned(),
        Drain::TooSoon => "too soon to say".to_owned(),
        Drain::Growing { per_s } if per_s.abs() * 60.0 < 0.05 => "never: it stands".to_owned(),
        Drain::Growing { per_s } => format!("never: it grows by {} a minute", a_minute(*per_s)),
        Drain::Uncertain { not_before_s } => format!("not before {}", seconds(not_before_s)),
        Drain::Within { expected_s, .. } => format!("in {}", seconds(expected_s)),
    }
}

/// The interval of a forecast, nine of ten.
pub(crate) fn interval(drain: &Drain) -> Option<String> {
    match drain {
        Drain::Within { earliest_s, latest_s: Some(latest_s), .. } => {
            Some(format!("{} to {}", seconds(earliest_s), seconds(latest_s)))
        }
        Drain::Within { earliest_s, latest_s: None, .. } => {
            Some(format!("{} at the least", seconds(earliest_s)))
        }
        _ => None,
    }
}

/// What comes and what goes; a dash where nothing is known of either.
pub(crate) fn in_and_out(rates: &Option<Rates>) -> String {
    match rates {
        Some(Rates { arrivals: None, service: None, .. }) | None => "–".to_owned(),
        _ => format!("{} / {}", arrivals(rates), service(rates)),
    }
}

pub(crate) fn arrivals(rates: &Option<Rates>) -> String {
    rates.and_then(|rates| rates.arrivals).map_or_else(|| "–".to_owned(), a_minute)
}

pub(crate) fn service(rates: &Option<Rates>) -> String {
    rates.and_then(|rates| rates.service).map_or_else(|| "–".to_owned(), a_minute)
}

fn a_minute(per_second: f64) -> String {
    match per_second * 60.0 {
        rate if rate.abs() < 10.0 => format!("{rate:.1}"),
        rate => show::count(&format!("{rate:.0}")),
    }
}

/// A length of time that was measured in seconds.
pub(crate) fn seconds(seconds: &f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "rounded, positive, and saturating"
    )]
    let whole = seconds.max(0.0).round() as u64;
    match whole {
        0..120 => format!("{whole} s"),
        120..600 => format!("{} min {} s", whole / 60, whole % 60),
        600..7_200 => format!("{} min", whole / 60),
        7_200..172_800 => format!("{} h {} min", whole / 3_600, whole / 60 % 60),
        172_800..31_536_000 => format!("{} days", whole / 86_400),
        _ => "over a year".to_owned(),
    }
}

pub(crate) fn seconds_or_dash(length: &Option<f64>) -> String {
    length.as_ref().map_or_else(|| "–".to_owned(), seconds)
}

/// A length of time that was measured in milliseconds.
pub(crate) fn millis(length: &Option<i64>) -> String {
    length.map_or_else(|| "–".to_owned(), |length| show::took_signed(&length.saturating_mul(1_000)))
}

/// Messages by priority where not all have the same.
pub(crate) fn priorities(by_step: &[u64; 4]) -> Option<String> {
    let [usual, others @ ..] = by_step;
    let words = |(count, step): (&u64, &str)| {
        (*count > 0).then(|| format!("{} at priority {step}", show::count(count)))
    };
    let others: Vec<String> = others.iter().zip(["3", "6", "9"]).filter_map(words).collect();
    (!others.is_empty()).then(|| format!("{} at 0, {}", show::count(usual), others.join(", ")))
}

pub(crate) fn severity(finding: &Finding) -> &'static str {
    match finding.severity {
        Severity::Note => "note",
        Severity::Warning => "warning",
        Severity::Critical => "critical",
    }
}

/// The run that can be marked failed, where that is what is to be done.
pub(crate) fn stuck_run(finding: &Finding) -> Option<&str> {
    finding.subject.run.as_deref().filter(|_| finding.id == STUCK_RUNS)
}

/// The worst of what was found of something; `ok` where nothing worth a warning was.
pub(crate) fn worst<'a>(findings: impl Iterator<Item = &'a Finding>) -> &'static str {
    let worst = findings.max_by_key(|finding| finding.severity);
    match worst {
        Some(finding) if finding.severity > Severity::Note => severity(finding),
        _ => "ok",
    }
}

/// What a message of a queue is.
pub(crate) fn task(peek: &Peek) -> String {
    match peek {
        Peek::Task { task, .. } => task.clone(),
        Peek::Broken { why, .. } => format!("cannot be read: {why}"),
        Peek::TooLarge { .. } => "too large to look at".to_owned(),
    }
}

pub(crate) fn bytes(peek: &Peek) -> u64 {
    match peek {
        Peek::Task { bytes, .. } | Peek::Broken { bytes, .. } | Peek::TooLarge { bytes } => *bytes,
    }
}

/// The last word of a task's name, and what stands before it.
pub(crate) fn task_parts(name: &str) -> (&str, &str) {
    match name.rsplit_once('.') {
        // What is no name is told whole.
        Some((path, end)) if !end.is_empty() && !name.contains(' ') => (end, path),
        _ => (name, ""),
    }
}

/// Whom it is about.
pub(crate) fn about(peek: &Peek) -> String {
    let Peek::Task { about, .. } = peek else { return "–".to_owned() };
    let parts = [
        ("app", &about.app),
        ("run", &about.run),
        ("knowledge base", &about.dataset),
        ("workspace", &about.tenant),
    ];
    let told: Vec<String> =
        parts.iter().filter_map(|(kind, id)| Some(format!("{kind} {}", id.as_ref()?))).take(2).collect();
    if told.is_empty() { "–".to_owned() } else { told.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forecasts_read_as_people_say_them() {
        let within = |latest_s| Drain::Within { expected_s: 130.4, earliest_s: 90.0, latest_s };
        for (said, words, range) in [
            (Drain::Empty, "empty", None),
            (Drain::TooSoon, "too soon to say", None),
            (Drain::Growing { per_s: 2.0 }, "never: it grows by 120 a minute", None),
            (Drain::Growing { per_s: -0.0 }, "never: it stands", None),
            (Drain::Uncertain { not_before_s: 3_600.0 }, "not before 60 min", None),
            (within(Some(200.0)), "in 2 min 10 s", Some("90 s to 3 min 20 s")),
            (within(None), "in 2 min 10 s", Some("90 s at the least")),
            (Drain::Uncertain { not_before_s: f64::INFINITY }, "not before over a year", None),
            (Drain::Uncertain { not_before_s: f64::NAN }, "not before 0 s", None),
        ] {
            assert_eq!((drain(&said).as_str(), interval(&said).as_deref()), (words, range));
        }
    }

    #[test]
    fn the_last_word_of_a_task_stands_apart() {
        assert_eq!(task_parts("tasks.mail_task.send_mail"), ("send_mail", "tasks.mail_task"));
        for whole in ["send_mail", "cannot be read: v1.2 is no JSON", "ends.", ""] {
            assert_eq!(task_parts(whole), (whole, ""));
        }
    }

    #[test]
    fn priorities_are_told_where_they_differ() {
        assert_eq!(priorities(&[1_200, 0, 0, 0]), None);
        assert_eq!(
            priorities(&[1_200, 0, 3, 1]).as_deref(),
            Some("1,200 at 0, 3 at priority 6, 1 at priority 9")
        );
    }
}
