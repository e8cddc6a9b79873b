//! Asking over HTTP, bounded in time and bytes.

use std::time::Duration;

use http::{HeaderMap, Method, Request};
use mainstay_base::{Secret, snapshot::Timeouts};
use mainstay_net::{AddressRule, Body, Client, collect, empty, full};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

/// Of one question. All questions of a probe together have [`super::Component::deadline`].
pub(super) const TIMEOUTS: Timeouts = Timeouts {
    connect: Duration::from_secs(2),
    first_byte: Duration::from_secs(4),
    idle: Duration::from_secs(2),
    total: Duration::from_secs(5),
};
/// The largest that is asked for is the plugin daemon's metrics.
pub(super) const MAX_BYTES: usize = 512 * 1024;

#[derive(Clone, Copy)]
pub(super) struct Ask<'a> {
    pub(super) client: &'a Client,
}

/// An answer of any status.
pub(super) struct Answer {
    /// `GET http://…`, as an operator can repeat it.
    pub(super) asked: String,
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
    pub(super) took: Duration,
}

/// No answer, or one that could not be read to its end.
pub(super) struct NoAnswer {
    pub(super) asked: String,
    pub(super) why: String,
    /// Connected, and then nothing.
    pub(super) is_silent: bool,
}

impl Ask<'_> {
    pub(super) async fn get(self, url: &str, key: Option<(&str, &Secret)>) -> Result<Answer, NoAnswer> {
        self.send(Method::GET, url, key, None, &TIMEOUTS).await
    }

    pub(super) async fn post(
        self,
        url: &str,
        key: Option<(&str, &Secret)>,
        body: &serde_json::Value,
    ) -> Result<Answer, NoAnswer> {
        self.send(Method::POST, url, key, Some(body), &TIMEOUTS).await
    }

    async fn send(
        self,
        method: Method,
        url: &str,
        key: Option<(&str, &Secret)>,
        body: Option<&serde_json::Value>,
        timeouts: &Timeouts,
    ) -> Result<Answer, NoAnswer> {
        let asked = format!("{method} {}", without_login(url));
        let no_answer = |why: String, is_silent| NoAnswer { asked: asked.clone(), why, is_silent };
        let request = request(method, url, key, body).map_err(|error| no_answer(error.to_string(), false))?;
        let began = Instant::now();
        let sent = self.client.send(request, timeouts, AddressRule::Any).await;
        let response = sent.map_err(|error| {
            use mainstay_net::Class;
            let is_silent = matches!(error.class(), Class::FirstByteTimeout | Class::TotalTimeout);
            no_answer(error.to_string(), is_silent)
        })?;
        let took = began.elapsed();
        let (head, body) = response.into_parts();
        let body = collect(body, MAX_BYTES).await;
        let body = body.map_err(|error| no_answer(format!("the answer's body: {error}"), true))?;
        Ok(Answer { asked, status: head.status.as_u16(), headers: head.headers, body: body.to_vec(), took })
    }
}

pub(super) fn request(
    method: Method,
    url: &str,
    key: Option<(&str, &Secret)>,
    body: Option<&serde_json::Value>,
) -> Result<Request<Body>, http::Error> {
    let mut request = Request::builder().method(method).uri(url).header("user-agent", "mainstay-doctor");
    if let Some((name, key)) = key {
        let value = match name {
            "authorization" => format!("Bearer {}", key.expose()),
            _ => key.expose().to_owned(),
        };
        request = request.header(name, value);
    }
    match body {
        None => request.body(empty()),
        Some(body) => request.header("content-type", "application/json").body(full(body.to_string())),
    }
}

impl Answer {
    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    pub(super) fn json<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_slice(&self.body).ok()
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).trim().to_owned()
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Status, where it leads, and the start of the body.
    pub(super) fn said(&self) -> String {
        let place = self.header("location").map_or(String::new(), |place| format!(" to {place}"));
        format!("{}{place} {}", self.status, super::report::cut(&self.text()))
    }
}

/// `user:password@` belongs in no evidence.
fn without_login(url: &str) -> String {
    match url::Url::parse(url) {
        Ok(mut parsed) if !parsed.username().is_empty() || parsed.password().is_some() => {
            let _ = parsed.set_password(None);
            let _ = parsed.set_username("");
            parsed.to_string()
        }
        _ => url.to_owned(),
    }
}
