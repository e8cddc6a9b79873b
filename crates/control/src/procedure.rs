//! What operators do with providers by hand: drain, restore, fail over, test. Each says what it would do (dry run), is
//! refused when it would leave callers without anybody, stands in the timeline under its actor, and names its undo.
//!
//! Promises: an unknown name is refused with the known ones; what is done is a document in the store, so that every
//! process routes by it within a second and a restart forgets nothing.

mod refused;
mod trial;

use mainstay_base::listed;
use mainstay_store::StoreError;
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    facade::{CONTROL, Facade},
    overrides::{self, Drained, FailedOver, Overrides},
    ports::{Peers, ProviderPeer},
    runbook::{left_alone, stand_ins, worded},
};
pub use refused::ProcedureRefused;
pub use trial::TestReport;

/// Who wants it, why, and how seriously.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    pub actor: String,
    pub why: String,
    /// Only say what would be done.
    pub dry_run: bool,
    /// Even if a model is left without anybody.
    pub force: bool,
}

/// One procedure and whom it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    Drain { provider: String },
    Restore { provider: String },
    Failover { from: String, to: String },
    UndoFailover { from: String },
}

/// What was done, or would be.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Procedure {
    pub name: &'static str,
    pub provider: String,
    /// Of a failover.
    pub to: Option<String>,
    pub dry_run: bool,
    /// False for a dry run, and when it was so already.
    pub changed: bool,
    /// In one sentence.
    pub text: String,
    /// What it means for each model that the provider serves.
    pub models: Vec<ModelEffect>,
    /// What to know before it is done.
    pub warnings: Vec<String>,
    /// The command that takes it back.
    pub undo: String,
}

/// One model, and who answers for it then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ModelEffect {
    pub model: String,
    /// Other providers that are in rotation and not down; empty: nobody.
    pub answered_by: Vec<String>,
}

impl Facade {
    pub async fn perform(&self, what: Operation, change: Change) -> Result<Procedure, ProcedureRefused> {
        match what {
            Operation::Drain { provider } => self.drain(&provider, change).await,
            Operation::Restore { provider } => self.restore(&provider, change).await,
            Operation::Failover { from, to } => self.failover(&from, &to, change).await,
            Operation::UndoFailover { from } => self.undo_failover(&from, change).await,
        }
    }

    /// Takes a provider out of rotation until somebody puts it back: others are preferred from the next call on, and it
    /// is tried only when nobody else is left. Calls under way end as they would.
    pub async fn drain(&self, name: &str, change: Change) -> Result<Procedure, ProcedureRefused> {
        let (peers, overrides) = (self.peers(), self.stored_overrides().await?);
        let models = self.effects(find(&peers, name)?, &overrides);
        let alone: Vec<String> = left_alone(name, &peers, &overrides, &self.report());
        if let (false, Some(_)) = (change.force, alone.first()) {
            let models = alone.iter().map(|model| worded(model)).collect();
            return Err(ProcedureRefused::LeftAlone { provider: name.to_owned(), models });
        }
        let before = overrides.drained.get(name);
        let mut done = Procedure {
            changed: before.is_none_or(|drained| !drained.is_by_hand()),
            warnings: alone
                .iter()
                .map(|model| format!("nobody else is left for {}", worded(model)))
                .collect(),
            models,
            ..Procedure::new("drain", name, &change)
        };
        done.undo = format!("mainstay provider restore {name}");
        done.text = match before {
            Some(drained) if drained.is_by_hand() => {
                format!("provider {name} is out of rotation already, by {}: {}", drained.by, drained.reason)
            }
            Some(_) => format!("provider {name} stays out of rotation until somebody puts it back"),
            None => format!("provider {name} goes out of rotation"),
        };
        let drained = Drained {
            reason: change.why.clone(),
            since: self.shared.clock.now(),
            execution_id: None,
            by: change.actor.clone(),
        };
        self.apply(done, &change, move |overrides, name| {
            overrides.drained.insert(name.to_owned(), drained.clone());
        })
        .await
    }

    /// Puts a provider back into rotation, whoever took it out.
    pub async fn restore(&self, name: &str, change: Change) -> Result<Procedure, ProcedureRefused> {
        let (peers, overrides) = (self.peers(), self.stored_overrides().await?);
        let drained = overrides.drained.get(name);
        // One that has left the configuration can still be taken off the list.
        let models = match find(&peers, name) {
            Ok(peer) => self.effects(peer, &overrides),
            Err(_) if drained.is_some() => Vec::new(),
            Err(refused) => return Err(refused),
        };
        let is_down = self.state_of(name) == crate::State::Down;
        let resting = self.resting_keys(name, |_| true).await?;
        let done = Procedure {
            changed: drained.is_some() || !resting.is_empty(),
            text: match drained {
                Some(_) => format!("provider {name} goes back into rotation"),
                None if resting.is_empty() => format!("provider {name} is in rotation already"),
                None => {
                    let keys = resting.into_iter().collect::<Vec<_>>().join(", ");
                    format!(
                        "provider {name} is in rotation already; its resting keys are tried again: {keys}"
                    )
                }
            },
            models,
            warnings: is_down.then(|| format!("{name} is down at the moment")).into_iter().collect(),
            undo: format!("mainstay provider drain {name}"),
            ..Procedure::new("restore", name, &change)
        };
        let now = self.shared.clock.now();
        self.apply(done, &change, |overrides, name| {
            overrides.drained.remove(name);
            overrides.woken.insert(name.to_owned(), now);
        })
        .await
    }

    /// From now on, calls that would go to `from` go to `to` first, wherever a model has both.
    pub async fn failover(
        &self,
        from: &str,
        to: &str,
        change: Change,
    ) -> Result<Procedure, ProcedureRefused> {
        let (peers, overrides) = (self.peers(), self.stored_overrides().await?);
        let (ours, theirs) = (find(&peers, from)?, find(&peers, to)?);
        if from == to {
            return Err(ProcedureRefused::ToItself);
        }
        let (shared, alone): (Vec<&str>, Vec<&str>) =
            ours.models().into_iter().partition(|model| theirs.serves(model));
        if shared.is_empty() {
            let (from, to) = (from.to_owned(), to.to_owned());
            return Err(ProcedureRefused::NothingShared { from, to });
        }
        if let Some(there) = overrides.failover_of(from).filter(|there| there.to != to) {
            let (from, to) = (from.to_owned(), there.to.clone());
            return Err(ProcedureRefused::FailsOverAlready { from, to });
        }
        let obstacle = self.obstacle(to, from, &overrides);
        if let (false, Some(why)) = (change.force, &obstacle) {
            return Err(ProcedureRefused::CannotTakeOver { to: to.to_owned(), why: why.clone() });
        }
        let changed = overrides.failover_of(from).is_none();
        let unchanged = alone.iter().map(|model| format!("{to} has no target for {}", worded(model)));
        let effect = |model: &str| ModelEffect { model: model.to_owned(), answered_by: vec![to.to_owned()] };
        let done = Procedure {
            to: Some(to.to_owned()),
            changed,
            text: if changed {
                format!("calls of {from} go to {to} first")
            } else {
                format!("calls of {from} go to {to} already")
            },
            models: shared.into_iter().map(effect).collect(),
            warnings: unchanged.chain(obstacle.map(|why| format!("{to} is {why}"))).collect(),
            undo: format!("mainstay provider failover {from} --undo"),
            ..Procedure::new("failover", from, &change)
        };
        let failover = FailedOver {
            from: from.to_owned(),
            to: to.to_owned(),
            who: change.actor.clone(),
            why: change.why.clone(),
            at: self.shared.clock.now(),
        };
        self.apply(done, &change, move |overrides, name| {
            overrides.failovers.retain(|there| there.from != name);
            overrides.failovers.push(failover.clone());
        })
        .await
    }

    /// Calls of `from` go by their chains again.
    pub async fn undo_failover(&self, from: &str, change: Change) -> Result<Procedure, ProcedureRefused> {
        let (peers, overrides) = (self.peers(), self.stored_overrides().await?);
        let there = overrides.failover_of(from);
        if there.is_none() {
            find(&peers, from)?;
        }
        let to = there.map(|there| there.to.clone());
        let done = Procedure {
            changed: there.is_some(),
            text: match &to {
                Some(to) => format!("calls of {from} do not go to {to} first any more"),
                None => format!("{from} fails over to nobody"),
            },
            undo: to
                .as_ref()
                .map_or_else(String::new, |to| format!("mainstay provider failover {from} {to}")),
            to,
            ..Procedure::new("failover-undo", from, &change)
        };
        self.apply(done, &change, |overrides, name| overrides.failovers.retain(|there| there.from != name))
            .await
    }

    async fn apply(
        &self,
        mut done: Procedure,
        change: &Change,
        write: impl Fn(&mut Overrides, &str),
    ) -> Result<Procedure, ProcedureRefused> {
        if change.dry_run || !done.changed {
            done.changed = false;
            return Ok(done);
        }
        let kind = format!("provider.{}", done.name);
        let text = format!("{}: {}", done.text, change.why);
        // Written down first: what cannot be written down is not done.
        let asked =
            json!({ "provider": done.provider, "to": done.to, "forced": change.force, "undo": done.undo });
        self.note(&subject(&done.provider), &kind, &change.actor, &text, asked).await?;
        let name = done.provider.clone();
        let (before, after) = overrides::change_overrides(&self.shared.store, &change.actor, |overrides| {
            write(overrides, &name);
        })
        .await?;
        self.note(CONTROL, "override", &change.actor, &text, difference(&before, &after)).await?;
        self.shared.wake.notify_one();
        Ok(done)
    }

    async fn stored_overrides(&self) -> Result<Overrides, StoreError> {
        overrides::overrides(&self.shared.store).await
    }

    fn effects(&self, peer: &ProviderPeer, overrides: &Overrides) -> Vec<ModelEffect> {
        let (peers, report) = (self.peers(), self.report());
        let effect = |model: &str| ModelEffect {
            model: model.to_owned(),
            answered_by: stand_ins(peer.name(), model, &peers, overrides, &report),
        };
        peer.models().into_iter().map(effect).collect()
    }

    fn state_of(&self, provider: &str) -> crate::State {
        let report = self.report();
        report.component(&subject(provider)).map_or(crate::State::Unknown, |component| component.state)
    }

    /// Why `to` should not take over.
    fn obstacle(&self, to: &str, from: &str, overrides: &Overrides) -> Option<String> {
        if overrides.drained.contains_key(to) {
            return Some("out of rotation".to_owned());
        }
        if self.state_of(to) == crate::State::Down {
            return Some("down".to_owned());
        }
        let back = overrides.failover_of(to).filter(|there| there.to == from);
        back.map(|_| format!("failing over to {from} itself"))
    }
}

impl Procedure {
    fn new(name: &'static str, provider: &str, change: &Change) -> Procedure {
        Procedure {
            name,
            provider: provider.to_owned(),
            to: None,
            dry_run: change.dry_run,
            changed: false,
            text: String::new(),
            models: Vec::new(),
            warnings: Vec::new(),
            undo: String::new(),
        }
    }
}

fn subject(provider: &str) -> String {
    format!("provider:{provider}")
}

fn difference(before: &Overrides, after: &Overrides) -> Value {
    let of =
        |overrides: &Overrides| json!({ "drained": overrides.drained, "failovers": overrides.failovers });
    json!({ "before": of(before), "after": of(after) })
}

fn find<'a>(peers: &'a Peers, name: &str) -> Result<&'a ProviderPeer, ProcedureRefused> {
    peers.provider(name).ok_or_else(|| ProcedureRefused::NoProvider {
        name: name.to_owned(),
        known: listed(peers.providers.iter().map(ProviderPeer::name)),
    })
}
