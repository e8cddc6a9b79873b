//! Model providers: how each is, what it serves, what operators may do with it.

use askama::Template;
use mainstay_base::{Micros, listed, standing::KeyStanding};
use mainstay_control::{
    Asks, Component, Drained, FailedOver, OTHER_MODELS, Overrides, Peers, ProviderPeer, Trouble,
};
use mainstay_store::model::{Alert, AlertFilter};
use serde::Serialize;

use super::{
    fleet::{Now, Recent, Tally, TargetRow},
    overview,
};
use crate::{
    App, Failure,
    page::{Chrome, NoQuery, Page},
};

#[derive(Serialize)]
pub(crate) struct Providers {
    pub(crate) providers: Vec<Row>,
    pub(crate) recent: Recent,
    /// Gateways that say how their targets stand.
    pub(crate) gateways: usize,
}

#[derive(Serialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) dialect: &'static str,
    pub(crate) base_url: String,
    pub(crate) state: &'static str,
    pub(crate) reason: String,
    pub(crate) since: Option<Micros>,
    /// Why it is out of rotation.
    pub(crate) drained: Option<String>,
    /// Since when.
    pub(crate) drained_since: Option<Micros>,
    pub(crate) fails_over_to: Option<FailedOver>,
    pub(crate) key_count: usize,
    /// Names of the keys that rest, and those that it refuses.
    pub(crate) keys_resting: Vec<String>,
    pub(crate) models: usize,
    pub(crate) recent: Tally,
}

#[derive(Template)]
#[template(path = "providers.html")]
struct ProvidersHtml<'a> {
    chrome: &'a Chrome,
    page: &'a Providers,
}

impl Page for Providers {
    const SECTION: &'static str = "providers";
    const TOPICS: &'static str = "health runbooks requests beat";
    type Query = NoQuery;

    async fn load(app: &App, _: &str, _: NoQuery) -> Result<Providers, Failure> {
        let (now, recent) = (Now::read(app).await?, Recent::read(app, None).await?);
        let (peers, overrides) = (app.ports.control.peers(), app.ports.control.overrides());
        let row = |peer| row(app, peer, &overrides, &now, &recent);
        let providers = peers.providers.iter().map(row).collect();
        Ok(Providers { providers, recent, gateways: now.instances() })
    }

    fn title(&self) -> String {
        "Providers".to_owned()
    }

    fn html(&self, chrome: &Chrome) -> Result<String, askama::Error> {
        ProvidersHtml { chrome, page: self }.render()
    }
}

fn row(app: &App, peer: &ProviderPeer, overrides: &Overrides, now: &Now, recent: &Recent) -> Row {
    let found = component(app, peer.name());
    let drained = overrides.drained.get(peer.name());
    let resting = |name: &String| {
        let key = now.key(peer.name(), name);
        key.is_some_and(|key| key.rests_until.is_some_and(|until| until > app.ports.clock.now()))
    };
    let names = peer.provider.keys.iter().map(|key| key.name.clone());
    Row {
        name: peer.name().to_owned(),
        dialect: peer.provider.dialect.as_str(),
        base_url: peer.provider.base_url.clone(),
        state: found.as_ref().map_or("unknown", |found| found.state.as_str()),
        reason: found.as_ref().map_or_else(|| "not checked yet".to_owned(), |found| found.reason.clone()),
        since: found.as_ref().map(|found| found.since),
        drained: out_of_rotation(overrides, peer.name()),
        drained_since: drained.map(|drained| drained.since),
        fails_over_to: failover(overrides, peer.name()),
        key_count: peer.provider.keys.len(),
        keys_resting: names.filter(resting).collect(),
        models: peer.models().len(),
        recent: recent.provider(peer.name()),
    }
}

fn component(app: &App, provider: &str) -> Option<Component> {
    overview::report(app).component(&format!("provider:{provider}")).cloned()
}

pub(super) fn out_of_rotation(overrides: &Overrides, provider: &str) -> Option<String> {
    overrides.drained.get(provider).map(Drained::words)
}

pub(super) fn failover(overrides: &Overrides, provider: &str) -> Option<FailedOver> {
    overrides.failovers.iter().find(|failover| failover.from == provider).cloned()
}

/// One provider.
#[derive(Serialize)]
pub(crate) struct ProviderPage {
    #[serde(flatten)]
    pub(crate) row: Row,
    pub(crate) keys: Vec<KeyRow>,
    pub(crate) targets: Vec<TargetRow>,
    /// It answers names that no route mentions.
    pub(crate) takes_other_models: bool,
    /// Its present run of failures, or one that ended minutes ago.
    pub(crate) trouble: Option<Trouble>,
    pub(crate) open_alerts: Vec<Alert>,
    /// Who shares a model with it, and so could take over.
    pub(crate) partners: Vec<String>,
    pub(crate) recent_span_s: u64,
}

#[derive(Serialize)]
pub(crate) struct KeyRow {
    pub(crate) name: String,
    pub(crate) state: &'static str,
    pub(crate) standing: Option<KeyStanding>,
}

impl KeyRow {
    pub(crate) fn until(&self) -> Option<Micros> {
        self.standing.as_ref().and_then(|standing| standing.rests_until).filter(|_| self.state == "resting")
    }

    pub(crate) fn why(&self) -> String {
        let why = self.standing.as_ref().and_then(|standing| standing.why);
        why.filter(|_| self.state != "in use")
            .map_or_else(|| "–".to_owned(), |why| why.as_str().replace('_', " "))
    }
}

#[derive(Template)]
#[template(path = "provider.html")]
struct ProviderHtml<'a> {
    chrome: &'a Chrome,
    page: &'a ProviderPage,
}

impl Page for ProviderPage {
    const SECTION: &'static str = "providers";
    const TOPICS: &'static str = "health runbooks requests alerts beat";
    type Query = NoQuery;

    async fn load(app: &App, name: &str, _: NoQuery) -> Result<ProviderPage, Failure> {
        let (peers, overrides) = (app.ports.control.peers(), app.ports.control.overrides());
        let peer = peers.provider(name).ok_or_else(|| unknown(&peers, name))?;
        let (now, recent) = (Now::read(app).await?, Recent::read(app, None).await?);
        let found = component(app, name);
        let open = AlertFilter { open_only: true, limit: 50, ..AlertFilter::default() };
        let mut open_alerts = app.ports.store.alerts().list(open).await?;
        let keys_of = format!("provider-key:{name}/");
        open_alerts.retain(|alert| {
            alert.subject == format!("provider:{name}") || alert.subject.starts_with(&keys_of)
        });
        Ok(ProviderPage {
            row: row(app, peer, &overrides, &now, &recent),
            keys: keys(app, peer, &now),
            targets: targets(peer, &overrides, &now, &recent),
            takes_other_models: peer.serves(OTHER_MODELS),
            trouble: found.and_then(|found| found.trouble),
            open_alerts,
            partners: partners(&peers, peer),
            recent_span_s: recent.span_s,
        })
    }

    fn title(&self) -> String {
        self.row.name.clone()
    }

    fn html(&self, chrome: &Chrome) -> Result<String, askama::Error> {
        ProviderHtml { chrome, page: self }.render()
    }
}

impl ProviderPage {
    /// The run of failures that is told goes on, or is over and only remembered.
    pub(crate) fn is_in_trouble(&self) -> bool {
        matches!(self.row.state, "degraded" | "down")
    }

    /// Whether a test by hand would ask for a chat, an embedding or a ranking.
    pub(crate) fn asks(&self, model: &str) -> &'static str {
        match Asks::of(model) {
            Asks::Chat => "chat",
            Asks::Embeddings => "embeddings",
            Asks::Rerank => "rerank",
        }
    }
}

pub(super) fn unknown(peers: &Peers, name: &str) -> Failure {
    let known = listed(peers.providers.iter().map(ProviderPeer::name));
    Failure { next: format!("there are: {known}"), ..Failure::not_found("provider", name) }
}

fn keys(app: &App, peer: &ProviderPeer, now: &Now) -> Vec<KeyRow> {
    let report = overview::report(app);
    let row = |name: &String| {
        let standing = now.key(peer.name(), name);
        let is_refused = report
            .component(&format!("provider-key:{}/{name}", peer.name()))
            .is_some_and(|key| key.state.is_trouble());
        let rests = standing.as_ref().and_then(|key| key.rests_until);
        let state = match () {
            () if is_refused => "refused",
            () if rests.is_some_and(|until| until > app.ports.clock.now()) => "resting",
            () => "in use",
        };
        KeyRow { name: name.clone(), state, standing }
    };
    peer.provider.keys.iter().map(|key| row(&key.name)).collect()
}

fn targets(peer: &ProviderPeer, overrides: &Overrides, now: &Now, recent: &Recent) -> Vec<TargetRow> {
    let mut rows: Vec<TargetRow> = Vec::new();
    for served in &peer.serves {
        let Some(model) = &served.target else { continue };
        if let Some(row) = rows.iter_mut().find(|row| row.model == *model) {
            row.asked_as.push(served.model.clone());
            continue;
        }
        rows.push(TargetRow {
            provider: peer.name().to_owned(),
            model: model.clone(),
            asked_as: vec![served.model.clone()],
            priority: 0,
            weight: 1,
            standing: now.target(peer.name(), model),
            recent: recent.target(peer.name(), model),
            drained: out_of_rotation(overrides, peer.name()),
            fails_over_to: failover(overrides, peer.name()).map(|failover| failover.to),
        });
    }
    rows
}

fn partners(peers: &Peers, peer: &ProviderPeer) -> Vec<String> {
    let models = peer.models();
    let shares =
        |other: &&ProviderPeer| other.name() != peer.name() && models.iter().any(|model| other.serves(model));
    peers.providers.iter().filter(shares).map(|other| other.name().to_owned()).collect()
}

/// A span of records in words.
pub(crate) fn span(seconds: &u64) -> String {
    match seconds {
        3_600 => "an hour".to_owned(),
        60 => "a minute".to_owned(),
        seconds => format!("{} minutes", seconds / 60),
    }
}
