//! The combinations of labels that are counted, of which there is a bounded number.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use mainstay_store::{Store, StoreError, model::DifySeries};

/// Beyond this, versions and models that are new are counted together; beyond twice as many, apps too.
const MOST: usize = 5_000;
const OTHER: &str = "other";

#[derive(Default)]
pub(super) struct AllSeries {
    /// By labels; the number in the key is 0.
    all: HashMap<DifySeries, Arc<DifySeries>>,
    stored: HashSet<i64>,
    is_loaded: bool,
}

impl AllSeries {
    pub(super) fn forget(&mut self) {
        *self = AllSeries::default();
    }

    pub(super) async fn load(&mut self, store: &Store, source: &str) -> Result<(), StoreError> {
        if self.is_loaded {
            return Ok(());
        }
        for series in store.dify().series(source).await? {
            self.stored.insert(series.id);
            self.all.insert(DifySeries { id: 0, ..series.clone() }, Arc::new(series));
        }
        self.is_loaded = true;
        Ok(())
    }

    /// The series with these labels.
    pub(super) fn of(&mut self, mut labels: DifySeries) -> Arc<DifySeries> {
        if let Some(known) = self.all.get(&labels) {
            return known.clone();
        }
        if self.all.len() >= MOST {
            for label in [&mut labels.version, &mut labels.model] {
                if !label.is_empty() {
                    OTHER.clone_into(label);
                }
            }
        }
        if self.all.len() >= 2 * MOST {
            OTHER.clone_into(&mut labels.app_id);
            labels.origin.clear();
            labels.provider.clear();
            labels.node_type.truncate(0);
        }
        let numbered = || Arc::new(labels.clone().numbered());
        let series = self.all.get(&labels).cloned().unwrap_or_else(numbered);
        self.all.insert(labels, series.clone());
        series
    }

    /// Those that the store may not have.
    pub(super) fn new_ones(&self) -> Vec<Arc<DifySeries>> {
        if self.all.len() == self.stored.len() {
            return Vec::new();
        }
        self.all.values().filter(|series| !self.stored.contains(&series.id)).cloned().collect()
    }

    pub(super) fn known(&mut self, series: &[Arc<DifySeries>]) {
        self.stored.extend(series.iter().map(|series| series.id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_versions_a_day_do_not_make_series_without_end() {
        let mut all = AllSeries::default();
        for number in 0..100_000 {
            let labels = DifySeries {
                app_id: format!("app-{}", number % 10),
                version: format!("version-{number}"),
                ..DifySeries::default()
            };
            all.of(labels);
        }
        assert!(all.all.len() <= MOST + 20, "{}", all.all.len());
        for number in 0..100_000 {
            all.of(DifySeries { app_id: format!("app-{number}"), ..DifySeries::default() });
        }
        assert!(all.all.len() <= 2 * MOST + 20, "{}", all.all.len());
    }
}
