//! How people are told, as the configuration has it: routes, escalation policies, inhibition. Valid once it is here.

use std::time::Duration;

use mainstay_store::model::Severity;

use super::{
    inhibit::FAULT_PROVIDER,
    matcher::{Matcher, all_fit},
};
use crate::oncall::Schedule;

/// A page that nobody acknowledges is repeated after this long, as long as it fires.
pub const REPEAT: Duration = Duration::from_secs(30 * 60);
/// How long the first notice of a group of warnings waits for others; pages go out at once.
pub const GROUP_WAIT: Duration = Duration::from_secs(30);
/// How long more warnings of a group wait after a notice.
pub const GROUP_INTERVAL: Duration = Duration::from_secs(5 * 60);
/// An alert that was inhibited is told of when it goes on for so long after that which inhibited it has ended.
pub const AFTER_INHIBITION: Duration = Duration::from_secs(5 * 60);
/// The name of the route of everything that fits no other.
pub const DEFAULT_ROUTE: &str = "default";

/// The structure: what changes at run time (silences, overrides, acknowledgements) is in the store.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The first that fits is taken, and the next ones too where one goes on.
    pub routes: Vec<Route>,
    /// Takes what fits none.
    pub default: Route,
    pub policies: Vec<Policy>,
    pub people: Vec<Person>,
    pub schedules: Vec<Schedule>,
    pub inhibitions: Vec<Inhibition>,
}

impl Default for Plan {
    fn default() -> Plan {
        Plan {
            routes: Vec::new(),
            default: Route::default(),
            policies: Vec::new(),
            people: Vec::new(),
            schedules: Vec::new(),
            inhibitions: Inhibition::built_in(),
        }
    }
}

impl Plan {
    pub fn policy(&self, name: &str) -> Option<&Policy> {
        self.policies.iter().find(|policy| policy.name == name)
    }

    pub fn person(&self, name: &str) -> Option<&Person> {
        self.people.iter().find(|person| person.name == name)
    }

    pub fn schedule(&self, name: &str) -> Option<&Schedule> {
        self.schedules.iter().find(|schedule| schedule.name == name)
    }

    pub fn route(&self, name: &str) -> Option<&Route> {
        self.routes.iter().chain([&self.default]).find(|route| route.name == name)
    }

    /// The routes that an alert with these labels takes; never none.
    pub(crate) fn routes_of(&self, labels: &super::Labels) -> Vec<&Route> {
        let mut taken = Vec::new();
        for route in &self.routes {
            if all_fit(&route.matchers, labels) {
                taken.push(route);
                if !route.goes_on {
                    break;
                }
            }
        }
        if taken.is_empty() {
            taken.push(&self.default);
        }
        taken
    }
}

/// Which alerts go to whom, and which of them are told of together.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    pub name: String,
    /// All have to fit.
    pub matchers: Vec<Matcher>,
    /// Whether the routes after it are looked at too.
    pub goes_on: bool,
    pub to: To,
    pub grouping: Grouping,
    pub group_wait: Duration,
    pub group_interval: Duration,
    /// Between two notices of a page that nobody acknowledges. Zero: never again.
    pub repeat: Duration,
    /// The same of a warning.
    pub repeat_warnings: Duration,
}

impl Default for Route {
    /// Each alert by itself, to everybody, at once.
    fn default() -> Route {
        Route {
            name: DEFAULT_ROUTE.to_owned(),
            matchers: Vec::new(),
            goes_on: false,
            to: To::Everybody,
            grouping: Grouping::Each,
            group_wait: Duration::ZERO,
            group_interval: Duration::ZERO,
            repeat: REPEAT,
            repeat_warnings: Duration::ZERO,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grouping {
    /// Each alert is a group of its own.
    Each,
    /// Alerts whose labels of these names are the same; none: all of the route.
    By(Vec<String>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum To {
    /// Every receiver, by its least severity.
    Everybody,
    /// These alone; none: nobody.
    Receivers(Vec<String>),
    /// Whoever the policy says.
    Policy(String),
}

/// Who is asked first, and who when nobody takes care of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    pub name: String,
    /// Not empty. The first is for every alert, the others for pages that nobody acknowledges.
    pub steps: Vec<Step>,
    /// How often it begins anew after the last step.
    pub repeats: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub to: Vec<Target>,
    /// How long they have to acknowledge.
    pub wait: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    Receiver(String),
    Person(String),
    /// Whoever is on call.
    Schedule(String),
}

impl Target {
    /// Reads `receiver:NAME`, `person:NAME` or `schedule:NAME`.
    pub fn parse(text: &str) -> Result<Target, String> {
        match text.split_once(':') {
            Some(("receiver", name)) if !name.is_empty() => Ok(Target::Receiver(name.to_owned())),
            Some(("person", name)) if !name.is_empty() => Ok(Target::Person(name.to_owned())),
            Some(("schedule", name)) if !name.is_empty() => Ok(Target::Schedule(name.to_owned())),
            _ => Err("is none of receiver:NAME, person:NAME, schedule:NAME".to_owned()),
        }
    }
}

/// Somebody who can be on call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    pub name: String,
    /// By which receivers they are reached.
    pub receivers: Vec<String>,
}

/// What keeps quiet while something else that explains it is in trouble.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inhibition {
    pub source: Vec<Matcher>,
    pub target: Vec<Matcher>,
    /// Labels that both have to have, with the same value.
    pub equal: Vec<String>,
}

impl Inhibition {
    /// A provider in trouble explains the objectives that it is behind, those of the apps that see it, and those whose
    /// failures are blamed on it, or on providers of which nobody saw the name; an upstream those of its apps; a store that is down explains everything that needs it.
    pub fn built_in() -> Vec<Inhibition> {
        let rule = |source: &[&str], target: &[&str], equal: &[&str]| {
            let read = |texts: &[&str]| texts.iter().filter_map(|text| Matcher::parse(text).ok()).collect();
            let equal = equal.iter().map(|&label| label.to_owned()).collect();
            Inhibition { source: read(source), target: read(target), equal }
        };
        vec![
            rule(&["group=provider"], &["group=slo"], &["provider"]),
            rule(&["group=provider"], &["group=slo"], &["app"]),
            rule(&["group=provider"], &["group=slo", "fault=provider"], &[FAULT_PROVIDER]),
            rule(&["group=provider", "state=down"], &["group=slo", "fault=provider", "fault_provider="], &[]),
            rule(&["group=upstream"], &["group=slo"], &["upstream"]),
            rule(&["group=store", "state=down"], &["group=slo|queue|engine|workers|worker|ingest"], &[]),
        ]
    }
}

/// A receiver, as far as it matters who is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    pub name: String,
    pub min_severity: Severity,
    /// Whether it is told that somebody takes care.
    pub wants_acknowledged: bool,
}
