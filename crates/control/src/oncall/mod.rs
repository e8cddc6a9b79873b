//! Who is on call: schedules of layers, each a rotation of people, with overrides above them. Pure.

mod shift;
#[cfg(test)]
mod tests;

use std::time::Duration;

use jiff::{
    civil::{DateTime, Time, Weekday},
    tz::TimeZone,
};

pub use shift::{OnCall, Shift, on_call, shifts};

/// The most people of a layer, layers of a schedule, and shifts that are told at once.
pub const MAX_PEOPLE: usize = 100;
pub const MAX_LAYERS: usize = 10;
pub const MAX_SHIFTS: usize = 200;

#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    pub name: String,
    pub time_zone: TimeZone,
    /// Where two have somebody, the later one counts.
    pub layers: Vec<Layer>,
}

/// People who take turns.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// Not empty; the first begins at `start`.
    pub people: Vec<String>,
    /// In the schedule's time zone. Turns of days and weeks are handed over at this time of day, whatever the clocks do.
    pub start: DateTime,
    pub turn: Turn,
    /// Only then; `None`: always.
    pub hours: Option<Hours>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Not zero.
    Days(u32),
    /// Exact time, which moves against the clock on the wall when that is changed. At least an hour.
    Exact(Duration),
}

impl Turn {
    /// Reads `daily`, `weekly`, `14d` or `12h`.
    pub fn parse(text: &str) -> Result<Turn, String> {
        let number = |text: &str, most: u32| text.parse().ok().filter(|number| (1..=most).contains(number));
        let read = match text {
            "daily" => Some(Turn::Days(1)),
            "weekly" => Some(Turn::Days(7)),
            _ => match (text.strip_suffix('d'), text.strip_suffix('h')) {
                (Some(days), _) => number(days, 366).map(Turn::Days),
                (_, Some(hours)) => {
                    number(hours, 24 * 366).map(|hours| Turn::Exact(Duration::from_secs(3600) * hours))
                }
                _ => None,
            },
        };
        read.ok_or_else(|| "is none of daily, weekly, 14d (days), 12h (hours)".to_owned())
    }
}

/// Some hours of some days. Where `until` is not after `from`, they end on the next day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hours {
    /// On which they begin; not empty.
    pub days: Vec<Weekday>,
    pub from: Time,
    pub until: Time,
}

impl Hours {
    /// Reads `mon-fri 09:00-17:00`, `sat,sun 00:00-00:00`, `22:00-06:00`.
    pub fn parse(text: &str) -> Result<Hours, String> {
        const FORM: &str = "is no time of the week such as mon-fri 09:00-17:00";
        let (days, times) = text.trim().rsplit_once(' ').unwrap_or(("mon-sun", text.trim()));
        let (from, until) = times.split_once('-').ok_or(FORM)?;
        let time = |text: &str| Time::strptime("%H:%M", text).map_err(|_| FORM.to_owned());
        let mut on = Vec::new();
        for part in days.split(',').map(str::trim) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (mut day, last) = (weekday(first).ok_or(FORM)?, weekday(last).ok_or(FORM)?);
            on.push(day);
            while day != last {
                day = day.next();
                on.push(day);
            }
        }
        on.sort_by_key(|day| day.to_monday_zero_offset());
        on.dedup();
        Ok(Hours { days: on, from: time(from)?, until: time(until)? })
    }
}

fn weekday(text: &str) -> Option<Weekday> {
    const DAYS: [(&str, Weekday); 7] = [
        ("mon", Weekday::Monday),
        ("tue", Weekday::Tuesday),
        ("wed", Weekday::Wednesday),
        ("thu", Weekday::Thursday),
        ("fri", Weekday::Friday),
        ("sat", Weekday::Saturday),
        ("sun", Weekday::Sunday),
    ];
    let text = text.to_ascii_lowercase();
    DAYS.iter().find(|(name, _)| text == *name).map(|(_, day)| *day)
}
