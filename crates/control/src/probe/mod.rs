//! Synthetic questions to peers that real traffic says nothing about, and by hand to those it does.

mod ask;
mod question;
#[cfg(test)]
mod tests;

use std::time::Duration;

use http::Request;
use mainstay_net::{AddressRule, Client};

pub use ask::Tested;
pub(crate) use ask::{ProviderProbe, call, provider};
pub use question::Asks;

/// The whole of one probe, whatever it asks.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);
const TIMEOUTS: mainstay_base::snapshot::Timeouts = mainstay_base::snapshot::Timeouts {
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
    let response =
        client.send(request, &TIMEOUTS, AddressRule::Any).await.map_err(|error| error.to_string())?;
    let (head, body) = response.into_parts();
    mainstay_net::collect(body, MAX_ANSWER_BYTES).await.map_err(|error| error.to_string())?;
    match head.status.as_u16() {
        status @ 500.. => Err(format!("answered {status} to a probe")),
        404 if !head.headers.contains_key(VERSION_HEADER) => {
            Err("answered 404 to a probe, and not as a Dify does: is the base URL right?".to_owned())
        }
        _ => Ok(()),
    }
}
