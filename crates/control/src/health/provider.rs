//! Is a model provider well? Real traffic first, then what the gateways' breakers know, then synthetic probes. Its
//! keys are judged for themselves.

use std::time::Duration;

use mainstay_base::{Micros, standing::BreakerState};

use super::{
    Group, PeerFacts, RefusedKey, State, TargetFacts,
    decide::{Verdict, by_probe, by_traffic, traffic_decides},
};

/// A key that is accepted again is still told of for so long, so that its alert can resolve.
const KEY_TOLD: Duration = Duration::from_secs(60);

pub(super) fn verdict(facts: &PeerFacts, now: Micros) -> Verdict {
    let mut verdict = without_keys(facts, now);
    if facts.keys > 0 && facts.keys_refused.len() >= facts.keys {
        let since = facts.keys_refused.iter().map(|refused| refused.since).max();
        let reason = format!("every key is refused: {}", names(&facts.keys_refused));
        verdict = Verdict::new(State::Down, reason, since);
    } else if !facts.keys_refused.is_empty() {
        verdict.reason = format!("{}; key {} refused", verdict.reason, names(&facts.keys_refused));
    }
    if let Some(drained) = &facts.drained {
        verdict.reason = format!("out of rotation ({drained}); {}", verdict.reason);
    }
    verdict
}

fn without_keys(facts: &PeerFacts, now: Micros) -> Verdict {
    let PeerFacts { traffic, probe, targets, .. } = facts;
    if traffic_decides(traffic) {
        let verdict = by_traffic(traffic);
        return match traffic.trouble.as_ref().filter(|trouble| trouble.is_of_one_caller()) {
            Some(trouble) if verdict.state.is_trouble() => {
                let caller = trouble.callers.first().map_or("one caller", String::as_str);
                let reason = format!("{}; only {caller} sees it", verdict.reason);
                Verdict::new(State::Ok, reason, verdict.last_check)
            }
            _ => verdict,
        };
    }
    // Nobody asks a target behind an open breaker, so silence there is no good sign. Out of rotation, nobody asks
    // anyway, and probes decide whether it may come back.
    if facts.drained.is_none()
        && let Some(verdict) = by_breakers(targets, now)
    {
        return verdict;
    }
    match probe {
        Some(probe) => by_probe(probe),
        None if traffic.total() > 0 => by_traffic(traffic),
        None => Verdict::new(State::Unknown, "no traffic and no probe yet", None),
    }
}

fn by_breakers(targets: &[TargetFacts], now: Micros) -> Option<Verdict> {
    // One whose probe is due and that nobody has asked since says nothing any more.
    let is_open = |target: &&TargetFacts| {
        target.breaker == BreakerState::Open && target.probe_at.is_some_and(|probe_at| probe_at > now)
    };
    let open: Vec<&TargetFacts> = targets.iter().filter(is_open).collect();
    if open.is_empty() {
        return None;
    }
    let word = |target: &&TargetFacts| match target.last_failure {
        Some(class) => format!("{} ({})", target.model, class.as_str().replace('_', " ")),
        None => target.model.clone(),
    };
    let models: Vec<String> = open.iter().map(word).collect();
    let state = if open.len() == targets.len() { State::Down } else { State::Degraded };
    let reason =
        format!("the breaker is open for {} of {} models: {}", open.len(), targets.len(), models.join(", "));
    Some(Verdict::new(state, reason, Some(now)))
}

fn names(refused: &[RefusedKey]) -> String {
    refused.iter().map(|refused| refused.key.as_str()).collect::<Vec<_>>().join(", ")
}

/// Each key that is refused, and for a while each that was: its id, its name and how it is.
pub(super) fn keys(
    facts: &PeerFacts,
    previous: impl Fn(&str) -> Option<(State, Micros)>,
    known: &[String],
    now: Micros,
) -> Vec<(String, String, Verdict)> {
    let mut found = Vec::new();
    for refused in &facts.keys_refused {
        let name = format!("{}/{}", facts.name, refused.key);
        let reason =
            format!("{} refuses key {}: replace it, or give it its rights back", facts.name, refused.key);
        found.push((key_id(&name), name, Verdict::new(State::Down, reason, Some(refused.since))));
    }
    for id in known {
        let Some(name) = id.strip_prefix("provider-key:") else { continue };
        let is_ours = name.split_once('/').is_some_and(|(provider, _)| provider == facts.name);
        let is_told = found.iter().any(|(found, _, _)| found == id);
        let is_fresh =
            previous(id).is_some_and(|(state, since)| state != State::Ok || now.since(since) < KEY_TOLD);
        if is_ours && !is_told && is_fresh {
            let verdict = Verdict::new(State::Ok, "it is not refused any more", Some(now));
            found.push((id.clone(), name.to_owned(), verdict));
        }
    }
    found
}

fn key_id(name: &str) -> String {
    format!("{}:{name}", Group::ProviderKey.as_str())
}
