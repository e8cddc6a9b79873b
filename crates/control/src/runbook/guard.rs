//! When the detour must not be taken.

use crate::{
    health::{Group, Report, State},
    overrides::Overrides,
    ports::Peers,
};

/// Stands for all model names that no route mentions.
const OTHER_MODELS: &str = "*";

/// Whether every model of `provider` has another provider that is in rotation and not known to be in trouble.
pub fn may_detour(
    provider: &str,
    peers: &Peers,
    overrides: &Overrides,
    report: &Report,
) -> Result<(), String> {
    let Some(subject) = peers.providers.iter().find(|peer| peer.name == provider) else {
        return Err(format!("provider {provider} is not in the configuration"));
    };
    let is_well = |name: &str| {
        let component = report
            .components
            .iter()
            .find(|component| component.group == Group::Provider && component.name == name);
        component.is_some_and(|component| component.state != State::Down)
    };
    let stands_in = |model: &str| {
        peers.providers.iter().any(|other| {
            other.name != provider
                && other.models.iter().any(|served| served == model)
                && !overrides.drained.contains_key(&other.name)
                && is_well(&other.name)
        })
    };
    match subject.models.iter().find(|model| !stands_in(model)) {
        None => Ok(()),
        Some(model) if model == OTHER_MODELS => Err(format!(
            "without {provider}, no provider that is well would be left for models without a route"
        )),
        Some(model) => {
            Err(format!("without {provider}, no provider that is well would be left for model {model}"))
        }
    }
}
