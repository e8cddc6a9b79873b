//! What a running instance can say about itself: health, readiness, metrics.

use std::{sync::Arc, time::Duration};

use mainstay_base::{Clock, Micros};
use mainstay_control::{Component, Facade, Group, Report, State, Told};
use mainstay_gateway::Gateway;
use mainstay_store::Store;

use crate::{
    last_good::StateFiles,
    metrics::{ConfigNow, Metrics, NoticesNow, Now, Numbers, SloNow},
    otlp::Otlp,
    publisher::Publisher,
    records::Unstored,
    reload::Reloader,
    sli::Slis,
    supervisor::Supervisor,
};

/// A scrape does not wait longer for the store.
const ASK_STORE: Duration = Duration::from_secs(2);

const ON_ITS_OWN: &str = "this process serves; components are judged by the processes that run control";

/// What `/health`, `/readyz` and `/metrics` look at.
pub(crate) struct Insight {
    pub(crate) store: Store,
    pub(crate) facade: Option<Facade>,
    pub(crate) gateway: Option<Gateway>,
    pub(crate) metrics: Metrics,
    pub(crate) unstored: Unstored,
    pub(crate) otlp: Option<Otlp>,
    pub(crate) publisher: Arc<Publisher>,
    pub(crate) supervisor: Option<Supervisor>,
    pub(crate) reloader: Arc<Reloader>,
    pub(crate) files: Option<StateFiles>,
    pub(crate) clock: Clock,
    pub(crate) started_at: Micros,
    /// Of the Dify that this process looks after.
    pub(crate) dify: Option<Arc<Numbers>>,
    /// Of a process that carries requests.
    pub(crate) slis: Option<Slis>,
}

impl Insight {
    /// Control's report; a process without control can only tell of itself.
    pub(crate) fn report(&self) -> Arc<Report> {
        if let Some(facade) = &self.facade {
            return facade.report();
        }
        let mut report = Report::unknown(self.clock.now());
        report.since = self.started_at;
        report.components = self.own_components();
        let troubled = report.components.iter().filter(|component| component.state.is_trouble());
        let reasons: Vec<String> =
            troubled.map(|component| format!("{}: {}", component.id, component.reason)).collect();
        (report.state, report.reason) = match reasons.is_empty() {
            true => (State::Ok, ON_ITS_OWN.to_owned()),
            false => (State::Degraded, reasons.join("; ")),
        };
        Arc::new(report)
    }

    fn own_components(&self) -> Vec<Component> {
        let now = self.clock.now();
        let (store, since) = match self.publisher.trouble() {
            None => ("the store answers".to_owned(), None),
            Some((why, since)) => (format!("{why}; routes are as they were last known"), Some(since)),
        };
        let state = if since.is_some() { State::Down } else { State::Ok };
        let told = Told { state, reason: store, at: now };
        let config = self.reloader.told();
        vec![
            Component::told(Group::Store, &told, since.unwrap_or(self.started_at)),
            Component::told(Group::Config, &config, config.at),
        ]
    }

    pub(crate) fn is_ready(&self) -> Result<(), String> {
        let routes = self.publisher.generation() > 0;
        match &self.facade {
            _ if !routes => Err("no routes were published yet".to_owned()),
            Some(facade) if !facade.report().is_ready() => Err(facade.report().reason.clone()),
            _ => Ok(()),
        }
    }

    pub(crate) async fn metrics(&self) -> String {
        let dify = async {
            match &self.dify {
                Some(numbers) => Some(numbers.now().await),
                None => None,
            }
        };
        let jobs = self.store.jobs();
        let queue = tokio::time::timeout(ASK_STORE, jobs.stats());
        let (queue, dify) = tokio::join!(queue, dify);
        let applied = self.reloader.applied();
        let slots = self.supervisor.as_ref().map(mainstay_control::Supervisor::list).unwrap_or_default();
        let slos = tokio::time::timeout(ASK_STORE, mainstay_control::slo::view::list(&self.store)).await;
        let slo = SloNow {
            counted: self.slis.as_ref().map(Slis::totals),
            slos: slos.ok().and_then(Result::ok).map(|list| list.slos),
        };
        self.metrics.text(&Now {
            gateway: self.gateway.as_ref().map(Gateway::stats),
            records_unstored: self.unstored.count(),
            generation: self.publisher.generation(),
            queue: queue.ok().and_then(Result::ok),
            slots,
            report: Some(self.report()),
            records_beyond_bound: self.unstored.beyond_bound(),
            config: Some(ConfigNow {
                revision: applied.revision.clone(),
                generation: applied.generation,
                applied_at: applied.at,
                failures: self.reloader.failures(),
                secrets_generation: applied.secrets.generation,
            }),
            state_write_failures: self.files.as_ref().map_or(0, StateFiles::failures),
            otlp: self.otlp.as_ref().map(Otlp::now),
            store_joined: self.publisher.trouble().is_none(),
            standing: self.gateway.as_ref().map(Gateway::standing),
            dify,
            slo,
            notices: self.facade.as_ref().map(|facade| NoticesNow {
                tries: facade.tries(),
                waiting: facade.waiting(),
                at: self.clock.now(),
            }),
        })
    }
}
