//! The Dify of the configuration, as the console sees it: the last looks at it, and what can be done about its queues.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use mainstay_console::Dify;
use mainstay_control::{
    Change, Facade,
    doctor::Diagnosis,
    ingest::view,
    queue::{Acted, Action, Latest, NotActed, Watch},
};
use mainstay_dify::{celery::act::Refused, signature::Catalogue};

pub(crate) struct DifyPort {
    pub(crate) name: String,
    pub(crate) facade: Facade,
    /// What errors mean.
    pub(crate) catalogue: Catalogue,
    /// `None`: it names no broker.
    pub(crate) queues: Option<Watch>,
    /// The last look at all of it; `None`: not yet.
    pub(crate) diagnosis: Box<dyn Fn() -> Option<Arc<Diagnosis>> + Send + Sync>,
}

impl Dify for DifyPort {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn queues(&self) -> Option<Arc<Latest>> {
        self.queues.as_ref().map(Watch::latest)
    }

    fn diagnosis(&self) -> Option<Arc<Diagnosis>> {
        (self.diagnosis)()
    }

    fn meaning(&self, signature: &str) -> Option<(String, String)> {
        let (cause, remedy) = view::meaning(&self.catalogue, signature)?;
        Some((cause.to_owned(), remedy.to_owned()))
    }

    fn act(&self, action: Action, change: Change) -> BoxFuture<'_, Result<Acted, NotActed>> {
        Box::pin(async move {
            let Some(watch) = &self.queues else {
                let (why, next) = ("this Dify names no broker", "set [dify.broker] in the configuration");
                let refused = Refused::Guard { why: why.to_owned(), next: next.to_owned(), can_force: false };
                return Err(refused.into());
            };
            self.facade.act_on_queues(watch, action, &change).await
        })
    }
}
