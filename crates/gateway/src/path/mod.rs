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

use std::{net::IpAddr, panic::AssertUnwindSafe};

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
pub(crate) mod share;
pub(crate) mod stream;
pub(crate) mod telemetry;
pub(crate) mod watch;

pub use execute::model::plan::{CandidateExplained, Needs, PassedOver, RouteExplained};
use failure::Failure;

pub(crate) async fn serve(
    gateway: &Gateway,
    path: Path,
    peer: Option<IpAddr>,
    request: Request<Body>,
) -> Response<Body> {
    let mut record = telemetry::Open::new(gateway, path, &request);
    // A panic in a stage or behind a port is one failed request, not a lost connection without a word.
    let admitted = admit(gateway, path, peer, request, &mut record);
    let admitted = match AssertUnwindSafe(admitted).catch_unwind().await {
        Ok(admitted) => admitted,
        Err(panic) => Err(record.interrupted(Failure::panicked(panic.as_ref()))),
    };
    let Admitted { context, call, permit } = match admitted {
        Ok(admitted) => admitted,
        Err(failure) => return compose::reply(Err(failure), record),
    };
    match share::key(&context, &call).map(|key| gateway.shares().enter(key, record.request_id())) {
        None => answer(context, call, permit, record).await,
        Some(share::Entry::Lead(leader)) => leader.answer(answer(context, call, permit, record)).await,
        Some(share::Entry::Follow(follower)) => follower.answer(permit, record).await,
    }
}

/// A call that may be made.
struct Admitted {
    context: bootstrap::Context,
    call: normalize::Call,
    permit: policy::Permit,
}

async fn admit(
    gateway: &Gateway,
    path: Path,
    peer: Option<IpAddr>,
    request: Request<Body>,
    record: &mut telemetry::Open,
) -> Result<Admitted, Failure> {
    let (head, body) = request.into_parts();
    let context = bootstrap::context(gateway, path, peer, &head, record);
    let context = record.stage(StageName::Bootstrap, context)?;
    let call = record.stage(StageName::Normalize, normalize::call(&context, head, body).await)?;
    let permit = record.stage(StageName::Admit, policy::admit(&context, &call).await)?;
    Ok(Admitted { context, call, permit })
}

/// Owns all that it needs: when callers share it, it outlives the one who began it.
async fn answer(
    context: bootstrap::Context,
    call: normalize::Call,
    permit: policy::Permit,
    mut record: telemetry::Open,
) -> Response<Body> {
    let made = AssertUnwindSafe(make(&context, call, permit, &mut record)).catch_unwind().await;
    let outcome = match made {
        Ok(outcome) => outcome,
        Err(panic) => Err(record.interrupted(Failure::panicked(panic.as_ref()))),
    };
    compose::reply(outcome, record)
}

async fn make(
    context: &bootstrap::Context,
    call: normalize::Call,
    permit: policy::Permit,
    record: &mut telemetry::Open,
) -> Result<policy::Checked, Failure> {
    let answer = execute::dispatch(context, call, &permit, record).await;
    let answer = record.stage(StageName::Execute, answer)?;
    record.stage(StageName::Check, policy::check(context, permit, answer))
}
