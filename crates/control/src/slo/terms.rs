//! On which terms a document is judged: its objective at a time, and how patient the judge is with where its figures come from.

use std::time::Duration;

use mainstay_base::Micros;
use mainstay_signal::slo::{self as judge, Objective, Settings};

use super::document::{Calendar, Document, Sli, Source, Window};

/// How long after a run has begun a Dify's minute may still grow before it is taken for settled. What comes later counts
/// in the budget only.
const DIFY_SETTLES: Duration = Duration::from_secs(600);
const DIFY_EVERY: Duration = Duration::from_secs(20);
pub(super) const MINUTE: Duration = Duration::from_secs(60);

pub(super) fn objective(document: &Document, now: Micros) -> Objective {
    let began = match document.window {
        Window::Rolling { .. } => None,
        Window::Calendar(calendar) => began(calendar, now),
    };
    Objective { target: document.share(), period: document.window.length(), began }
}

/// How a document is judged.
pub(super) fn settings(document: &Document, source: Option<Source>, detectors: judge::Detectors) -> Settings {
    let base = Settings { detectors, ..Settings::default() };
    match source {
        Some(Source::Dify) => {
            let (settle, every) = (DIFY_SETTLES, DIFY_EVERY);
            Settings { slot: MINUTE, settle, told: settle, every, ..base }
        }
        Some(_) if document.sli != Sli::Availability => Settings { slot: MINUTE, told: MINUTE, ..base },
        _ => base,
    }
}

/// When the week, month or quarter of `now` began, UTC.
fn began(calendar: Calendar, now: Micros) -> Option<Micros> {
    let date = jiff::Timestamp::from_microsecond(now.0).ok()?.to_zoned(jiff::tz::TimeZone::UTC).date();
    let first = match calendar {
        Calendar::Week => {
            let days = date.weekday().to_monday_zero_offset();
            date.checked_sub(jiff::Span::new().days(i64::from(days))).ok()?
        }
        Calendar::Month => date.first_of_month(),
        Calendar::Quarter => jiff::civil::date(date.year(), (date.month() - 1) / 3 * 3 + 1, 1),
    };
    let midnight = first.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(Micros(midnight.timestamp().as_microsecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_of_the_calendar_begin_with_it() {
        // 23 November 2026 is a Monday.
        let now = Micros(1_795_458_000_000_000);
        let day = |micros: Micros| jiff::Timestamp::from_microsecond(micros.0).unwrap().to_string();
        assert_eq!(day(now), "2026-11-23T18:20:00Z");
        let began = |calendar| day(super::began(calendar, now).unwrap());
        assert_eq!(began(Calendar::Week), "2026-11-23T00:00:00Z");
        assert_eq!(began(Calendar::Month), "2026-11-01T00:00:00Z");
        assert_eq!(began(Calendar::Quarter), "2026-10-01T00:00:00Z");
    }
}
