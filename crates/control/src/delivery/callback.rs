//! One attempt to tell a caller what came of a run, and of alerts that were enqueued before notices had names.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Request,
    header::{CONTENT_TYPE, RETRY_AFTER, USER_AGENT},
};
use mainstay_net::AddressRule;
use mainstay_store::{
    StoreError,
    model::{Delivery, DeliveryKind},
};
use mainstay_wire::{notify::Channel, webhook};

use super::{
    schedule::{Verdict, retry_after, verdict},
    send::Context,
    tell::AGENT,
};

/// So much of the answer is read, so that the connection can be used again; it is not looked at.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

pub(super) async fn attempt(context: &Context, delivery: &Delivery) -> (Option<u16>, Verdict) {
    let failed = |error: String| Verdict::Failed { error, retry_after: None };
    let body = match body(context, delivery).await {
        Ok(Some(body)) => body,
        Ok(None) => return (None, Verdict::Refused("there is nothing to send: its run is gone".to_owned())),
        Err(error) => return (None, failed(error.to_string())),
    };
    let Way { url, key, rule } = way(context, delivery);
    let request = match request(&url, &delivery.id, key.as_ref(), body, context.clock.now().unix_seconds()) {
        Ok(request) => request,
        Err(error) => return (None, Verdict::Refused(error)),
    };
    let response = match context.client.send(request, &context.timeouts, rule).await {
        Ok(response) => response,
        Err(error) if error.class() == mainstay_net::Class::InvalidRequest => {
            return (None, Verdict::Refused(error.to_string()));
        }
        Err(error) => return (None, failed(error.to_string())),
    };
    let status = response.status().as_u16();
    let wait = header(response.headers(), RETRY_AFTER.as_str())
        .and_then(|value| retry_after(value, context.clock.now()));
    // The answer is what counts; a body that cannot be read only costs the connection.
    let _ = mainstay_net::collect(response.into_body(), MAX_ANSWER_BYTES).await;
    (Some(status), verdict(status, wait))
}

/// Where a delivery goes and how it is signed, by the configuration that is in force now.
struct Way {
    url: String,
    key: Option<webhook::Key>,
    rule: AddressRule,
}

fn way(context: &Context, delivery: &Delivery) -> Way {
    let options = context.options.borrow().clone();
    let url = delivery.url.clone();
    match delivery.kind {
        DeliveryKind::Callback => {
            Way { url, key: options.callback_key.clone(), rule: options.callback_rule.clone() }
        }
        // Its body was made when it was enqueued, by an older version; its receiver is known by its address.
        DeliveryKind::Alert => {
            let key = options.receivers.iter().find_map(|receiver| match &receiver.channel {
                Channel::Webhook { url: known, secret: Some(secret) } if known.expose() == url => {
                    webhook::Key::parse(secret.expose()).ok()
                }
                _ => None,
            });
            Way { url, key, rule: AddressRule::Any }
        }
    }
}

async fn body(context: &Context, delivery: &Delivery) -> Result<Option<Bytes>, StoreError> {
    match (&delivery.payload, &delivery.run_id) {
        (Some(payload), _) => serde_json::to_vec(payload)
            .map(|body| Some(body.into()))
            .map_err(|error| StoreError::Bug(error.to_string())),
        (None, Some(run_id)) => context.callbacks.body(run_id.clone()).await,
        (None, None) => Ok(None),
    }
}

fn request(
    url: &str,
    id: &str,
    key: Option<&webhook::Key>,
    body: Bytes,
    now_seconds: i64,
) -> Result<Request<mainstay_net::Body>, String> {
    let mut request = Request::post(url)
        .header(CONTENT_TYPE, "application/json")
        .header(USER_AGENT, AGENT)
        .header(webhook::HEADER_ID, id)
        .header(webhook::HEADER_TIMESTAMP, HeaderValue::from(now_seconds));
    if let Some(key) = key {
        request = request.header(webhook::HEADER_SIGNATURE, key.sign(id, now_seconds, &body));
    }
    request.body(mainstay_net::full(body)).map_err(|error| format!("the address cannot be called: {error}"))
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
