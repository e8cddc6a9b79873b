//! The runbooks there are, as data.

use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::health::{Group, State};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Definition {
    pub name: &'static str,
    pub title: &'static str,
    /// What it does, when, and what it will never do: shown to operators.
    pub does: &'static str,
    pub never: &'static str,
    /// The components it is for.
    pub group: Group,
    /// The state from which on it starts by itself.
    pub acts_on: State,
    pub action: Action,
    pub budget: Budget,
    /// An action that has not answered by then has failed.
    #[serde(rename = "act_within_ms", serialize_with = "as_ms")]
    pub act_within: Duration,
    pub verify: Verify,
    /// For actions that stay in force and are undone when the component is well again.
    pub hold: Option<Hold>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    RestartWorker,
    DrainProvider,
}

/// Actions on one component, over all executions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Budget {
    pub tries: usize,
    #[serde(rename = "window_ms", serialize_with = "as_ms")]
    pub window: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Verify {
    /// Well for so long without a pause.
    #[serde(rename = "well_for_ms", serialize_with = "as_ms")]
    pub well_for: Duration,
    /// Not well by then: the try has failed.
    #[serde(rename = "within_ms", serialize_with = "as_ms")]
    pub within: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Hold {
    /// Well for so long without a pause before the action is undone.
    #[serde(rename = "well_for_ms", serialize_with = "as_ms")]
    pub well_for: Duration,
    /// In force for so long: somebody should look.
    #[serde(rename = "page_after_ms", serialize_with = "as_ms")]
    pub page_after: Duration,
}

pub const BUILT_IN: &[Definition] = &[
    Definition {
        name: "restart-service",
        title: "Restart a sick worker process",
        does: "Ends the worker process that stopped beating and starts another in its place. Its jobs go back to \
               the queue under a new epoch, so that whatever the old process still writes is refused.",
        never: "Restarts a worker of another host, a worker while the store is down (its silence proves nothing \
                then), or one worker more than twice in ten minutes: then it pages.",
        group: Group::Worker,
        acts_on: State::Down,
        action: Action::RestartWorker,
        budget: Budget { tries: 2, window: Duration::from_secs(600) },
        act_within: Duration::from_secs(10),
        verify: Verify { well_for: Duration::from_secs(2), within: Duration::from_secs(20) },
        hold: None,
    },
    Definition {
        name: "provider-detour",
        title: "Take a failing model provider out of rotation",
        does: "Marks the provider as drained, so that the gateway prefers the others; probes it, and puts it back \
               when it has been well for a while.",
        never: "Takes out a provider when any model it serves would be left without another provider that is well.",
        group: Group::Provider,
        acts_on: State::Down,
        action: Action::DrainProvider,
        budget: Budget { tries: 3, window: Duration::from_secs(1800) },
        act_within: Duration::from_secs(10),
        verify: Verify { well_for: Duration::from_secs(3), within: Duration::from_secs(30) },
        hold: Some(Hold { well_for: Duration::from_secs(8), page_after: Duration::from_secs(1800) }),
    },
];

pub fn find(name: &str) -> Option<&'static Definition> {
    BUILT_IN.iter().find(|definition| definition.name == name)
}

/// The runbook that starts by itself when an alert for such a component fires.
pub fn automatic_for(group: Group) -> Option<&'static Definition> {
    BUILT_IN.iter().find(|definition| definition.group == group)
}

fn as_ms<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}
