//! A real call of a provider with each of its keys, and keys that rest.

use std::collections::BTreeSet;

use mainstay_base::{
    Class, Standing, Usd, listed,
    snapshot::{Price, ProviderKey},
};
use mainstay_store::StoreError;
use serde::Serialize;
use serde_json::json;

use super::{ProcedureRefused, find, subject};
use crate::{
    facade::Facade,
    overrides::{self, Overrides},
    ports::{OTHER_MODELS, ProviderPeer},
    probe::{self, Tested},
};

/// Keys that one test tries; a provider has one or two.
const MAX_TESTED_KEYS: usize = 16;

/// The outcome of a test: one call for each key.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TestReport {
    pub provider: String,
    pub model: String,
    pub ok: bool,
    /// Of all calls; `None`: no price is known.
    pub cost: Option<Usd>,
    pub calls: Vec<Tested>,
    /// Keys that had been refused or used up and work again: the gateways use them from now on.
    pub woken: Vec<String>,
}

impl Facade {
    /// One real, short call of a model with each key of the provider, whether or not it is in rotation.
    pub async fn test(
        &self,
        name: &str,
        model: Option<&str>,
        actor: &str,
    ) -> Result<TestReport, ProcedureRefused> {
        let peers = self.peers();
        let peer = find(&peers, name)?;
        let (model, price) = tested_model(peer, model)?;
        let keys = peer.provider.keys.iter().take(MAX_TESTED_KEYS).map(Some);
        let keys: Vec<Option<&ProviderKey>> =
            if peer.provider.keys.is_empty() { vec![None] } else { keys.collect() };
        let (client, clock) = (&self.shared.client, &self.shared.clock);
        let calls =
            keys.into_iter().map(|key| probe::call(client, clock, &peer.provider, key, &model, price));
        let calls = futures_util::future::join_all(calls).await;
        // That a limited key answers once says nothing of its limit.
        let resting = self.resting_keys(name, |why| why != Class::RateLimited).await?;
        let answered = calls.iter().filter(|call| call.ok).filter_map(|call| call.key.clone());
        let woken: Vec<String> = answered.filter(|key| resting.contains(key)).collect();
        for call in &calls {
            if let (Some(key), Some(_)) = (&call.key, call.status) {
                let is_refused = call.class == Some(Class::BadKey);
                self.shared.observer.key_probed(name, key, is_refused, clock.now());
            }
        }
        let costs: Vec<Usd> = calls.iter().filter_map(|call| call.cost).collect();
        let report = TestReport {
            provider: name.to_owned(),
            model,
            ok: calls.iter().all(|call| call.ok),
            cost: (!costs.is_empty()).then(|| costs.into_iter().sum()),
            calls,
            woken,
        };
        let word = if report.ok { "answered" } else { "failed" };
        let text = format!("provider {name} was tested with {}: {word}", report.model);
        let detail = json!({ "provider": name, "test": report });
        self.note(&subject(name), "provider.test", actor, &text, detail).await?;
        if !report.woken.is_empty() {
            self.wake_keys(name, actor).await?;
        }
        Ok(report)
    }

    /// Keys that health knows as refused, and those that any gateway lets rest for such a reason.
    pub(super) async fn resting_keys(
        &self,
        provider: &str,
        counts: impl Fn(Class) -> bool,
    ) -> Result<BTreeSet<String>, StoreError> {
        let (report, now) = (self.report(), self.shared.clock.now());
        let of_it = format!("provider-key:{provider}/");
        let refused = report.components.iter().filter(|component| component.state.is_trouble());
        let refused = refused.filter_map(|component| component.id.strip_prefix(&of_it).map(str::to_owned));
        let stood = self.shared.store.standings().list(Standing::MAX_AGE).await?;
        let rest = stood.iter().flat_map(|stood| &stood.standing.keys).filter(|key| {
            key.provider == provider
                && key.rests_until.is_some_and(|until| until > now)
                && key.why.is_none_or(&counts)
        });
        Ok(refused.chain(rest.map(|key| key.key.clone())).collect())
    }

    /// A gateway lets a refused key rest for minutes; it is told that waiting is over.
    async fn wake_keys(&self, provider: &str, actor: &str) -> Result<(), ProcedureRefused> {
        let now = self.shared.clock.now();
        let wake = |overrides: &mut Overrides| {
            overrides.woken.insert(provider.to_owned(), now);
        };
        overrides::change_overrides(&self.shared.store, actor, wake).await?;
        self.shared.wake.notify_one();
        Ok(())
    }
}

/// The provider's name of the model to ask, by its own name or the callers', and its price.
fn tested_model(
    peer: &ProviderPeer,
    wanted: Option<&str>,
) -> Result<(String, Option<Price>), ProcedureRefused> {
    let provider = || peer.name().to_owned();
    let takes_any = peer.serves(OTHER_MODELS);
    let known = || {
        let targets = peer.serves.iter().filter_map(|served| served.target.as_deref());
        listed(targets.chain(peer.models().into_iter().filter(|model| *model != OTHER_MODELS)))
    };
    let mut targets = peer.serves.iter().filter(|served| served.target.is_some());
    let found = match wanted {
        None => targets.next(),
        Some(wanted) => {
            targets.find(|served| served.target.as_deref() == Some(wanted) || served.model == wanted)
        }
    };
    match (found, wanted) {
        (Some(served), _) => Ok((served.target.clone().unwrap_or_default(), served.price)),
        (None, Some(wanted)) if takes_any => Ok((wanted.to_owned(), None)),
        (None, Some(wanted)) => {
            let (provider, model) = (provider(), wanted.to_owned());
            Err(ProcedureRefused::NoModel { provider, model, known: known() })
        }
        (None, None) => Err(ProcedureRefused::WhichModel { provider: provider() }),
    }
}
