//! The one alert that cannot go through the store: that the store is down.
//!
//! Each process that runs control tells the receivers directly, without an outbox: a few tries and then the log has to
//! do. Several processes may tell of the same outage; during one, too many calls are better than none.

use std::{sync::Arc, time::Duration};

use mainstay_base::{Clock, Micros, snapshot::Timeouts};
use mainstay_net::Client;
use mainstay_wire::notify::{self, Answer, Notice, Severity, What};
use tokio::{sync::watch, task::JoinSet};
use tracing::{error, info, warn};

use crate::{
    alert,
    delivery::{Try, tell},
    health::{Component, Group, Report, State},
    options::Options,
};

/// Before each try.
const TRIES: [Duration; 4] =
    [Duration::ZERO, Duration::from_secs(5), Duration::from_secs(20), Duration::from_secs(60)];
/// Calls under way; more are dropped, and the log has them.
const MAX_CALLS: usize = 64;
const TIMEOUTS: Timeouts = Timeouts {
    connect: Duration::from_secs(5),
    first_byte: Duration::from_secs(10),
    idle: Duration::from_secs(5),
    total: Duration::from_secs(15),
};

pub(crate) struct Outage {
    client: Client,
    clock: Clock,
    options: watch::Receiver<Arc<Options>>,
    /// Since when the store is down, once that was told.
    told: Option<Micros>,
    calls: JoinSet<()>,
}

impl Outage {
    pub(crate) fn new(client: Client, clock: Clock, options: watch::Receiver<Arc<Options>>) -> Outage {
        Outage { client, clock, options, told: None, calls: JoinSet::new() }
    }

    /// Tells once when the store has been down for a while, and once when it is back.
    pub(crate) fn look(&mut self, report: &Report, now: Micros) {
        while self.calls.try_join_next().is_some() {}
        let Some(store) = report.component("store") else { return };
        let fire_after = alert::rule_for(Group::Store).map_or(Duration::ZERO, |rule| rule.fire_after);
        match (self.told, store.state) {
            (None, State::Down) if now.since(store.since) >= fire_after => {
                error!(reason = %store.reason, "page: the store is down");
                self.told = Some(store.since);
                self.tell(What::Firing, store.since, store);
            }
            (Some(since), State::Ok) => {
                info!("the store is back after {} s", now.since(since).as_secs());
                self.told = None;
                self.tell(What::Resolved, since, store);
            }
            _ => {}
        }
    }

    fn tell(&mut self, what: What, since: Micros, store: &Component) {
        let notice = Arc::new(notice(what, since, store, self.clock.now()));
        let options = self.options.borrow().clone();
        for receiver in &options.receivers {
            if self.calls.len() >= MAX_CALLS {
                warn!("too many calls about the store are under way; this one is left out");
                return;
            }
            let (client, clock, receiver) = (self.client.clone(), self.clock.clone(), receiver.clone());
            let (notice, id) = (notice.clone(), format!("store-{}-{}", since.0, what.as_str()));
            self.calls.spawn(async move {
                for pause in TRIES {
                    tokio::time::sleep(pause).await;
                    let one = Try { id: &id, may_repeat: false };
                    let told = tell(&client, &receiver, &notice, one, clock.now(), &TIMEOUTS).await;
                    match told.answer {
                        Answer::Delivered => return,
                        Answer::Refused(error) | Answer::Failed { error, .. } => {
                            let what = what.as_str();
                            warn!(receiver = %receiver.name, %error, "cannot tell that the alert about the store is {what}");
                        }
                    }
                }
            });
        }
    }

    pub(crate) async fn shutdown(&mut self) {
        self.calls.shutdown().await;
    }
}

fn notice(what: What, since: Micros, store: &Component, now: Micros) -> Notice {
    let id = format!("store-{}", since.0);
    let state = store.state.as_str();
    let summary = format!("the store is {state}: {}", store.reason);
    Notice {
        what,
        key: id.clone(),
        number: if what == What::Resolved { 2 } else { 1 },
        severity: Severity::Page,
        title: format!("the store is {state}"),
        at: now,
        by: None,
        escalation: None,
        alerts: vec![notify::Alert {
            alert_id: id,
            severity: Severity::Page,
            component: store.id.clone(),
            state: state.to_owned(),
            reason: store.reason.clone(),
            summary,
            cause: String::new(),
            remedy: String::new(),
            labels: store.labels.clone(),
            opened_at: since,
            resolved_at: (what == What::Resolved).then_some(now),
        }],
        more: 0,
    }
}

#[cfg(test)]
mod tests {
    use crate::options::Receiver;
    use mainstay_net::ClientOptions;
    use mainstay_testkit::{HttpServer, http_server::whole, wait_until};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    fn report(state: State, since: Micros) -> Report {
        let component = Component {
            id: "store".to_owned(),
            group: Group::Store,
            name: "store".to_owned(),
            state,
            reason: "connection refused".to_owned(),
            since,
            last_check: None,
            trouble: None,
            finding: None,
            labels: std::collections::BTreeMap::new(),
        };
        Report { components: vec![component], ..Report::unknown(since) }
    }

    #[tokio::test]
    async fn an_outage_of_the_store_is_told_once_and_so_is_its_end() {
        let server = HttpServer::start(|_| async { whole(200, "text/plain", "") }).await;
        let receivers = vec![Receiver::webhook("on-call", &server.url(), None)];
        let client = Client::new(ClientOptions::default()).unwrap();
        let (_, options) = watch::channel(Arc::new(Options { receivers, ..Options::new("test", "here") }));
        let mut outage = Outage::new(client, Clock::manual(Micros(0)), options);
        let at = |seconds: u64| Micros(0) + Duration::from_secs(seconds);
        for second in 0..20 {
            outage.look(&report(State::Down, at(0)), at(second));
        }
        outage.look(&report(State::Unknown, at(20)), at(20));
        outage.look(&report(State::Ok, at(21)), at(21));
        outage.look(&report(State::Ok, at(21)), at(22));
        wait_until("two calls", LIMIT, || async { (server.requests().len() == 2).then_some(()) }).await;
        while outage.calls.join_next().await.is_some() {}
        let mut ids: Vec<String> = server
            .requests()
            .iter()
            .map(|request| request.headers()["webhook-id"].to_str().unwrap().to_owned())
            .collect();
        ids.sort();
        assert_eq!(ids, ["store-0-firing", "store-0-resolved"]);
    }
}
