//! Synthetic questions to peers that real traffic says nothing about.

use std::time::Duration;

use http::{HeaderMap, Request, header};
use mainstay_base::snapshot::Timeouts;
use mainstay_net::{AddressRule, Body, Client};
use serde_json::json;

use crate::ports::{ProbeKind, ProviderPeer};

/// The whole of one probe, whatever it asks.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);
const TIMEOUTS: Timeouts = Timeouts {
    connect: Duration::from_secs(2),
    first_byte: Duration::from_secs(8),
    idle: Duration::from_secs(2),
    total: DEADLINE,
};
/// A list of models can be long; what is beyond is not looked at.
const MAX_ANSWER_BYTES: usize = 1024 * 1024;
const VERSION_HEADER: &str = "x-version";

/// A Dify refuses a call without a key, and says its version in every answer: that is enough to know that its API
/// process is up, and works behind Dify's own nginx too, which does not pass `/health` on.
pub(crate) async fn dify(client: &Client, base_url: &str) -> Result<(), String> {
    let url = format!("{}/v1/info", base_url.trim_end_matches('/'));
    let request = Request::get(url).body(mainstay_net::empty()).map_err(|error| error.to_string())?;
    let (status, headers) = exchange(client, request).await?;
    match status {
        500.. => Err(format!("answered {status} to a probe")),
        404 if !headers.contains_key(VERSION_HEADER) => {
            Err("answered 404 to a probe, and not as a Dify does: is the base URL right?".to_owned())
        }
        _ => Ok(()),
    }
}

pub(crate) async fn provider(client: &Client, peer: &ProviderPeer) -> Result<(), String> {
    let base = peer.base_url.trim_end_matches('/');
    let request = match &peer.probe {
        ProbeKind::Models => Request::get(format!("{base}/models")),
        ProbeKind::Chat { .. } => {
            Request::post(format!("{base}/chat/completions")).header(header::CONTENT_TYPE, "application/json")
        }
    };
    let request = match &peer.key {
        Some(key) => request.header(header::AUTHORIZATION, format!("Bearer {}", key.expose())),
        None => request,
    };
    let body = match &peer.probe {
        ProbeKind::Models => mainstay_net::empty(),
        ProbeKind::Chat { model } => {
            let question = json!({
                "model": model,
                "messages": [{"role": "user", "content": "ping"}],
                "max_tokens": 1,
                "stream": false,
            });
            mainstay_net::full(question.to_string())
        }
    };
    let (status, _) = exchange(client, request.body(body).map_err(|error| error.to_string())?).await?;
    if (200..300).contains(&status) { Ok(()) } else { Err(format!("answered {status} to a probe")) }
}

async fn exchange(client: &Client, request: Request<Body>) -> Result<(u16, HeaderMap), String> {
    let response =
        client.send(request, &TIMEOUTS, AddressRule::Any).await.map_err(|error| error.to_string())?;
    let (head, body) = response.into_parts();
    mainstay_net::collect(body, MAX_ANSWER_BYTES).await.map_err(|error| error.to_string())?;
    Ok((head.status.as_u16(), head.headers))
}
