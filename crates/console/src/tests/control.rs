//! A control that says what it was told and remembers what it was asked.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::future::BoxFuture;
use mainstay_base::{Class, Micros, Usd};
use mainstay_control::{
    Acknowledged, Asks, Change, Component, ControlError, Detour, Drained, FailedOver, Freeze, Group,
    ModelEffect, Operation, Overrides, Peers, ProbeKind, Procedure, ProcedureRefused, ProviderPeer, Report,
    RunRefused, RunRequest, State, TestReport, Tested, Trouble,
    alert::{self, NewOverride, NewSilence, NotDone, Roster, Shadow},
    delivery::{Preview, PreviewRefused, ReceiverState, TestRefused},
    oncall::{OnCall, Shift},
};
use mainstay_store::{
    Standing, StoreError,
    model::{DeliveryState, OnCallOverride, Severity, Silence},
};

use super::{
    routing,
    world::{ALERT, EXECUTION, NOW},
};
use crate::Control;

#[derive(Default)]
pub(crate) struct Judge {
    frozen: Mutex<Freeze>,
    /// What everything is called, instead of the names below.
    named: Option<String>,
}

impl Judge {
    pub(crate) fn named(named: Option<String>) -> Judge {
        Judge { named, ..Judge::default() }
    }

    fn name<'a>(&'a self, otherwise: &'a str) -> &'a str {
        self.named.as_deref().unwrap_or(otherwise)
    }
}

pub(crate) fn silence(matchers: &[String], author: &str) -> Silence {
    Silence {
        id: "01930000-0000-7000-8000-0000000000e1".to_owned(),
        matchers: matchers.to_vec(),
        starts_at: NOW,
        ends_at: NOW + Duration::from_secs(3600),
        author: author.to_owned(),
        comment: "upgrade".to_owned(),
        created_at: NOW,
        ended_by: None,
    }
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
            trouble: (id == "provider:openai").then(|| trouble("anthropic")),
            finding: None,
            labels: std::collections::BTreeMap::new(),
        };
        if let Some(name) = &self.named {
            let id = format!("provider:{name}");
            let provider = Component {
                trouble: Some(trouble(name)),
                ..component(&id, Group::Provider, State::Down, name, 30)
            };
            let key =
                component(&format!("provider-key:{name}/{name}"), Group::ProviderKey, State::Down, name, 50);
            let (since, at) = (NOW - Duration::from_secs(21), NOW);
            let components = vec![provider, key];
            return Arc::new(Report { state: State::Degraded, reason: name.clone(), since, at, components });
        }
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
                component("provider:openai", Group::Provider, State::Down, "9 of 12 requests failed", 30),
                component("provider:backup/eu", Group::Provider, State::Ok, "answers probes", 3_600),
                component(
                    "provider-key:openai/spare",
                    Group::ProviderKey,
                    State::Down,
                    "openai refuses it",
                    50,
                ),
            ],
        })
    }

    fn overrides(&self) -> Arc<Overrides> {
        let drained = Drained {
            reason: "5 of 6 calls failed".to_owned(),
            since: NOW - Duration::from_secs(120),
            execution_id: Some(EXECUTION.to_owned()),
            by: "provider-detour".to_owned(),
        };
        let by_hand = Drained {
            reason: self.name("maintenance").to_owned(),
            since: NOW - Duration::from_secs(60),
            execution_id: None,
            by: self.name("kim").to_owned(),
        };
        let failover = FailedOver {
            from: self.name("openai").to_owned(),
            to: self.name("anthropic").to_owned(),
            who: self.name("kim").to_owned(),
            why: self.name("it is slow").to_owned(),
            at: NOW - Duration::from_secs(40),
        };
        let drained =
            BTreeMap::from([("backup/eu".to_owned(), drained), (self.name("gone").to_owned(), by_hand)]);
        Arc::new(Overrides { revision: 3, drained, failovers: vec![failover], ..Overrides::default() })
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

    fn receivers(&self) -> BoxFuture<'_, Result<Vec<ReceiverState>, StoreError>> {
        let name = self.name("on-call").to_owned();
        let standing = Standing {
            receiver: name.clone(),
            pending: 3,
            delivered: 7,
            failing_since: Some(NOW - Duration::from_secs(300)),
            last_delivered_at: Some(NOW - Duration::from_secs(600)),
            last_error: Some(self.name("answered 503").to_owned()),
            ..Standing::default()
        };
        let failing = ReceiverState {
            name,
            kind: "slack".into(),
            min_severity: "warning".into(),
            state: Some(State::Degraded),
            standing,
        };
        // One that gave a notice up fails, although nothing waits for it.
        let gave_up = ReceiverState {
            name: "gone".into(),
            kind: "webhook".into(),
            state: Some(State::Down),
            standing: Standing { receiver: "gone".into(), failed: 1, ..Standing::default() },
            ..failing.clone()
        };
        Box::pin(async move { Ok(vec![failing, gave_up]) })
    }

    fn test_receiver(&self, name: String, _: String) -> BoxFuture<'_, Result<String, TestRefused>> {
        let known = name == "on-call";
        Box::pin(async move {
            if known {
                Ok("alert-test-1".into())
            } else {
                Err(TestRefused::NoReceiver(name, "on-call".into()))
            }
        })
    }

    fn preview(
        &self,
        receiver: String,
        what: alert::What,
        alert: Option<String>,
    ) -> BoxFuture<'_, Result<Preview, PreviewRefused>> {
        let known = self.name("on-call") == receiver;
        let title = format!("{} of {}", what.as_str(), alert.as_deref().unwrap_or("the sample"));
        let body = format!("*bold*\nline <b> of {receiver}");
        Box::pin(async move {
            match alert {
                Some(id) if id == "none" => Err(PreviewRefused::NoAlert(id)),
                _ if known => Ok(Preview { title, body, call: format!("{{\"to\": \"{receiver}\"}}") }),
                _ => Err(PreviewRefused::NoReceiver(receiver, "on-call".to_owned())),
            }
        })
    }

    fn silence(&self, new: NewSilence, actor: String) -> BoxFuture<'_, Result<Silence, NotDone>> {
        let wrong = new.comment.is_empty();
        let silence = silence(&new.matchers, &actor);
        Box::pin(async move {
            let problem = || NotDone::Wrong(vec![("comment".to_owned(), "is empty".to_owned())]);
            if wrong { Err(problem()) } else { Ok(silence) }
        })
    }

    fn unsilence(&self, id: String, _: String) -> BoxFuture<'_, Result<(), NotDone>> {
        Box::pin(async move { if id == "none" { Err(NotDone::Gone("silence")) } else { Ok(()) } })
    }

    fn shadows(&self) -> BoxFuture<'_, Result<Vec<Shadow>, StoreError>> {
        let text = self.name("slo=chat").to_owned();
        let shadow = Shadow { matchers: vec![text.clone()], by: text.clone(), why: text, since: NOW };
        Box::pin(async move { Ok(vec![shadow]) })
    }

    fn alert_groups(&self, _: bool) -> BoxFuture<'_, Result<Vec<alert::Group>, StoreError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn group_views(&self) -> BoxFuture<'_, Result<Vec<alert::GroupView>, StoreError>> {
        let view = group(self.name("team"));
        Box::pin(async { Ok(vec![view]) })
    }

    fn group_view(&self, id: String) -> BoxFuture<'_, Result<Option<alert::GroupDetail>, StoreError>> {
        let view = group(self.name("team"));
        let told = alert::Told {
            at: NOW - Duration::from_secs(300),
            receiver: self.name("chat").to_owned(),
            what: Some(alert::What::Firing),
            number: 1,
            title: self.name("worker:0 is down").to_owned(),
            escalation: view.next.as_ref().and_then(|next| next.escalation.clone()),
            state: DeliveryState::Delivered,
            delivered_at: Some(NOW - Duration::from_secs(299)),
            last_error: Some(self.name("answered 503").to_owned()),
        };
        let found = (id == view.group.id).then(|| alert::GroupDetail { view, notices: vec![told] });
        Box::pin(async { Ok(found) })
    }

    fn acknowledge_group(
        &self,
        id: String,
        _: String,
    ) -> BoxFuture<'_, Result<alert::AcknowledgedGroup, ControlError>> {
        let known = id == GROUP;
        let done = alert::AcknowledgedGroup { acknowledged: vec![ALERT.to_owned()], before: Vec::new() };
        Box::pin(async move { if known { Ok(done) } else { Err(ControlError::NotFound("group")) } })
    }

    fn shadow(&self, _: Vec<String>, _: String, _: String) -> BoxFuture<'_, Result<(), NotDone>> {
        Box::pin(async { Ok(()) })
    }

    fn promote(&self, matchers: Vec<String>, _: String) -> BoxFuture<'_, Result<(), NotDone>> {
        Box::pin(async move { if matchers == ["slo=chat"] { Ok(()) } else { Err(NotDone::Gone("shadow")) } })
    }

    fn alert_remarks(&self) -> Vec<alert::Remark> {
        let message = format!("is never used: the route {} takes every alert", self.name("all"));
        vec![alert::Remark { key: "alerts.to".to_owned(), message }]
    }

    fn rosters(&self) -> BoxFuture<'_, Result<Vec<Roster>, StoreError>> {
        let person = self.name("ana").to_owned();
        let on_call = Some(OnCall { person, override_id: None });
        let shift = |from: Micros, on_call| Shift { from, until: from + Duration::from_secs(3600), on_call };
        let shifts = vec![shift(NOW, on_call), shift(NOW + Duration::from_secs(3600), None)];
        let schedule = self.name("primary").to_owned();
        Box::pin(async move { Ok(vec![Roster { schedule, time_zone: "UTC".to_owned(), shifts }]) })
    }

    fn override_call(&self, _: NewOverride, _: String) -> BoxFuture<'_, Result<OnCallOverride, NotDone>> {
        Box::pin(async { Err(NotDone::TooMany("overrides")) })
    }

    fn release_call(&self, _: String, _: String) -> BoxFuture<'_, Result<(), NotDone>> {
        Box::pin(async { Err(NotDone::Gone("override")) })
    }

    fn peers(&self) -> Arc<Peers> {
        let models = routing::models(self.named.as_deref());
        let peer = |name: &str, takes_others| {
            let models = models.iter().map(|model| &**model);
            ProviderPeer::new(&routing::provider(name), models, takes_others, ProbeKind::Models)
        };
        let providers = match &self.named {
            Some(name) => vec![peer(name, true)],
            None => vec![peer("openai", false), peer("anthropic", false), peer("backup/eu", true)],
        };
        Arc::new(Peers { upstreams: Vec::new(), providers })
    }

    fn perform(&self, what: Operation, change: Change) -> BoxFuture<'_, Result<Procedure, ProcedureRefused>> {
        let named = self.named.clone();
        Box::pin(async move { perform(what, &change, named.as_deref()) })
    }

    fn test(
        &self,
        provider: String,
        model: Option<String>,
        _: String,
    ) -> BoxFuture<'_, Result<TestReport, ProcedureRefused>> {
        let named = self.named.clone();
        Box::pin(async move {
            if named.is_none() && provider != "openai" {
                let known = "openai".to_owned();
                return Err(ProcedureRefused::NoProvider { name: provider, known });
            }
            let model = model.unwrap_or_else(|| "gpt-4o".to_owned());
            let call = |key: &str, class: Option<Class>| Tested {
                provider: provider.clone(),
                model: model.clone(),
                key: Some(key.to_owned()),
                asks: Asks::Chat,
                ok: class.is_none(),
                status: Some(if class.is_some() { 401 } else { 200 }),
                class,
                said: class.map(|_| named.as_deref().unwrap_or("Incorrect API key provided").to_owned()),
                took_ms: 321,
                input_tokens: Some(9),
                output_tokens: Some(1),
                cost: class.is_none().then_some(Usd(33)),
            };
            let key = |otherwise| named.as_deref().unwrap_or(otherwise);
            let calls = vec![call(key("main"), None), call(key("spare"), Some(Class::BadKey))];
            Ok(TestReport {
                provider: provider.clone(),
                model: model.clone(),
                ok: false,
                cost: Some(Usd(33)),
                calls,
                woken: Vec::new(),
            })
        })
    }
}

fn perform(what: Operation, change: &Change, named: Option<&str>) -> Result<Procedure, ProcedureRefused> {
    let (name, provider, to) = match what {
        Operation::Drain { provider } if provider == "openai" && !change.force => {
            let models = vec!["model embed".to_owned()];
            return Err(ProcedureRefused::LeftAlone { provider, models });
        }
        Operation::Drain { provider } => ("drain", provider, None),
        Operation::Restore { provider } => ("restore", provider, None),
        Operation::Failover { from, to } if from == to => return Err(ProcedureRefused::ToItself),
        Operation::Failover { from, to } => ("failover", from, Some(to)),
        Operation::UndoFailover { from } => ("failover-undo", from, None),
    };
    if named.is_none() && !["openai", "anthropic", "backup/eu"].contains(&provider.as_str()) {
        return Err(ProcedureRefused::NoProvider { name: provider, known: "openai".to_owned() });
    }
    let effect = |model: &str, by: &[&str]| ModelEffect {
        model: model.to_owned(),
        answered_by: by.iter().map(|name| (*name).to_owned()).collect(),
    };
    Ok(Procedure {
        name,
        to,
        dry_run: change.dry_run,
        changed: !change.dry_run,
        text: format!("provider {provider}: {name}"),
        models: vec![
            effect(named.unwrap_or("gpt"), &[named.unwrap_or("anthropic")]),
            effect(named.unwrap_or("embed"), &[]),
        ],
        warnings: vec![format!("nobody else is left for model {}", named.unwrap_or("embed"))],
        undo: format!("mainstay provider restore {provider}"),
        provider,
    })
}

pub(crate) const GROUP: &str = "01930000-0000-7000-8000-0000000000f9";

/// A page that the first step was told of.
pub(crate) fn group(name: &str) -> alert::GroupView {
    let member = alert::Member {
        component: format!("worker:{name}"),
        summary: format!("{name} is down: no heartbeat for 3.2 s"),
        severity: Severity::Page,
        opened_at: NOW - Duration::from_secs(300),
        told: Some(Severity::Page),
        acknowledged_by: None,
        quiet: None,
        loud_since: Some(NOW - Duration::from_secs(300)),
        held: false,
        resolved_at: None,
    };
    let explained = alert::Member {
        acknowledged_by: Some(name.to_owned()),
        quiet: Some(format!("inhibited:{name}")),
        ..member.clone()
    };
    let group = alert::Group {
        id: GROUP.to_owned(),
        route: name.to_owned(),
        labels: BTreeMap::new(),
        shadow: false,
        opened_at: NOW - Duration::from_secs(300),
        members: [(ALERT.to_owned(), member), ("other".to_owned(), explained)].into(),
        severity: Some(Severity::Page),
        number: 1,
        told: [name.to_owned()].into(),
        last_notice_at: Some(NOW - Duration::from_secs(300)),
        acknowledged_by: None,
        step: 0,
        round: 0,
        step_since: Some(NOW - Duration::from_secs(300)),
        paused: false,
        ended_at: None,
    };
    let escalation = alert::Escalation { policy: name.to_owned(), step: 2, people: vec![name.to_owned()] };
    let next = alert::Next {
        at: NOW + Duration::from_secs(300),
        what: alert::What::Escalated,
        receivers: vec![name.to_owned()],
        escalation: Some(escalation),
    };
    let acknowledged = [("other".to_owned(), name.to_owned())].into();
    alert::GroupView { group, to: format!("policy {name}"), steps: 3, next: Some(next), acknowledged }
}

fn trouble(name: &str) -> Trouble {
    Trouble {
        since: NOW - Duration::from_secs(33),
        last_failure: NOW - Duration::from_secs(1),
        attempts: 12,
        failures: 9,
        share_percent: 75,
        classes: BTreeMap::from([("server_error".to_owned(), 9)]),
        callers: if name == "anthropic" {
            vec!["Guide".to_owned(), "Triage".to_owned()]
        } else {
            vec![name.to_owned()]
        },
        callers_failing: 2,
        callers_well: 0,
        detours: vec![Detour { provider: name.to_owned(), model: Some("claude".to_owned()), calls: 8 }],
    }
}
