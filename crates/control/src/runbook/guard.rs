//! When a provider must not be taken out.

use crate::{
    health::{Group, Report, State},
    overrides::Overrides,
    ports::{OTHER_MODELS, Peers},
};

/// Whether every model of `provider` has another provider that is in rotation and not known to be in trouble.
pub fn may_detour(
    provider: &str,
    peers: &Peers,
    overrides: &Overrides,
    report: &Report,
) -> Result<(), String> {
    if peers.provider(provider).is_none() {
        return Err(format!("provider {provider} is not in the configuration"));
    }
    match left_alone(provider, peers, overrides, report).first() {
        None => Ok(()),
        Some(model) => {
            Err(format!("without {provider}, no provider that is well would be left for {}", worded(model)))
        }
    }
}

/// The models of `provider` that nobody else would serve who is in rotation and not down.
pub fn left_alone(provider: &str, peers: &Peers, overrides: &Overrides, report: &Report) -> Vec<String> {
    let Some(subject) = peers.provider(provider) else { return Vec::new() };
    let alone = |model: &&str| stand_ins(provider, model, peers, overrides, report).is_empty();
    subject.models().into_iter().filter(alone).map(str::to_owned).collect()
}

/// Who would serve `model` without `provider`: in rotation, and not known to be down.
pub(crate) fn stand_ins(
    provider: &str,
    model: &str,
    peers: &Peers,
    overrides: &Overrides,
    report: &Report,
) -> Vec<String> {
    let is_well = |name: &str| {
        let of_it = |component: &&crate::health::Component| {
            component.group == Group::Provider && component.name == name
        };
        report.components.iter().find(of_it).is_some_and(|component| component.state != State::Down)
    };
    let others = peers.providers.iter().filter(|peer| peer.name() != provider && peer.serves(model));
    let usable = others.filter(|peer| !overrides.drained.contains_key(peer.name()) && is_well(peer.name()));
    usable.map(|peer| peer.name().to_owned()).collect()
}

/// `model gpt`, or what stands for all others.
pub(crate) fn worded(model: &str) -> String {
    if model == OTHER_MODELS { "models without a route".to_owned() } else { format!("model {model}") }
}
