use std::{collections::BTreeMap, time::Duration};

use mainstay_base::Micros;
use mainstay_store::model::Severity;
use mainstay_wire::notify::{self, What};

use super::{Active, Decision, Group, Input, Quiet, ahead, step, told_severity};
use crate::alert::{
    AFTER_INHIBITION, Grouping, Matcher, Person, Plan, Policy, Reach, Route, Step, Target, To,
};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

pub(super) fn active(id: &str, severity: Severity, labels: &[(&str, &str)]) -> Active {
    let labels: BTreeMap<String, String> =
        labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let told = notify::Alert {
        alert_id: id.to_owned(),
        severity: told_severity(severity),
        component: format!("slo:{id}"),
        state: "down".to_owned(),
        reason: "burns".to_owned(),
        summary: format!("{id} burns"),
        cause: String::new(),
        remedy: String::new(),
        labels,
        opened_at: Micros(0),
        resolved_at: None,
    };
    Active { told, severity, is_resolved: false, acknowledged_by: None, is_shadow: false, inhibited_by: None }
}

pub(super) fn reach(name: &str, min_severity: Severity) -> Reach {
    Reach { name: name.to_owned(), min_severity, wants_acknowledged: true }
}

/// What is kept between looks, and what was told: `12 firing a,b -> x,y`.
struct Desk {
    plan: Plan,
    receivers: Vec<Reach>,
    alerts: Vec<Active>,
    silences: Vec<Quiet>,
    groups: Vec<Group>,
    now: Micros,
    ids: u32,
    told: Vec<String>,
}

impl Desk {
    fn new(plan: Plan) -> Desk {
        let receivers =
            vec![reach("chat", Severity::Info), reach("ana", Severity::Page), reach("ben", Severity::Page)];
        Desk {
            plan,
            receivers,
            alerts: Vec::new(),
            silences: Vec::new(),
            groups: Vec::new(),
            now: Micros(0),
            ids: 0,
            told: Vec::new(),
        }
    }

    fn look(&mut self) -> Decision {
        let input = Input {
            plan: &self.plan,
            receivers: &self.receivers,
            alerts: &self.alerts,
            silences: &self.silences,
            overrides: &[],
        };
        let ids = &mut self.ids;
        let decision = step(&input, &self.groups, self.now, || {
            *ids += 1;
            format!("g{ids}")
        });
        for group in &decision.groups {
            self.groups.retain(|known| known.id != group.id);
            if group.ended_at.is_none() {
                self.groups.push(group.clone());
            }
        }
        for one in &decision.outgoing {
            let alerts: Vec<&str> = one.notice.alerts.iter().map(|alert| alert.alert_id.as_str()).collect();
            let line = format!(
                "{} {}{} {} -> {}",
                self.now.0 / 1_000_000,
                if one.is_shadow { "would " } else { "" },
                one.notice.what.as_str(),
                alerts.join(","),
                one.receivers.join(",")
            );
            self.told.push(line);
        }
        decision
    }

    /// Looks each second for so long. What is told then is what was foretold.
    fn run(&mut self, time: Duration) {
        let mut foretold = None;
        for _ in 0..time.as_secs() {
            let outgoing = self.look().outgoing;
            let is_asking = |what: What| !matches!(what, What::Acknowledged | What::Resolved);
            let told: BTreeMap<String, Vec<String>> = outgoing
                .into_iter()
                .filter(|one| is_asking(one.notice.what))
                .map(|one| (one.notice.key, one.receivers))
                .collect();
            if let Some(foretold) = &foretold {
                let due = |(key, (at, receivers)): (&String, &(Micros, Vec<String>))| {
                    (*at == self.now).then(|| (key.clone(), receivers.clone()))
                };
                let due: BTreeMap<String, Vec<String>> =
                    BTreeMap::<String, (Micros, Vec<String>)>::iter(foretold).filter_map(due).collect();
                assert_eq!(told, due, "at {}", self.now.0 / 1_000_000);
            }
            if foretold.is_none() || !told.is_empty() {
                foretold = Some(self.foretold());
            }
            self.now = self.now + SECOND;
        }
    }

    fn foretold(&self) -> BTreeMap<String, (Micros, Vec<String>)> {
        let input = Input {
            plan: &self.plan,
            receivers: &self.receivers,
            alerts: &[],
            silences: &[],
            overrides: &[],
        };
        let next = |group: &Group| {
            let (at, outgoing) = ahead(&input, group, self.now)?;
            Some((group.id.clone(), (at, outgoing.receivers)))
        };
        self.groups.iter().filter_map(next).collect()
    }

    fn told(&mut self) -> Vec<String> {
        std::mem::take(&mut self.told)
    }

    fn alert(&mut self, id: &str) -> &mut Active {
        self.alerts.iter_mut().find(|alert| alert.told.alert_id == id).unwrap()
    }

    fn resolve(&mut self, id: &str) {
        self.alert(id).is_resolved = true;
        self.look();
        self.alerts.retain(|alert| alert.told.alert_id != id);
    }
}

fn grouped(to: To) -> Plan {
    let route = Route {
        name: "team".to_owned(),
        matchers: vec![Matcher::parse("owner=team").unwrap()],
        to,
        grouping: Grouping::By(vec!["provider".to_owned()]),
        group_wait: 30 * SECOND,
        group_interval: 5 * MINUTE,
        ..Route::default()
    };
    Plan { routes: vec![route], ..Plan::default() }
}

fn team(id: &str, severity: Severity) -> Active {
    active(id, severity, &[("owner", "team"), ("provider", "openai")])
}

#[test]
fn without_configuration_each_alert_is_told_by_itself_at_once_to_everybody_and_pages_again() {
    let mut desk = Desk::new(Plan::default());
    desk.alerts = vec![active("a", Severity::Warning, &[]), active("b", Severity::Page, &[])];
    desk.run(31 * MINUTE);
    assert_eq!(
        desk.told(),
        ["0 firing a -> chat", "0 firing b -> chat,ana,ben", "1800 reminder b -> chat,ana,ben"]
    );
    desk.alert("a").severity = Severity::Page;
    desk.alert("b").acknowledged_by = Some("ann".to_owned());
    desk.run(31 * MINUTE);
    assert_eq!(
        desk.told(),
        [
            "1860 escalated a -> chat,ana,ben",
            "1860 acknowledged b -> chat,ana,ben",
            "3660 reminder a -> chat,ana,ben"
        ]
    );
    desk.resolve("b");
    desk.resolve("a");
    assert_eq!(desk.told(), ["3720 resolved b -> chat,ana,ben", "3720 resolved a -> chat,ana,ben"]);
    assert!(desk.groups.is_empty());
}

// A receiver that fails would be told that it fails, would fail, and nobody would know.
#[test]
fn that_a_receiver_fails_is_told_to_all_others_and_to_it_only_with_what_else_there_is() {
    let about = |name: &str| {
        let mut one = active(name, Severity::Page, &[("owner", "team")]);
        one.told.component = format!("receiver:{name}");
        one
    };
    let mut desk = Desk::new(Plan::default());
    desk.alerts = vec![about("ana"), about("chat")];
    desk.run(31 * MINUTE);
    let firing = ["0 firing ana -> chat,ben", "0 firing chat -> ana,ben"];
    let reminders = ["1800 reminder ana -> chat,ben", "1800 reminder chat -> ana,ben"];
    assert_eq!(desk.told(), [firing, reminders].concat(), "and no more, while neither is reached");
    desk.resolve("ana");
    assert_eq!(desk.told(), ["1860 resolved ana -> chat,ben"]);

    // In one group with something else, everybody is asked.
    let policy = Policy {
        name: "only".to_owned(),
        steps: vec![Step { to: vec![Target::Receiver("ana".to_owned())], wait: MINUTE }],
        repeats: 0,
    };
    let mut desk = Desk::new(Plan { policies: vec![policy], ..grouped(To::Policy("only".to_owned())) });
    desk.alerts = vec![about("ana")];
    desk.run(SECOND);
    assert_eq!(desk.told(), ["0 firing ana -> chat,ben"], "a policy that only reaches it reaches the others");
    desk.alerts.push(active("other", Severity::Page, &[("owner", "team")]));
    desk.run(SECOND);
    assert_eq!(desk.told(), ["1 firing ana,other -> ana"]);
}

#[test]
fn warnings_wait_for_each_other_and_pages_for_nothing() {
    let mut desk = Desk::new(grouped(To::Everybody));
    desk.alerts.push(team("a", Severity::Warning));
    desk.run(20 * SECOND);
    desk.alerts.push(team("b", Severity::Warning));
    desk.alerts.push(active("other", Severity::Warning, &[("owner", "team"), ("provider", "azure")]));
    desk.run(40 * SECOND);
    assert_eq!(desk.told(), ["30 firing a,b -> chat", "50 firing other -> chat"]);
    desk.alerts.push(team("c", Severity::Warning));
    desk.run(60 * SECOND);
    assert_eq!(desk.told(), [""; 0], "a third waits for the interval");
    desk.alerts.push(team("d", Severity::Page));
    desk.look();
    assert_eq!(desk.told(), ["120 firing d,a,b,c -> chat,ana,ben"]);
    for id in ["a", "b", "c"] {
        desk.resolve(id);
    }
    assert_eq!(desk.told(), [""; 0], "one of them is left");
    desk.resolve("d");
    assert_eq!(desk.told(), ["120 resolved d,a,b,c -> chat,ana,ben"]);
}

#[test]
fn what_is_silenced_is_not_told_until_that_ends_and_its_end_is_told_to_those_who_knew() {
    let mut desk = Desk::new(Plan::default());
    let silence = |text: &str| Quiet { id: "1".to_owned(), matchers: vec![Matcher::parse(text).unwrap()] };
    desk.silences = vec![silence("app=chat")];
    desk.alerts.push(active("a", Severity::Page, &[("app", "chat")]));
    desk.run(60 * MINUTE);
    assert_eq!(desk.told(), [""; 0]);
    assert_eq!(desk.look().suppressed["a"].as_deref(), Some("silence:1"));
    desk.silences.clear();
    desk.run(MINUTE);
    assert_eq!(desk.told(), ["3600 firing a -> chat,ana,ben"]);
    desk.silences = vec![silence("severity=page")];
    desk.run(60 * MINUTE);
    assert_eq!(desk.told(), [""; 0], "no reminder either");
    desk.resolve("a");
    assert_eq!(desk.told(), ["7260 resolved a -> chat,ana,ben"]);
    desk.alerts.push(active("b", Severity::Page, &[]));
    desk.run(MINUTE);
    desk.resolve("b");
    assert_eq!(desk.told(), [""; 0], "who was told nothing is told no end");
}

#[test]
fn what_was_explained_is_given_a_while_to_end_with_it() {
    let mut desk = Desk::new(Plan::default());
    desk.alerts = vec![active("a", Severity::Page, &[]), active("b", Severity::Page, &[])];
    for id in ["a", "b"] {
        desk.alert(id).inhibited_by = Some("provider:x".to_owned());
    }
    desk.run(10 * MINUTE);
    for id in ["a", "b"] {
        desk.alert(id).inhibited_by = None;
    }
    desk.run(MINUTE);
    desk.resolve("a");
    desk.run(AFTER_INHIBITION);
    assert_eq!(desk.told(), ["900 firing b -> chat,ana,ben"]);
}

fn policy() -> Plan {
    let step = |to: &[&str], minutes: u32| Step {
        to: to.iter().map(|text| Target::parse(text).unwrap()).collect(),
        wait: minutes * MINUTE,
    };
    let person = |name: &str| Person { name: name.to_owned(), receivers: vec![name.to_owned()] };
    let policy = Policy {
        name: "primary".to_owned(),
        steps: vec![step(&["receiver:chat"], 5), step(&["person:ana"], 10), step(&["person:ben"], 15)],
        repeats: 1,
    };
    Plan {
        policies: vec![policy],
        people: vec![person("ana"), person("ben")],
        ..grouped(To::Policy("primary".to_owned()))
    }
}

#[test]
fn a_page_that_nobody_acknowledges_goes_on_to_others_and_begins_again() {
    let mut desk = Desk::new(policy());
    desk.alerts.push(team("a", Severity::Page));
    desk.run(50 * MINUTE);
    assert_eq!(
        desk.told(),
        [
            "0 firing a -> chat",
            "300 escalated a -> ana",
            "900 escalated a -> ben",
            "1800 reminder a -> chat",
            "2100 escalated a -> ana",
            "2700 escalated a -> ben"
        ]
    );
    desk.alert("a").acknowledged_by = Some("ben".to_owned());
    desk.run(120 * MINUTE);
    assert_eq!(desk.told(), ["3000 acknowledged a -> chat,ana,ben"]);
    // More of it than was acknowledged begins with the first again.
    desk.alerts.push(team("b", Severity::Page));
    desk.run(6 * MINUTE);
    assert_eq!(desk.told(), ["10200 firing a,b -> chat", "10500 escalated a,b -> ana"]);
    let steps: Vec<Option<notify::Escalation>> = {
        desk.alerts.retain(|alert| alert.told.alert_id == "a");
        desk.alerts.push(team("c", Severity::Page));
        desk.look().outgoing.into_iter().map(|one| one.notice.escalation).collect()
    };
    assert_eq!(steps[0].as_ref().map(|step| (step.policy.as_str(), step.step)), Some(("primary", 2)));
}

#[test]
fn a_warning_is_not_escalated_and_a_page_that_reaches_nobody_goes_on_at_once() {
    let mut desk = Desk::new(policy());
    desk.alerts.push(team("a", Severity::Warning));
    desk.run(60 * MINUTE);
    assert_eq!(desk.told(), ["30 firing a -> chat"]);
    // The first step reaches nobody: its receiver is not there.
    let mut desk = Desk::new(policy());
    desk.receivers.remove(0);
    desk.alerts.push(team("b", Severity::Page));
    desk.run(11 * MINUTE);
    assert_eq!(desk.told(), ["0 firing b -> ana", "600 escalated b -> ben"]);
    // Nobody at all: then everybody there is.
    let mut desk = Desk::new(policy());
    desk.receivers = vec![reach("siren", Severity::Page)];
    desk.alerts.push(team("c", Severity::Page));
    desk.look();
    assert_eq!(desk.told(), ["0 firing c -> siren"]);
}

#[test]
fn a_shadow_tells_nobody_and_once_promoted_it_is_told_at_once() {
    let mut desk = Desk::new(Plan::default());
    desk.alerts.push(active("a", Severity::Page, &[]));
    desk.alert("a").is_shadow = true;
    desk.run(MINUTE);
    assert_eq!(desk.told(), ["0 would firing a -> chat,ana,ben"]);
    assert!(desk.groups[0].shadow);
    desk.alert("a").is_shadow = false;
    desk.look();
    let told = desk.told();
    assert_eq!(told, ["60 would resolved a -> chat,ana,ben", "60 firing a -> chat,ana,ben"]);
}

#[test]
fn a_clock_that_is_set_back_delays_nothing_by_more_than_its_pause() {
    let mut desk = Desk::new(Plan::default());
    desk.now = Micros(0) + 1000 * MINUTE;
    desk.alerts.push(active("a", Severity::Page, &[]));
    desk.look();
    desk.now = Micros(0);
    desk.run(31 * MINUTE);
    assert_eq!(desk.told(), ["60000 firing a -> chat,ana,ben", "1800 reminder a -> chat,ana,ben"]);
}

#[test]
fn a_look_repeated_says_nothing_again() {
    let mut desk = Desk::new(grouped(To::Everybody));
    desk.alerts = vec![team("a", Severity::Page), team("b", Severity::Warning)];
    desk.look();
    desk.told();
    for _ in 0..3 {
        let again = desk.look();
        assert!(again.outgoing.is_empty() && again.groups.is_empty());
    }
    assert_eq!(What::ALL.len(), 6);
}
