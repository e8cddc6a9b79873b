//! Deep health of the Dify that the configuration names.

use std::sync::Arc;

use mainstay_control::{deep::Watch, queue};
use mainstay_dify::{db::Reader, probe::Prober};

use super::Base;
use crate::wiring;

impl Base {
    /// Looks at each component of Dify from now on, where the configuration names a Dify.
    pub(super) fn watch_dify(&self, queues: Option<queue::Watch>) -> Option<Watch> {
        let dify = self.config.dify.as_ref()?;
        let plugins = dify.plugin_database.as_ref().map(Reader::new);
        let prober = Prober::with(dify.clone(), self.client.clone(), self.dify_reader.clone(), plugins);
        let watch = Watch::new(Arc::new(prober), queues, self.catalogue.clone(), self.clock.clone())
            .among(self.store.clone(), wiring::instance());
        self.tasks.spawn(watch.clone().run(self.stop.clone()));
        Some(watch)
    }
}
