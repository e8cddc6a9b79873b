//! Who is on call at a time, and until when.

use std::cmp::Ordering;

use jiff::{SignedDuration, Span, Timestamp, ToSpan, Zoned, civil::Date, tz::TimeZone};
use mainstay_base::Micros;
use mainstay_store::model::OnCallOverride;
use serde::Serialize;

use super::{Hours, Layer, MAX_SHIFTS, Schedule, Turn};

/// Who has the call, and why they.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OnCall {
    pub person: String,
    /// The override that says so; `None`: it is their turn.
    pub override_id: Option<String>,
}

/// Somebody's time on call, or a gap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Shift {
    pub from: Micros,
    pub until: Micros,
    /// `None`: nobody is on call.
    pub on_call: Option<OnCall>,
}

/// Who is on call at a time. `None`: nobody; a time outside of what calendars know has nobody either.
pub fn on_call(schedule: &Schedule, overrides: &[OnCallOverride], at: Micros) -> Option<OnCall> {
    let holds =
        |one: &&OnCallOverride| one.schedule == schedule.name && one.starts_at <= at && at < one.ends_at;
    // Of two at once, the later word counts.
    let over = overrides.iter().filter(holds).max_by_key(|one| (one.created_at, one.id.clone()));
    if let Some(one) = over {
        return Some(OnCall { person: one.person.clone(), override_id: Some(one.id.clone()) });
    }
    let at = Timestamp::from_microsecond(at.0).ok()?;
    let zone = &schedule.time_zone;
    let person = schedule.layers.iter().rev().find_map(|layer| layer_person(layer, zone, at))?;
    Some(OnCall { person: person.to_owned(), override_id: None })
}

/// What is to come from `from` until `until`: shifts without a gap between them, at most [`MAX_SHIFTS`].
pub fn shifts(schedule: &Schedule, overrides: &[OnCallOverride], from: Micros, until: Micros) -> Vec<Shift> {
    let mut shifts: Vec<Shift> = Vec::new();
    let mut at = from;
    // Each step passes one boundary; most change nobody.
    for _ in 0..8 * MAX_SHIFTS {
        if at >= until || shifts.len() > MAX_SHIFTS {
            break;
        }
        let on_call = on_call(schedule, overrides, at);
        let next = next_boundary(schedule, overrides, at).unwrap_or(until).min(until);
        match shifts.last_mut() {
            Some(last) if last.on_call == on_call => last.until = next,
            _ => shifts.push(Shift { from: at, until: next, on_call }),
        }
        at = next;
    }
    shifts.truncate(MAX_SHIFTS);
    shifts
}

fn layer_person<'a>(layer: &'a Layer, zone: &TimeZone, at: Timestamp) -> Option<&'a str> {
    let turn = turn_at(layer, zone, at)?;
    if layer.hours.as_ref().is_some_and(|hours| !is_within(hours, &at.to_zoned(zone.clone()))) {
        return None;
    }
    let place = usize::try_from(turn).ok()?.checked_rem(layer.people.len())?;
    layer.people.get(place).map(String::as_str)
}

/// The number of the turn, from 0. `None`: it has not begun.
fn turn_at(layer: &Layer, zone: &TimeZone, at: Timestamp) -> Option<i64> {
    let first = handover(layer, zone, 0)?;
    if at < first {
        return None;
    }
    match layer.turn {
        Turn::Exact(turn) => {
            let gone = at.duration_since(first).as_secs();
            gone.checked_div(i64::try_from(turn.as_secs()).ok()?)
        }
        Turn::Days(days) => {
            let today = at.to_zoned(zone.clone()).date();
            let gone = i64::from(layer.start.date().until(today).ok()?.get_days());
            let about = gone / i64::from(days.max(1));
            // The day tells the turn but for the time of day of the handover.
            let turns = [about + 1, about, about - 1];
            turns
                .into_iter()
                .find(|turn| *turn >= 0 && handover(layer, zone, *turn).is_some_and(|begun| begun <= at))
        }
    }
}

/// When a turn begins. A time of day that the clocks leave out is the one after it; of one that comes twice the first
/// counts.
fn handover(layer: &Layer, zone: &TimeZone, turn: i64) -> Option<Timestamp> {
    match layer.turn {
        Turn::Days(days) => {
            let days = i64::from(days.max(1)).checked_mul(turn)?;
            let begins = layer.start.checked_add(Span::new().try_days(days).ok()?).ok()?;
            zone.to_timestamp(begins).ok()
        }
        Turn::Exact(length) => {
            let first = zone.to_timestamp(layer.start).ok()?;
            let gone = i64::try_from(length.as_secs()).ok()?.checked_mul(turn)?;
            first.checked_add(SignedDuration::from_secs(gone)).ok()
        }
    }
}

fn is_within(hours: &Hours, at: &Zoned) -> bool {
    let (today, time) = (at.date(), at.time());
    let begins_on = |date: Date| hours.days.contains(&date.weekday());
    let from_yesterday = || {
        let yesterday = today.yesterday();
        yesterday.is_ok_and(begins_on) && time < hours.until
    };
    match hours.from.cmp(&hours.until) {
        Ordering::Less => begins_on(today) && hours.from <= time && time < hours.until,
        _ => (begins_on(today) && hours.from <= time) || from_yesterday(),
    }
}

/// The first moment after `at` at which somebody else may be on call.
fn next_boundary(schedule: &Schedule, overrides: &[OnCallOverride], at: Micros) -> Option<Micros> {
    let after = Timestamp::from_microsecond(at.0).ok()?;
    let zone = &schedule.time_zone;
    let mut found: Vec<Micros> = Vec::new();
    for layer in &schedule.layers {
        let next = turn_at(layer, zone, after).map_or(0, |turn| turn + 1);
        found.extend(handover(layer, zone, next).map(|at| Micros(at.as_microsecond())));
        if let Some(hours) = &layer.hours {
            found.extend(edges(hours, zone, after));
        }
    }
    let ours = overrides.iter().filter(|one| one.schedule == schedule.name);
    found.extend(ours.flat_map(|one| [one.starts_at, one.ends_at]));
    found.into_iter().filter(|edge| *edge > at).min()
}

/// The beginnings and ends of hours in the nine days around: some day of the week is among them.
fn edges(hours: &Hours, zone: &TimeZone, after: Timestamp) -> Vec<Micros> {
    let today = after.to_zoned(zone.clone()).date();
    let days = (-1..=8).filter_map(|days| today.checked_add(days.days()).ok());
    let times = days.flat_map(|day| [day.to_datetime(hours.from), day.to_datetime(hours.until)]);
    times.filter_map(|time| zone.to_timestamp(time).ok()).map(|at| Micros(at.as_microsecond())).collect()
}
