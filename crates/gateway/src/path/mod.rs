//! The spine: six stages, each a plain function that takes what the one before it gave.
//!
//! | Stage | Takes → gives |
//! | --- | --- |
//! | [`bootstrap`] | request head → [`bootstrap::Context`] |
//! | [`normalize`] | body → [`normalize::Call`] |
//! | [`policy::admit`] | `Call` → [`policy::Permit`] |
//! | [`execute`] | `Call`, `&Permit` → [`execute::Answer`] |
//! | [`policy::check`] | `Permit`, `Answer` → [`policy::Checked`] |
//! | [`compose`] | result → response |
//!
//! [`telemetry`] opens first and closes last: its record is written when it is dropped, however the request ends.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use http::{Request, Response};
use mainstay_base::record::{Path, StageName};
use mainstay_net::Body;

use crate::gateway::Gateway;

pub(crate) mod bootstrap;
pub(crate) mod compose;
pub(crate) mod deliver;
pub(crate) mod drain;
pub(crate) mod execute;
pub(crate) mod failure;
pub(crate) mod headers;
pub(crate) mod normalize;
pub(crate) mod policy;
pub(crate) mod price;
pub(crate) mod stream;
pub(crate) mod telemetry;
pub(crate) mod watch;

use failure::Failure;

pub(crate) async fn serve(gateway: &Gateway, path: Path, request: Request<Body>) -> Response<Body> {
    let mut record = telemetry::Open::new(gateway, path, &request);
    // A panic in a stage or behind a port is one failed request, not a lost connection without a word.
    let outcome = match AssertUnwindSafe(run(gateway, path, request, &mut record)).catch_unwind().await {
        Ok(outcome) => outcome,
        Err(panic) => Err(record.interrupted(Failure::panicked(panic.as_ref()))),
    };
    compose::reply(outcome, record)
}

async fn run(
    gateway: &Gateway,
    path: Path,
    request: Request<Body>,
    record: &mut telemetry::Open,
) -> Result<policy::Checked, Failure> {
    let (head, body) = request.into_parts();
    let context = bootstrap::context(gateway, path, &head, record);
    let context = record.stage(StageName::Bootstrap, context)?;
    let call = record.stage(StageName::Normalize, normalize::call(&context, head, body).await)?;
    let permit = record.stage(StageName::Admit, policy::admit(&context, &call).await)?;
    let answer = execute::dispatch(&context, call, &permit, record).await;
    let answer = record.stage(StageName::Execute, answer)?;
    record.stage(StageName::Check, policy::check(&context, permit, answer))
}
