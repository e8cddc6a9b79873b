//! Where faults are switched: a port of its own, so that every fault can be ended by the way it was begun.

use std::{
    io,
    sync::{Arc, atomic::Ordering},
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    connection::Body,
    door::{Door, TURN_WAIT},
    fault::{Fault, Plan},
    server::{Place, Shared, plain},
};

/// A list of plans is written by hand.
const MAX_BODY_BYTES: usize = 1024 * 1024;

pub(crate) async fn accept(listener: TcpListener, shared: Arc<Shared>, end: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = end.cancelled() => return,
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
        };
        let Ok((stream, _)) = accepted else { continue };
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            let service = hyper::service::service_fn(move |request| serve(Arc::clone(&shared), request));
            let mut builder = hyper::server::conn::http1::Builder::new();
            let _ = builder.timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// `GET` tells, `POST` switches: one plan or a list of plans.
async fn serve(shared: Arc<Shared>, request: Request<Incoming>) -> io::Result<Response<Body>> {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, MAX_BODY_BYTES).collect().await.map_err(io::Error::other)?.to_bytes();
    if head.uri.path() != "/faults" {
        return Ok(plain(
            StatusCode::NOT_FOUND,
            json!({"error": "faults are switched at /faults"}).to_string(),
        ));
    }
    if head.method == Method::POST
        && let Err(error) = switch(&shared, &body).await
    {
        let said = json!({ "error": error, "example": example(), "to end all faults": {"mode": "none"} });
        return Ok(plain(StatusCode::BAD_REQUEST, said.to_string()));
    }
    let plans: Vec<Plan> = shared.running.lock().iter().map(|running| running.plan.clone()).collect();
    let count = shared.count.load(Ordering::Relaxed);
    Ok(plain(StatusCode::OK, json!({ "plans": plans, "calls": count }).to_string()))
}

/// All or nothing, and in force when it returns.
async fn switch(shared: &Shared, body: &Bytes) -> Result<(), String> {
    let plans =
        read(body).map_err(|error| format!("the body is neither a plan nor a list of plans: {error}"))?;
    move_to(shared, place_of(&plans)).await?;
    let door = Door::of(&plans);
    shared.play(plans);
    let mut now = shared.door.subscribe();
    let turned = tokio::time::timeout(TURN_WAIT, now.wait_for(|now| *now == door)).await;
    turned.map(drop).map_err(|_| format!("the listener did not turn within {TURN_WAIT:?}; try again"))
}

fn read(body: &Bytes) -> Result<Vec<Plan>, String> {
    match serde_json::from_slice(body).map_err(|error| error.to_string())? {
        Value::Array(plans) => plans.iter().map(Plan::read).collect(),
        plan => Ok(vec![Plan::read(&plan)?]),
    }
}

/// Of several, the first counts.
fn place_of(plans: &[Plan]) -> Place {
    let place = |plan: &Plan| match plan.fault {
        Fault::Tls => Some(Place::BehindTls),
        Fault::Dns => Some(Place::Unresolvable),
        _ => None,
    };
    plans.iter().find_map(place).unwrap_or(Place::Here)
}

async fn move_to(shared: &Shared, place: Place) -> Result<(), String> {
    let mut now = shared.place.lock().await;
    if *now == place {
        return Ok(());
    }
    let moves = shared.options.moves.as_ref();
    moves.ok_or("nobody here tells callers this provider's address: tls and dns cannot be played")?(place)
        .await?;
    *now = place;
    Ok(())
}

fn example() -> [Plan; 2] {
    let half = Plan { share: 0.5, ..Plan::from(Fault::Status { status: 500 }) };
    let twice = Plan { times: Some(2), ..Plan::from(Fault::Stall { after_events: 3 }) };
    [half, twice]
}
