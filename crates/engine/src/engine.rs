//! The engine as others hold it.

use std::sync::Arc;

use mainstay_base::{Clock, Secret};
use mainstay_net::{AddressRule, Client};
use tokio_util::sync::CancellationToken;

use crate::{Limits, Plan, RunInput, RunOutcome, Sink, run};

/// What an engine needs from outside.
#[derive(Clone, Debug)]
pub struct Ports {
    pub client: Client,
    pub model: ModelEndpoint,
    /// Which addresses http-request nodes may reach.
    pub http_rule: AddressRule,
    pub limits: Limits,
    pub clock: Clock,
}

/// Where LLM nodes find their models.
#[derive(Clone, Debug)]
pub struct ModelEndpoint {
    /// OpenAI-shaped, with its version part (`http://127.0.0.1:7002/v1`).
    pub base_url: String,
    pub key: Secret,
}

/// Runs plans. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Engine {
    ports: Arc<Ports>,
}

impl Engine {
    pub fn new(ports: Ports) -> Engine {
        Engine { ports: Arc::new(ports) }
    }

    /// Runs a plan to its end. Cancelling `stop` ends it as stopped; dropping the future ends it without an outcome.
    /// With [`Sink::Nobody`] nothing is made only to be told.
    pub async fn run(
        &self,
        plan: &Arc<Plan>,
        input: RunInput,
        sink: Sink,
        stop: CancellationToken,
    ) -> RunOutcome {
        run::run(Arc::clone(&self.ports), Arc::clone(plan), input, sink, stop).await
    }
}
