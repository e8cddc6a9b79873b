use std::time::Duration;

use jiff::{Timestamp, tz::TimeZone};
use mainstay_base::Micros;
use mainstay_store::model::OnCallOverride;
use proptest::prelude::*;

use super::*;

const HOUR: Duration = Duration::from_secs(3600);

fn at(text: &str) -> Micros {
    Micros(text.parse::<Timestamp>().unwrap().as_microsecond())
}

fn layer(people: &[&str], start: &str, turn: &str, hours: Option<&str>) -> Layer {
    Layer {
        people: people.iter().map(|&name| name.to_owned()).collect(),
        start: start.parse().unwrap(),
        turn: Turn::parse(turn).unwrap(),
        hours: hours.map(|hours| Hours::parse(hours).unwrap()),
    }
}

fn schedule(zone: &str, layers: Vec<Layer>) -> Schedule {
    Schedule { name: "primary".to_owned(), time_zone: TimeZone::get(zone).unwrap(), layers }
}

fn who(schedule: &Schedule, overrides: &[OnCallOverride], time: &str) -> String {
    on_call(schedule, overrides, at(time)).map_or("-".to_owned(), |on_call| on_call.person)
}

#[test]
fn people_take_turns_and_hand_over_at_the_same_hour_whatever_the_clocks_do() {
    // Berlin goes from +1 to +2 on 2026-03-29 and back on 2026-10-25.
    let weekly =
        schedule("Europe/Berlin", vec![layer(&["ana", "ben", "cem"], "2026-03-16T09:00", "weekly", None)]);
    for (time, expected) in [
        ("2026-03-16T07:59:59Z", "-"),
        ("2026-03-16T08:00:00Z", "ana"),
        ("2026-03-23T07:59:59Z", "ana"),
        ("2026-03-23T08:00:00Z", "ben"),
        // Summer: nine o'clock is an hour earlier in the world's time.
        ("2026-03-30T06:59:59Z", "ben"),
        ("2026-03-30T07:00:00Z", "cem"),
        ("2026-04-06T07:00:00Z", "ana"),
        ("2026-10-26T07:59:59Z", "ben"),
        ("2026-10-26T08:00:00Z", "cem"),
    ] {
        assert_eq!(who(&weekly, &[], time), expected, "{time}");
    }
    // A handover at a time that is left out (02:30 in March), and at one that comes twice (in October).
    let daily = schedule("Europe/Berlin", vec![layer(&["ana", "ben"], "2026-03-28T02:30", "daily", None)]);
    for (time, expected) in [
        ("2026-03-29T00:59:59Z", "ana"),
        ("2026-03-29T01:30:00Z", "ben"),
        ("2026-10-25T00:29:59Z", "ana"),
        ("2026-10-25T00:30:00Z", "ben"),
        ("2026-10-25T01:15:00Z", "ben"),
        ("2026-10-26T01:30:00Z", "ana"),
    ] {
        assert_eq!(who(&daily, &[], time), expected, "{time}");
    }
    let exact = schedule("Europe/Berlin", vec![layer(&["ana", "ben"], "2026-03-28T09:00", "12h", None)]);
    for (time, expected) in
        [("2026-03-28T08:00:00Z", "ana"), ("2026-03-28T20:00:00Z", "ben"), ("2026-03-29T08:00:00Z", "ana")]
    {
        assert_eq!(who(&exact, &[], time), expected, "{time}");
    }
}

#[test]
fn the_later_layer_counts_where_it_has_somebody_and_an_override_above_all() {
    let layers = vec![
        layer(&["night"], "2026-01-01T00:00", "weekly", None),
        layer(&["day"], "2026-01-01T00:00", "weekly", Some("mon-fri 09:00-17:00")),
        layer(&["late"], "2026-01-01T00:00", "weekly", Some("fri 22:00-02:00")),
    ];
    let schedule = schedule("America/New_York", layers);
    let one = |id: &str, person: &str, from: &str, until: &str, created: &str| OnCallOverride {
        id: id.to_owned(),
        schedule: "primary".to_owned(),
        person: person.to_owned(),
        starts_at: at(from),
        ends_at: at(until),
        author: "ann".to_owned(),
        comment: String::new(),
        created_at: at(created),
        ended_by: None,
    };
    let overrides = [
        one("2", "eva", "2026-01-06T15:00:00Z", "2026-01-06T16:00:00Z", "2026-01-02T00:00:00Z"),
        one("1", "fay", "2026-01-06T14:30:00Z", "2026-01-06T15:30:00Z", "2026-01-03T00:00:00Z"),
        OnCallOverride {
            schedule: "other".to_owned(),
            ..one("3", "gus", "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z", "2026-01-04T00:00:00Z")
        },
    ];
    for (time, expected) in [
        ("2026-01-06T13:59:00Z", "night"),
        ("2026-01-06T14:00:00Z", "day"),
        ("2026-01-06T14:30:00Z", "fay"),
        ("2026-01-06T15:15:00Z", "fay"),
        ("2026-01-06T15:30:00Z", "eva"),
        ("2026-01-06T16:00:00Z", "day"),
        ("2026-01-06T22:00:00Z", "night"),
        ("2026-01-10T03:30:00Z", "late"),
        ("2026-01-10T06:59:00Z", "late"),
        ("2026-01-10T07:00:00Z", "night"),
        ("2026-01-10T15:00:00Z", "night"),
    ] {
        assert_eq!(who(&schedule, &overrides, time), expected, "{time}");
    }
    let ahead = shifts(&schedule, &overrides, at("2026-01-06T13:00:00Z"), at("2026-01-07T14:00:00Z"));
    let people: Vec<&str> = ahead
        .iter()
        .map(|shift| shift.on_call.as_ref().map_or("-", |on_call| on_call.person.as_str()))
        .collect();
    assert_eq!(people, ["night", "day", "fay", "eva", "day", "night"]);
    assert_eq!(ahead[2].from, at("2026-01-06T14:30:00Z"));
    assert_eq!(ahead[5].until, at("2026-01-07T14:00:00Z"));
}

#[test]
fn what_is_no_turn_and_no_time_of_the_week_is_refused() {
    for text in ["", "yearly", "0d", "0h", "h", "1.5d", "400d", "-1d"] {
        assert!(Turn::parse(text).is_err(), "{text}");
    }
    assert_eq!(Turn::parse("14d"), Ok(Turn::Days(14)));
    for text in ["", "09:00", "mon 9-17", "mon-xyz 09:00-17:00", "25:00-26:00", "mon 09:00-"] {
        assert!(Hours::parse(text).is_err(), "{text}");
    }
    let weekend = Hours::parse("sat,sun 00:00-00:00").unwrap();
    assert_eq!((weekend.days.len(), weekend.from == weekend.until), (2, true));
    assert_eq!(Hours::parse("fri-mon 10:00-11:00").unwrap().days.len(), 4);
    assert_eq!(Hours::parse("22:00-06:00").unwrap().days.len(), 7);
}

fn any_layer() -> impl Strategy<Value = Layer> {
    let turn = prop_oneof![
        (1_u32..15).prop_map(Turn::Days),
        (1_u32..100).prop_map(|hours| Turn::Exact(HOUR * hours)),
    ];
    let hours = prop_oneof![
        Just(None),
        proptest::sample::select(vec![
            "mon-fri 09:00-17:00",
            "22:00-06:00",
            "sat,sun 02:30-02:30",
            "tue 01:00-03:00"
        ])
        .prop_map(|text| Hours::parse(text).ok()),
    ];
    (1_usize..5, 0_i8..28, 0_i8..24, turn, hours).prop_map(|(people, day, hour, turn, hours)| Layer {
        people: (0..people).map(|person| format!("p{person}")).collect(),
        start: jiff::civil::date(2026, 2, day + 1).at(hour, 30, 0, 0),
        turn,
        hours,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Shifts have no gap and no overlap, and say of each moment what is said of it alone.
    #[test]
    fn shifts_say_what_each_moment_says(
        layers in proptest::collection::vec(any_layer(), 1..4),
        zone in proptest::sample::select(vec!["UTC", "Europe/Berlin", "America/Sao_Paulo", "Australia/Lord_Howe", "Asia/Kolkata"]),
        month in 0_i64..10,
        moments in proptest::collection::vec(0_i64..(5 * 24 * 60), 20),
    ) {
        let schedule = schedule(zone, layers);
        let from = Micros(at("2026-03-01T00:00:00Z").0 + month * 30 * 24 * 3_600_000_000);
        let until = from + 5 * 24 * HOUR;
        let shifts = shifts(&schedule, &[], from, until);
        prop_assert_eq!(shifts[0].from, from);
        prop_assert_eq!(shifts[shifts.len() - 1].until, until);
        for pair in shifts.windows(2) {
            prop_assert_eq!(pair[0].until, pair[1].from);
            prop_assert!(pair[0].on_call != pair[1].on_call);
        }
        for minutes in moments {
            let moment = Micros(from.0 + minutes * 60_000_000);
            let shift = shifts.iter().find(|shift| shift.from <= moment && moment < shift.until).unwrap();
            prop_assert_eq!(&shift.on_call, &on_call(&schedule, &[], moment));
        }
    }
}
