//! How people are told and who is on call: `[alerts]`, `[[alerts.route]]`, `[[alerts.inhibit]]`, `[[oncall.person]]`,
//! `[[oncall.schedule]]`, `[[oncall.policy]]`. Every name in them that refers to something is looked up.

use std::{ops::RangeInclusive, time::Duration};

use jiff::{civil::DateTime, tz::TimeZone};
use mainstay_control::{
    alert::{
        GROUP_INTERVAL, GROUP_WAIT, Grouping, Inhibition, Matcher, Person, Plan, Policy, Route, Step, Target,
        To, parse_all,
    },
    oncall::{Hours, Layer, MAX_LAYERS, MAX_PEOPLE, Schedule, Turn},
};

use super::named;
use crate::config::{Receiver, reader::Reader};

const DAY: Duration = Duration::from_secs(24 * 3600);
/// What pauses between notices may be.
const PAUSES: RangeInclusive<Duration> = Duration::ZERO..=DAY.saturating_mul(7);
const MAX_STEPS: usize = 20;
const MAX_REPEATS: u64 = 100;

pub(super) fn plan(alerts: Reader<'_>, oncall: Reader<'_>, receivers: &[Receiver]) -> Plan {
    let is_receiver = |name: &str| receivers.iter().any(|receiver| receiver.name == name);
    let people = named(oncall.sections("person"), "name", |reader, name| {
        let names = reader.texts("receivers").unwrap_or_default();
        known(reader, "receivers", &names, is_receiver, "receiver");
        if names.is_empty() {
            reader.report("receivers", "is missing: nothing would reach them");
        }
        Some(Person { name, receivers: names })
    });
    let is_person = |name: &str| people.iter().any(|person| person.name == name);
    let schedules =
        named(oncall.sections("schedule"), "name", |reader, name| schedule(reader, name, is_person));
    let is_schedule = |name: &str| schedules.iter().any(|schedule| schedule.name == name);
    let is_target = |target: &Target| match target {
        Target::Receiver(name) => is_receiver(name),
        Target::Person(name) => is_person(name),
        Target::Schedule(name) => is_schedule(name),
    };
    let policies = named(oncall.sections("policy"), "name", |reader, name| policy(reader, name, is_target));
    oncall.done();
    let is_policy = |name: &str| policies.iter().any(|policy| policy.name == name);
    let routes = named(alerts.sections("route"), "name", |reader, name| {
        if name == mainstay_control::alert::DEFAULT_ROUTE {
            reader.report("name", "default is that of [alerts] itself");
        }
        let matchers = matchers(reader, "match");
        if matchers.is_empty() && !reader.is_given("match") {
            reader.report("match", "is missing: a route says which alerts it is for");
        }
        let goes_on = reader.flag("continue").unwrap_or(false);
        Some(Route { name, matchers, goes_on, ..route(reader, is_receiver, is_policy) })
    });
    let mut inhibitions = match alerts.flag("inhibit_by_default") {
        Some(false) => Vec::new(),
        _ => Inhibition::built_in(),
    };
    for reader in alerts.sections("inhibit") {
        inhibitions.push(inhibition(&reader));
        reader.done();
    }
    let default = route(&alerts, is_receiver, is_policy);
    alerts.done();
    Plan { routes, default, policies, people, schedules, inhibitions }
}

/// What `[alerts]` and a route have in common.
fn route(reader: &Reader<'_>, is_receiver: impl Fn(&str) -> bool, is_policy: impl Fn(&str) -> bool) -> Route {
    let default = Route::default();
    let group_by = reader.texts("group_by");
    let is_grouped = group_by.is_some();
    let (wait, interval) =
        if is_grouped { (GROUP_WAIT, GROUP_INTERVAL) } else { (default.group_wait, default.group_interval) };
    let to = reader.texts("to").map_or(To::Everybody, |texts| to(reader, &texts, is_receiver, is_policy));
    Route {
        to,
        grouping: group_by.map_or(Grouping::Each, Grouping::By),
        group_wait: reader.span("group_wait", PAUSES).unwrap_or(wait),
        group_interval: reader.span("group_interval", PAUSES).unwrap_or(interval),
        repeat: reader.span("repeat", PAUSES).unwrap_or(default.repeat),
        repeat_warnings: reader.span("repeat_warnings", PAUSES).unwrap_or(default.repeat_warnings),
        ..default
    }
}

/// One policy, or receivers; nothing is nobody.
fn to(
    reader: &Reader<'_>,
    texts: &[String],
    is_receiver: impl Fn(&str) -> bool,
    is_policy: impl Fn(&str) -> bool,
) -> To {
    let mut receivers = Vec::new();
    for (place, text) in texts.iter().enumerate() {
        let report = |problem: String| reader.report(&format!("to[{place}]"), problem);
        match text.split_once(':') {
            Some(("policy", name)) if !is_policy(name) => {
                report(format!("there is no [[oncall.policy]] named {name}"))
            }
            Some(("policy", _)) if texts.len() > 1 => {
                report("a policy stands alone; others are its steps".to_owned())
            }
            Some(("policy", name)) => return To::Policy(name.to_owned()),
            Some(("receiver", name)) if !is_receiver(name) => {
                report(format!("there is no receiver named {name}"))
            }
            Some(("receiver", name)) => receivers.push(name.to_owned()),
            _ => report("is none of policy:NAME, receiver:NAME".to_owned()),
        }
    }
    To::Receivers(receivers)
}

fn matchers(reader: &Reader<'_>, key: &'static str) -> Vec<Matcher> {
    let texts = reader.texts(key).unwrap_or_default();
    parse_all(&texts).unwrap_or_else(|problems| {
        for (place, problem) in problems {
            reader.report(&format!("{key}[{place}]"), problem);
        }
        Vec::new()
    })
}

fn inhibition(reader: &Reader<'_>) -> Inhibition {
    for key in ["source", "target"] {
        reader.require(key);
    }
    let (source, target) = (matchers(reader, "source"), matchers(reader, "target"));
    for (key, found) in [("source", &source), ("target", &target)] {
        if reader.is_given(key) && found.iter().all(Matcher::is_for_all) {
            reader.report(key, "is every alert; name what explains, and what is explained");
        }
    }
    Inhibition { source, target, equal: reader.texts("equal").unwrap_or_default() }
}

fn known(reader: &Reader<'_>, key: &str, names: &[String], is_known: impl Fn(&str) -> bool, what: &str) {
    for (place, name) in names.iter().enumerate() {
        if !is_known(name) {
            reader.report(&format!("{key}[{place}]"), format!("there is no {what} named {name}"));
        }
    }
}

fn schedule(reader: &Reader<'_>, name: String, is_person: impl Fn(&str) -> bool) -> Option<Schedule> {
    let time_zone = reader
        .parsed("time_zone", |text| {
            TimeZone::get(text)
                .map_err(|_| format!("there is no time zone {text}; write it as Europe/Berlin"))
        })
        .unwrap_or(TimeZone::UTC);
    let readers = reader.sections("layer");
    if readers.is_empty() || readers.len() > MAX_LAYERS {
        reader.report("layer", format!("allowed are 1 to {MAX_LAYERS} layers"));
    }
    let mut layers = Vec::new();
    for layer_reader in readers {
        layers.extend(layer(&layer_reader, &is_person));
        layer_reader.done();
    }
    Some(Schedule { name, time_zone, layers })
}

fn layer(reader: &Reader<'_>, is_person: impl Fn(&str) -> bool) -> Option<Layer> {
    reader.require("people");
    let people = reader.texts("people").unwrap_or_default();
    known(reader, "people", &people, is_person, "[[oncall.person]]");
    if reader.is_given("people") && !(1..=MAX_PEOPLE).contains(&people.len()) {
        reader.report("people", format!("allowed are 1 to {MAX_PEOPLE} people"));
    }
    reader.require("start");
    let start = reader.parsed("start", |text| {
        text.parse::<DateTime>().map_err(|_| "is no day and time such as 2026-11-23T09:00".to_owned())
    });
    let turn = reader.parsed("turn", Turn::parse).unwrap_or(Turn::Days(7));
    let hours = reader.parsed("hours", Hours::parse);
    let start = start.filter(|_| !people.is_empty())?;
    Some(Layer { people, start, turn, hours })
}

fn policy(reader: &Reader<'_>, name: String, is_target: impl Fn(&Target) -> bool) -> Option<Policy> {
    let readers = reader.sections("step");
    if readers.is_empty() || readers.len() > MAX_STEPS {
        reader.report("step", format!("allowed are 1 to {MAX_STEPS} steps"));
    }
    let mut steps = Vec::new();
    for step in readers {
        step.require("to");
        let mut to = Vec::new();
        for (place, text) in step.texts("to").unwrap_or_default().iter().enumerate() {
            let key = format!("to[{place}]");
            match Target::parse(text) {
                Ok(target) if is_target(&target) => to.push(target),
                Ok(_) => step.report(&key, format!("there is no {}", text.replacen(':', " named ", 1))),
                Err(problem) => step.report(&key, problem),
            }
        }
        let wait = step.span("wait", Duration::from_secs(1)..=DAY).unwrap_or(Duration::from_secs(15 * 60));
        steps.push(Step { to, wait });
        step.done();
    }
    let repeats = reader.number("repeats", 0..=MAX_REPEATS).and_then(|times| u32::try_from(times).ok());
    Some(Policy { name, steps, repeats: repeats.unwrap_or(0) })
}

#[cfg(test)]
mod tests {
    use crate::config::{Follow, LoadError, parse};

    const RECEIVER: &str = "[[receiver]]\nname = 'chat'\nurl = 'http://chat.example'\n";

    fn problems(text: &str) -> Vec<String> {
        match parse("test", &format!("{RECEIVER}{text}"), &[], Follow::FormOnly) {
            Err(LoadError::Problems(problems)) => {
                problems.into_iter().map(|problem| format!("{} {}", problem.path, problem.message)).collect()
            }
            Err(other) => panic!("{other:?}"),
            Ok(_) => Vec::new(),
        }
    }

    #[test]
    fn a_whole_plan_is_taken_and_nothing_is_everybody() {
        let whole = "[[oncall.person]]\nname = 'ana'\nreceivers = ['chat']\n\
             [[oncall.schedule]]\nname = 'primary'\ntime_zone = 'Europe/Berlin'\n\
             [[oncall.schedule.layer]]\npeople = ['ana']\nstart = '2026-11-23T09:00'\nturn = 'daily'\n\
             hours = 'mon-fri 09:00-17:00'\n\
             [[oncall.policy]]\nname = 'first'\nrepeats = 2\n\
             [[oncall.policy.step]]\nto = ['schedule:primary', 'person:ana', 'receiver:chat']\nwait = '5m'\n\
             [alerts]\nto = ['policy:first']\ngroup_by = ['app']\n\
             [[alerts.route]]\nname = 'quiet'\nmatch = ['severity=warning']\nto = []\n\
             [[alerts.inhibit]]\nsource = ['component=queue']\ntarget = ['group=slo']\n";
        assert_eq!(problems(whole), [""; 0]);
        let config = parse("test", &format!("{RECEIVER}{whole}"), &[], Follow::FormOnly).unwrap();
        let plan = &config.alerting;
        assert_eq!((plan.routes.len(), plan.policies.len(), plan.inhibitions.len()), (1, 1, 7));
        let nothing = parse("test", "", &[], Follow::FormOnly).unwrap();
        assert_eq!(*nothing.alerting, mainstay_control::alert::Plan::default());
    }

    #[test]
    fn what_is_probably_not_meant_is_a_warning_with_its_key() {
        let text = "[[alerts.route]]\nname = 'all'\nmatch = []\nto = ['receiver:chat']\n\
             [[alerts.route]]\nname = 'late'\nmatch = ['owner=x']\n\
             [[oncall.person]]\nname = 'ana'\nreceivers = ['chat']\n\
             [[oncall.policy]]\nname = 'first'\n[[oncall.policy.step]]\nto = ['person:ana']\n";
        let config = parse("test", &format!("{RECEIVER}{text}"), &[], Follow::FormOnly).unwrap();
        let keys: Vec<&str> = config.warnings.iter().map(|warning| warning.path.as_str()).collect();
        assert_eq!(keys, ["alerts.route[1].match", "oncall.policy[0]", "oncall.person[0]"]);
    }

    #[test]
    fn every_name_and_word_that_is_wrong_is_told_with_its_key() {
        let wrong = "[[oncall.person]]\nname = 'ana'\nreceivers = ['pager']\n\
             [[oncall.person]]\nname = 'ben'\n\
             [[oncall.schedule]]\nname = 'primary'\ntime_zone = 'Europe/Nowhere'\n\
             [[oncall.schedule.layer]]\npeople = ['eve']\nstart = 'monday'\nturn = 'yearly'\nhours = '9-17'\n\
             [[oncall.schedule]]\nname = 'empty'\n\
             [[oncall.policy]]\nname = 'first'\n\
             [[oncall.policy.step]]\nto = ['schedule:other', 'chat']\nwait = '0s'\n\
             [alerts]\nto = ['policy:second']\ninhibit_by_defualt = false\n\
             [[alerts.route]]\nname = 'default'\nmatch = ['severity']\nto = ['policy:first', 'receiver:x']\n\
             [[alerts.inhibit]]\nsource = ['component=*']\n";
        let found = problems(wrong);
        for path in [
            "oncall.person[0].receivers[0] there is no receiver named pager",
            "oncall.person[1].receivers is missing",
            "oncall.schedule[0].time_zone there is no time zone Europe/Nowhere",
            "oncall.schedule[0].layer[0].people[0] there is no [[oncall.person]] named eve",
            "oncall.schedule[0].layer[0].start is no day and time",
            "oncall.schedule[0].layer[0].turn is none of",
            "oncall.schedule[0].layer[0].hours is no time of the week",
            "oncall.schedule[1].layer allowed are 1 to 10",
            "oncall.policy[0].step[0].to[0] there is no schedule named other",
            "oncall.policy[0].step[0].to[1] is none of receiver:NAME",
            "oncall.policy[0].step[0].wait is 0s",
            "alerts.to[0] there is no [[oncall.policy]] named second",
            "alerts.inhibit_by_defualt is not a key",
            "alerts.route[0].name default is that of",
            "alerts.route[0].match[0] severity is no matcher",
            "alerts.route[0].to[0] a policy stands alone",
            "alerts.inhibit[0].target is missing",
            "alerts.inhibit[0].source is every alert",
        ] {
            assert!(found.iter().any(|line| line.starts_with(path)), "{path} is not among {found:#?}");
        }
    }
}
