//! What of a plan can never happen, reaches nobody, or leaves a gap: told to operators as warnings. Pure.

use std::{collections::BTreeSet, time::Duration};

use mainstay_base::Micros;
use serde::Serialize;

use super::{Matcher, Plan, Policy, Reach, Route, Target, To, matcher};
use crate::oncall::{self, Schedule};

/// How far ahead gaps are looked for.
pub const GAPS_AHEAD: Duration = Duration::from_secs(28 * 24 * 3600);

/// One thing that is probably not meant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Remark {
    /// In the configuration, as `alerts.route[2]`.
    pub key: String,
    pub message: String,
}

/// `receivers` in the order of the configuration.
pub fn lint(plan: &Plan, receivers: &[Reach], now: Micros) -> Vec<Remark> {
    let mut remarks = Vec::new();
    let mut remark = |key: String, message: String| remarks.push(Remark { key, message });
    let dead: Vec<Option<String>> = (0..plan.routes.len()).map(|place| why_dead(plan, place)).collect();
    for (place, why) in dead.iter().enumerate() {
        if let Some(why) = why {
            remark(format!("alerts.route[{place}].match"), why.clone());
        }
    }
    let takes_all = |route: &&Route| route.matchers.iter().all(Matcher::is_for_all);
    let all = plan.routes.iter().find(takes_all);
    if let Some(all) = all.filter(|_| plan.default.to != To::Everybody) {
        let why = format!("is never used: the route {} takes every alert", all.name);
        remark("alerts.to".to_owned(), why);
    }
    let live = plan.routes.iter().zip(&dead).filter(|(_, why)| why.is_none()).map(|(route, _)| route);
    let live: Vec<&To> = live.chain(all.is_none().then_some(&plan.default)).map(|route| &route.to).collect();
    let used = Used::of(plan, &live);
    for (place, policy) in plan.policies.iter().enumerate() {
        if !used.policies.contains(policy.name.as_str()) {
            let why = format!("no route goes to {}: nobody is ever asked by it", policy.name);
            remark(format!("oncall.policy[{place}]"), why);
        }
    }
    for (place, schedule) in plan.schedules.iter().enumerate() {
        if !used.schedules.contains(schedule.name.as_str()) {
            let why = format!("no policy that is used asks {}", schedule.name);
            remark(format!("oncall.schedule[{place}]"), why);
        } else if let Some(gaps) = gaps(schedule, now) {
            remark(format!("oncall.schedule[{place}]"), gaps);
        }
    }
    for (place, person) in plan.people.iter().enumerate() {
        if !used.people.contains(person.name.as_str()) {
            let why = format!(
                "{} is asked by no schedule and no policy that is used, but by an override",
                person.name
            );
            remark(format!("oncall.person[{place}]"), why);
        }
    }
    for (place, receiver) in receivers.iter().enumerate() {
        if !used.is_everybody && !used.receivers.contains(receiver.name.as_str()) {
            let why = format!(
                "no route reaches {}: it is told only of pages that would reach nobody else",
                receiver.name
            );
            remark(format!("receiver[{place}]"), why);
        }
    }
    remarks
}

/// Why a route is never taken, if it is not.
fn why_dead(plan: &Plan, place: usize) -> Option<String> {
    let route = &plan.routes[place];
    if let Some(label) = matcher::impossible(&route.matchers) {
        return Some(format!("no alert can fit it: no value of {label} does"));
    }
    let earlier = plan.routes[..place].iter().filter(|earlier| !earlier.goes_on);
    let before = earlier.into_iter().find(|earlier| matcher::covers(&earlier.matchers, &route.matchers))?;
    Some(format!(
        "is never looked at: the route {} before it takes all its alerts (continue = true there looks on)",
        before.name
    ))
}

/// What is asked by the routes that can be taken.
#[derive(Default)]
struct Used<'a> {
    policies: BTreeSet<&'a str>,
    schedules: BTreeSet<&'a str>,
    people: BTreeSet<&'a str>,
    receivers: BTreeSet<&'a str>,
    is_everybody: bool,
}

impl<'a> Used<'a> {
    fn of(plan: &'a Plan, live: &[&'a To]) -> Used<'a> {
        let mut used = Used::default();
        for to in live {
            match to {
                To::Everybody => used.is_everybody = true,
                To::Receivers(names) => used.receivers.extend(names.iter().map(String::as_str)),
                To::Policy(name) => {
                    used.policies.insert(name);
                    used.policy(plan, plan.policy(name));
                }
            }
        }
        let reached = plan.people.iter().filter(|person| used.people.contains(person.name.as_str()));
        let reached: Vec<&str> = reached.flat_map(|person| &person.receivers).map(String::as_str).collect();
        used.receivers.extend(reached);
        used
    }

    fn policy(&mut self, plan: &'a Plan, policy: Option<&'a Policy>) {
        for target in policy.into_iter().flat_map(|policy| &policy.steps).flat_map(|step| &step.to) {
            match target {
                Target::Receiver(name) => drop(self.receivers.insert(name)),
                Target::Person(name) => drop(self.people.insert(name)),
                Target::Schedule(name) => {
                    self.schedules.insert(name);
                    let layers = plan.schedule(name).into_iter().flat_map(|schedule| &schedule.layers);
                    self.people.extend(layers.flat_map(|layer| &layer.people).map(String::as_str));
                }
            }
        }
    }
}

/// Times at which nobody is on call, as turns have it.
fn gaps(schedule: &Schedule, now: Micros) -> Option<String> {
    let shifts = oncall::shifts(schedule, &[], now, now + GAPS_AHEAD);
    let gaps: Vec<&oncall::Shift> = shifts.iter().filter(|shift| shift.on_call.is_none()).collect();
    let first = gaps.first()?;
    let time = |at: Micros| {
        let time = jiff::Timestamp::from_microsecond(at.0).ok()?;
        Some(time.strftime("%Y-%m-%d %H:%M UTC").to_string())
    };
    let more = match gaps.len() - 1 {
        0 => String::new(),
        more => format!(", and {more} times more in the next {} days", GAPS_AHEAD.as_secs() / 86_400),
    };
    let (from, until) = (time(first.from)?, time(first.until)?);
    Some(format!("nobody is on call by {} from {from} to {until}{more}", schedule.name))
}

#[cfg(test)]
mod tests {
    use jiff::{civil::date, tz::TimeZone};
    use mainstay_store::model::Severity;

    use super::*;
    use crate::{
        alert::{Person, Step},
        oncall::{Hours, Layer, Turn},
    };

    /// 2026-11-23 09:00 UTC, a Monday.
    const NOW: Micros = Micros(1_795_424_400_000_000);

    fn route(name: &str, matchers: &[&str], to: To) -> Route {
        let matchers = matchers.iter().map(|text| Matcher::parse(text).unwrap()).collect();
        Route { name: name.to_owned(), matchers, to, ..Route::default() }
    }

    fn to(names: &[&str]) -> To {
        To::Receivers(names.iter().map(|name| (*name).to_owned()).collect())
    }

    fn schedule(name: &str, hours: Option<&str>) -> Schedule {
        let layer = Layer {
            people: vec!["ana".to_owned()],
            start: date(2026, 11, 1).at(9, 0, 0, 0),
            turn: Turn::Days(7),
            hours: hours.map(|hours| Hours::parse(hours).unwrap()),
        };
        Schedule { name: name.to_owned(), time_zone: TimeZone::UTC, layers: vec![layer] }
    }

    fn found(plan: &Plan, receivers: &[&str]) -> Vec<String> {
        let reach = |name: &&str| Reach {
            name: (*name).to_owned(),
            min_severity: Severity::Info,
            wants_acknowledged: false,
        };
        let receivers: Vec<Reach> = receivers.iter().map(reach).collect();
        let remarks = lint(plan, &receivers, NOW);
        remarks.into_iter().map(|Remark { key, message }| format!("{key} {message}")).collect()
    }

    #[test]
    fn a_plan_without_configuration_has_nothing_to_remark() {
        assert_eq!(found(&Plan::default(), &["chat", "pager"]), [""; 0]);
    }

    #[test]
    fn a_route_that_is_never_taken_is_named_with_the_one_that_takes_its_alerts() {
        for (before, goes_on, after, is_dead) in [
            (&["severity=page"][..], false, &["severity=page", "app=chat"][..], true),
            (&["severity=page"], true, &["severity=page", "app=chat"], false),
            (&["severity=page"], false, &["app=chat"], false),
            (&["severity=page|warning"], false, &["severity=page"], true),
            (&["severity!=info"], false, &["severity=page"], true),
            (&["app=chat-*"], false, &["app=chat-eu-*"], true),
            (&["app=chat-*"], false, &["app=chat-eu", "owner=x"], true),
            (&["app=chat-eu"], false, &["app=chat-*"], false),
            (&["app!=chat"], false, &["app!=chat|guide"], true),
            (&["app!=chat|guide"], false, &["app!=chat"], false),
            (&["component=*"], false, &["owner=x"], true),
            (&[], false, &["owner=x"], true),
            (&["owner=x", "app=chat"], false, &["owner=x"], false),
            // By itself.
            (&["owner=y"], false, &["severity=critical"], true),
            (&["owner=y"], false, &["app=chat", "app=guide"], true),
            (&["owner=y"], false, &["app=chat|guide", "app!=chat"], false),
            (&["owner=y"], false, &["app=chat", "app!=ch*"], true),
            (&["owner=y"], false, &["state=sick"], true),
        ] {
            let first = Route { goes_on, ..route("first", before, To::Everybody) };
            let routes = vec![first, route("second", after, To::Everybody)];
            let found = found(&Plan { routes, ..Plan::default() }, &[]);
            let said = found.iter().any(|line| line.starts_with("alerts.route[1].match"));
            assert_eq!(said, is_dead, "{before:?} before {after:?}: {found:?}");
        }
    }

    #[test]
    fn what_nobody_uses_or_nothing_reaches_is_named() {
        let step = |to: &[&str]| Step {
            to: to.iter().map(|text| Target::parse(text).unwrap()).collect(),
            wait: Duration::from_secs(60),
        };
        let policy = |name: &str, steps: Vec<Step>| Policy { name: name.to_owned(), steps, repeats: 0 };
        let person = |name: &str, receivers: &[&str]| Person {
            name: name.to_owned(),
            receivers: receivers.iter().map(|name| (*name).to_owned()).collect(),
        };
        let plan = Plan {
            routes: vec![
                route("all", &["component=*"], To::Policy("first".to_owned())),
                route("late", &["owner=x"], To::Policy("second".to_owned())),
            ],
            default: Route { to: to(&["lost"]), ..Route::default() },
            policies: vec![
                policy("first", vec![step(&["schedule:primary"]), step(&["receiver:chat"])]),
                policy("second", vec![step(&["person:ben"]), step(&["schedule:spare"])]),
            ],
            people: vec![person("ana", &["ana-pager"]), person("ben", &["ben-pager"])],
            schedules: vec![schedule("primary", None), schedule("spare", None)],
            ..Plan::default()
        };
        assert_eq!(
            found(&plan, &["chat", "ana-pager", "ben-pager", "lost"]),
            [
                "alerts.route[1].match is never looked at: the route all before it takes all its alerts (continue = \
                 true there looks on)",
                "alerts.to is never used: the route all takes every alert",
                "oncall.policy[1] no route goes to second: nobody is ever asked by it",
                "oncall.schedule[1] no policy that is used asks spare",
                "oncall.person[1] ben is asked by no schedule and no policy that is used, but by an override",
                "receiver[2] no route reaches ben-pager: it is told only of pages that would reach nobody else",
                "receiver[3] no route reaches lost: it is told only of pages that would reach nobody else",
            ]
        );
    }

    #[test]
    fn the_first_gap_of_a_schedule_is_told_and_how_many_more_there_are() {
        let mut plan = Plan {
            default: Route { to: To::Policy("first".to_owned()), ..Route::default() },
            policies: vec![Policy {
                name: "first".to_owned(),
                steps: vec![Step {
                    to: vec![Target::Schedule("primary".to_owned())],
                    wait: Duration::from_secs(60),
                }],
                repeats: 0,
            }],
            people: vec![Person { name: "ana".to_owned(), receivers: vec!["chat".to_owned()] }],
            schedules: vec![schedule("primary", Some("mon-fri 00:00-00:00"))],
            ..Plan::default()
        };
        let expected = "oncall.schedule[0] nobody is on call by primary from 2026-11-28 00:00 UTC to 2026-11-30 00:00 UTC, \
                        and 3 times more in the next 28 days";
        assert_eq!(found(&plan, &["chat"]), [expected]);
        plan.schedules = vec![schedule("primary", None)];
        assert_eq!(found(&plan, &["chat"]), [""; 0]);
    }
}
