//! What control changes at run time for every process: providers out of rotation, failovers by hand, and the freeze
//! switch. Both are documents in the store with a revision, so that all processes see the same and a restart forgets nothing.

use std::collections::BTreeMap;

use mainstay_base::{Micros, snapshot};
use mainstay_store::{Store, StoreError};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

const OVERRIDES: &str = "control.overrides";
const FREEZE: &str = "control.freeze";
/// Of two who change a document at once, one is refused and tries again; more rounds mean that something is wrong.
const MAX_ROUNDS: usize = 8;

/// What the server puts into the next `Snapshot`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overrides {
    /// Grows with every change.
    pub revision: i64,
    /// Providers out of rotation, and why.
    pub drained: BTreeMap<String, Drained>,
    /// Calls of one provider that go to another first, by hand. One for each provider.
    #[serde(default)]
    pub failovers: Vec<FailedOver>,
    /// Providers whose resting keys are tried again, and since when: a refused one was found to work.
    #[serde(default)]
    pub woken: BTreeMap<String, Micros>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drained {
    pub reason: String,
    pub since: Micros,
    /// The execution that took it out and is to put it back. `None`: a person did, and a person puts it back.
    #[serde(default)]
    pub execution_id: Option<String>,
    /// Who took it out. Empty: a runbook of an older version.
    #[serde(default)]
    pub by: String,
}

impl Drained {
    pub fn is_by_hand(&self) -> bool {
        self.execution_id.is_none()
    }

    /// Who and why, in words. A runbook's reason begins with its own name, which is said once.
    pub fn words(&self) -> String {
        match self.by.as_str() {
            "" => self.reason.clone(),
            by if self.reason.strip_prefix(by).is_some_and(|rest| rest.starts_with(':')) => {
                format!("by {}", self.reason)
            }
            by => format!("by {by}: {}", self.reason),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedOver {
    pub from: String,
    pub to: String,
    pub who: String,
    pub why: String,
    pub at: Micros,
}

impl Overrides {
    /// As they are stored now: for processes that route without running control.
    pub async fn read(store: &Store) -> Result<Overrides, StoreError> {
        overrides(store).await
    }

    /// The value of `Snapshot::model.drained`.
    pub fn drained_providers(&self) -> Vec<String> {
        self.drained.keys().cloned().collect()
    }

    /// The value of `Snapshot::model.failovers`.
    pub fn failovers(&self) -> Vec<snapshot::Failover> {
        let pair = |one: &FailedOver| snapshot::Failover { from: one.from.clone(), to: one.to.clone() };
        self.failovers.iter().map(pair).collect()
    }

    /// The value of `Snapshot::model.woken`.
    pub fn woken(&self) -> Vec<(String, Micros)> {
        self.woken.iter().map(|(provider, at)| (provider.clone(), *at)).collect()
    }

    pub(crate) fn failover_of(&self, from: &str) -> Option<&FailedOver> {
        self.failovers.iter().find(|failover| failover.from == from)
    }
}

/// While frozen, runbooks do not act by themselves: they only say what they would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Freeze {
    pub frozen: bool,
    pub by: String,
    pub why: String,
    pub since: Micros,
}

pub(crate) async fn overrides(store: &Store) -> Result<Overrides, StoreError> {
    let (mut overrides, revision) = read::<Overrides>(store, OVERRIDES).await?;
    overrides.revision = revision;
    Ok(overrides)
}

pub(crate) async fn freeze(store: &Store) -> Result<Freeze, StoreError> {
    read(store, FREEZE).await.map(|(freeze, _)| freeze)
}

/// Changes the overrides; gives them before and after.
pub(crate) async fn change_overrides(
    store: &Store,
    actor: &str,
    change: impl Fn(&mut Overrides),
) -> Result<(Overrides, Overrides), StoreError> {
    update(store, OVERRIDES, actor, change).await
}

pub(crate) async fn set_freeze(store: &Store, freeze: Freeze) -> Result<(Freeze, Freeze), StoreError> {
    let actor = freeze.by.clone();
    update(store, FREEZE, &actor, move |stored| *stored = freeze.clone()).await
}

pub(crate) async fn read<T: DeserializeOwned + Default>(
    store: &Store,
    name: &str,
) -> Result<(T, i64), StoreError> {
    let Some(setting) = store.settings().get(name).await? else { return Ok((T::default(), 0)) };
    let value = serde_json::from_value(setting.value)
        .map_err(|error| StoreError::Bug(format!("the stored setting {name} cannot be read: {error}")))?;
    Ok((value, setting.revision))
}

pub(crate) async fn update<T>(
    store: &Store,
    name: &str,
    actor: &str,
    change: impl Fn(&mut T),
) -> Result<(T, T), StoreError>
where
    T: Serialize + DeserializeOwned + Default + Clone,
{
    for _ in 0..MAX_ROUNDS {
        let (before, revision) = read::<T>(store, name).await?;
        let mut after = before.clone();
        change(&mut after);
        let value = serde_json::to_value(&after).map_err(|error| StoreError::Bug(error.to_string()))?;
        if store.settings().put(name, value, revision, actor).await? {
            return Ok((before, after));
        }
    }
    Err(StoreError::Unavailable(format!(
        "the setting {name} was changed by others {MAX_ROUNDS} times in a row"
    )))
}
