//! Alerts that nobody is told of, to see first what they would have told: a list in the store that operators change.

use mainstay_base::Micros;
use mainstay_store::{Store, StoreError};
use serde::{Deserialize, Serialize};

use super::{Labels, Matcher, all_fit};
use crate::overrides;

const SETTING: &str = "alerts.shadow";
/// The label by which an objective says so itself.
pub(crate) const LABEL: &str = "alerting";
pub(crate) const MAX_SHADOWS: usize = 100;

/// Alerts that fit all of these are in the shadow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shadow {
    pub matchers: Vec<String>,
    pub by: String,
    pub why: String,
    pub since: Micros,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shadows {
    pub(crate) shadows: Vec<Shadow>,
}

impl Shadows {
    pub(crate) async fn read(store: &Store) -> Result<Shadows, StoreError> {
        overrides::read(store, SETTING).await.map(|(shadows, _)| shadows)
    }

    pub(crate) async fn change(
        store: &Store,
        actor: &str,
        change: impl Fn(&mut Shadows),
    ) -> Result<(Shadows, Shadows), StoreError> {
        overrides::update(store, SETTING, actor, change).await
    }

    /// Read once a look.
    pub(crate) fn compile(&self) -> Vec<Vec<Matcher>> {
        let read = |shadow: &Shadow| super::parse_all(&shadow.matchers).ok();
        self.shadows.iter().filter_map(read).collect()
    }
}

pub(crate) fn is_shadow(shadows: &[Vec<Matcher>], labels: &Labels) -> bool {
    labels.get(LABEL).is_some_and(|how| how == "shadow")
        || shadows.iter().any(|matchers| all_fit(matchers, labels))
}
