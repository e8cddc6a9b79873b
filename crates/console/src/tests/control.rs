//! A control that says what it was told and remembers what it was asked.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::future::BoxFuture;
use mainstay_control::{
    Acknowledged, Component, ControlError, Freeze, Group, Overrides, Report, RunRefused, RunRequest, State,
    overrides::Drained,
};
use mainstay_store::StoreError;

use super::world::{ALERT, EXECUTION, NOW};
use crate::Control;

#[derive(Default)]
pub(crate) struct Judge {
    frozen: Mutex<Freeze>,
}

impl Control for Judge {
    fn report(&self) -> Arc<Report> {
        let component = |id: &str, group, state, reason: &str, ago_s| Component {
            id: id.to_owned(),
            group,
            name: id.split(':').next_back().unwrap().to_owned(),
            state,
            reason: reason.to_owned(),
            since: NOW - Duration::from_secs(ago_s),
            last_check: Some(NOW - Duration::from_secs(1)),
        };
        Arc::new(Report {
            state: State::Degraded,
            reason: "1 of 7 components is in trouble: worker:0".to_owned(),
            since: NOW - Duration::from_secs(21),
            at: NOW,
            components: vec![
                component("store", Group::Store, State::Ok, "answers in 0.4 ms", 3_600),
                component("engine", Group::Engine, State::Ok, "the probe ran", 3_600),
                component("workers", Group::Workers, State::Degraded, "1 of 2 beats", 21),
                component("worker:0", Group::Worker, State::Down, "no heartbeat for 3.2 s", 21),
                component("worker:1", Group::Worker, State::Ok, "beat 0.3 s ago", 3_600),
                component("queue", Group::Queue, State::Ok, "1 waits, for 12 s", 3_600),
                component("provider:openai", Group::Provider, State::Unknown, "no traffic seen", 3_600),
            ],
        })
    }

    fn overrides(&self) -> Arc<Overrides> {
        let drained = Drained {
            reason: "5 of 6 calls failed".to_owned(),
            since: NOW - Duration::from_secs(120),
            execution_id: EXECUTION.to_owned(),
        };
        Arc::new(Overrides { revision: 3, drained: BTreeMap::from([("backup/eu".to_owned(), drained)]) })
    }

    fn freeze_state(&self) -> Arc<Freeze> {
        Arc::new(self.frozen.lock().unwrap().clone())
    }

    fn acknowledge(&self, alert_id: String, _: String) -> BoxFuture<'_, Result<Acknowledged, ControlError>> {
        let known = alert_id == ALERT;
        Box::pin(
            async move { if known { Ok(Acknowledged::Now) } else { Err(ControlError::NotFound("alert")) } },
        )
    }

    fn run(&self, request: RunRequest) -> BoxFuture<'_, Result<String, RunRefused>> {
        Box::pin(async move {
            match (request.runbook.as_str(), request.component.as_str()) {
                ("restart-service", "worker:0") if request.dry_run => Ok(EXECUTION.to_owned()),
                ("restart-service", "worker:0") => Err(RunRefused::UnderWay(EXECUTION.to_owned())),
                ("restart-service", _) => Err(RunRefused::NoComponent {
                    runbook: request.runbook,
                    wanted: "worker",
                    component: request.component,
                }),
                _ => Err(RunRefused::NoRunbook(request.runbook, "restart-service".to_owned())),
            }
        })
    }

    fn set_freeze(&self, frozen: bool, actor: String, why: String) -> BoxFuture<'_, Result<(), StoreError>> {
        *self.frozen.lock().unwrap() = Freeze { frozen, by: actor, why, since: NOW };
        Box::pin(async { Ok(()) })
    }

    fn restore_provider(&self, name: String, _: String) -> BoxFuture<'_, Result<bool, ControlError>> {
        Box::pin(async move { Ok(name == "backup/eu") })
    }
}
