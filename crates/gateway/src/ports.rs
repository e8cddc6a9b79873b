//! The narrow ports through which the data plane reaches what it must not know.

use std::{future::Future, pin::Pin, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, Method, Response};
use mainstay_base::{Micros, Secret, TraceParent, Usd, snapshot::AppRoute};
use mainstay_net::Body;
use serde_json::Value;

pub type BoxFuture<'a, Output> = Pin<Box<dyn Future<Output = Output> + Send + 'a>>;

/// The embedded engine's Service API.
pub trait Embedded: Send + Sync {
    fn call(&self, call: EmbeddedCall) -> BoxFuture<'static, Response<Body>>;
}

/// One admitted request for the embedded engine.
#[derive(Debug)]
pub struct EmbeddedCall {
    pub route: Arc<AppRoute>,
    pub method: Method,
    /// With its `/v1`.
    pub path: String,
    pub query: Option<String>,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub request_id: String,
    /// The gateway's own span: the parent of whatever the engine does.
    pub trace: TraceParent,
}

/// Runs that survive this process.
pub trait Durable: Send + Sync {
    /// Stores a run and answers 202, or says in Dify's shape why not.
    fn submit(&self, submission: Submission) -> BoxFuture<'static, Response<Body>>;

    /// The answer to `GET /v1/workflows/run/{id}` when the run is one of ours; `None` when it is not.
    fn find(&self, route: Arc<AppRoute>, run_id: String) -> BoxFuture<'static, Option<Response<Body>>>;
}

/// One run to be stored and executed later.
#[derive(Debug)]
pub struct Submission {
    pub route: Arc<AppRoute>,
    pub endpoint: Endpoint,
    pub body: Value,
    /// BLAKE3 of the endpoint and the body's bytes, in hexadecimal: whether a repeated key means the same request.
    pub body_hash: String,
    pub idempotency_key: Option<String>,
    pub callback_url: Option<String>,
    /// The caller's own key, for a run that a real Dify will execute.
    pub key: Secret,
    pub request_id: String,
    pub trace: TraceParent,
}

/// Which run endpoint was called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `POST /v1/workflows/run`
    RunWorkflow,
    /// `POST /v1/workflows/{workflow_id}/run`
    RunWorkflowVersion { workflow_id: String },
    /// `POST /v1/chat-messages`
    ChatMessages,
}

/// The money of virtual keys, kept where all gateways see it: an amount is taken before it is spent, so that several
/// gateways never spend it twice, and one that dies has taken no more than its slice.
pub trait Allowance: Send + Sync {
    /// Takes up to `wanted` of what is left of `limit` in the key's window, and says how much that was; zero when
    /// nothing is left.
    fn take(
        &self,
        key: &str,
        window_start: Micros,
        limit: Usd,
        wanted: Usd,
    ) -> BoxFuture<'static, Result<Usd, Gone>>;

    /// Writes down what was spent beyond what was taken, over the limit if need be.
    fn book(&self, key: &str, window_start: Micros, spent: Usd) -> BoxFuture<'static, Result<(), Gone>>;

    /// Gives back what was taken and not spent. May be lost: then it stays taken.
    fn give_back(&self, key: &str, window_start: Micros, unused: Usd);
}

/// The keeper of allowances did not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store of allowances cannot be reached")]
pub struct Gone;
