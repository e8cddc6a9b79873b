//! Sending a request, following where it leads, and reading the answer.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use mainstay_base::{Kind, snapshot::Timeouts};
use mainstay_net::{Body, BodyError, CollectError, collect, full};
use serde_json::{Map, Value, json};
use url::Url;

use super::{request::Prepared, unsent};
use crate::{Fields, node::Failed, run::Run};

/// Dify's client follows 20; each hop is under the address rule again.
const MAX_REDIRECTS: usize = 10;
/// Of a body of unknown sort, what is looked at to tell text from a file.
const SAMPLE_BYTES: usize = 1024;
/// Sorts under `application/` that are text.
const TEXT_MARKS: [&str; 6] = ["json", "xml", "javascript", "x-www-form-urlencoded", "yaml", "graphql"];

pub(super) struct Answer {
    pub(super) status: StatusCode,
    headers: HeaderMap,
    text: String,
}

/// Where the next hop goes and with what.
struct Hop {
    method: Method,
    url: Url,
    body: String,
    keeps_secrets: bool,
}

pub(super) async fn exchange(
    run: &Run,
    prepared: &Prepared,
    timeouts: &Timeouts,
) -> Result<Answer, Box<Failed>> {
    let mut hop = Hop {
        method: prepared.method.clone(),
        url: prepared.url.clone(),
        body: prepared.body.clone(),
        keeps_secrets: true,
    };
    for _ in 0..=MAX_REDIRECTS {
        let request = hop.request(run, prepared)?;
        let rule = run.ports.http_rule.clone();
        let response = run.ports.client.send(request, timeouts, rule).await;
        let response = response.map_err(|error| unsent(&error, hop.url.as_str()))?;
        match hop.next(&response) {
            Some(next) => hop = next,
            None => return read(response, run.ports.limits.max_http_text_bytes).await,
        }
    }
    Err(Failed::new("Exceeded maximum allowed redirects.", "HttpRequestNodeError", Kind::Upstream))
}

impl Hop {
    fn request(&self, run: &Run, prepared: &Prepared) -> Result<Request<Body>, Box<Failed>> {
        let invalid = |error: String| Failed::new(error, "HttpRequestNodeError", Kind::Caller);
        let mut request = Request::builder()
            .method(self.method.clone())
            .uri(self.url.as_str())
            .body(full(self.body.clone()))
            .map_err(|error| invalid(format!("Invalid URL: {error}")))?;
        let headers = request.headers_mut();
        headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static("mainstay"));
        let trace = run.trace.child().to_string();
        headers
            .insert("traceparent", HeaderValue::try_from(trace).map_err(|error| invalid(error.to_string()))?);
        for (name, value) in &prepared.headers {
            let is_secret = prepared.secret.as_ref().is_some_and(|secret| secret.eq_ignore_ascii_case(name));
            let is_of_body = name.to_ascii_lowercase().starts_with("content-");
            if (is_secret && !self.keeps_secrets)
                || (is_of_body && self.body.is_empty() && !prepared.body.is_empty())
            {
                continue;
            }
            let name = HeaderName::try_from(name.as_str())
                .map_err(|_| invalid(format!("Illegal header name {}", crate::python::repr(&json!(name)))))?;
            let value = HeaderValue::try_from(value.as_str())
                .map_err(|_| invalid(format!("Illegal header value of {name}")))?;
            // These two follow from the body and the address, whatever the app says.
            if !matches!(name, header::CONTENT_LENGTH | header::TRANSFER_ENCODING) {
                headers.insert(name, value);
            }
        }
        Ok(request)
    }

    /// The hop that a redirect asks for.
    fn next(&self, response: &Response<Body>) -> Option<Hop> {
        let location = response.headers().get(header::LOCATION)?.to_str().ok()?;
        let url = self.url.join(location).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
        let becomes_get = match response.status() {
            StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND => self.method == Method::POST,
            StatusCode::SEE_OTHER => self.method != Method::HEAD,
            StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => false,
            _ => return None,
        };
        let keeps_secrets = self.keeps_secrets && url.origin() == self.url.origin();
        Some(match becomes_get {
            true => Hop { method: Method::GET, url, body: String::new(), keeps_secrets },
            false => Hop { method: self.method.clone(), url, body: self.body.clone(), keeps_secrets },
        })
    }
}

async fn read(response: Response<Body>, limit: usize) -> Result<Answer, Box<Failed>> {
    let (parts, body) = response.into_parts();
    let bytes = collect(body, limit).await.map_err(|error| match error {
        CollectError::TooLarge { limit_bytes } => Failed::new(
            format!(
                "Text size is too large, max size is {:.2} MB, but the response is larger.",
                limit_bytes as f64 / 1024.0 / 1024.0
            ),
            "ResponseSizeError",
            Kind::Upstream,
        ),
        CollectError::Body(BodyError::Idle(_) | BodyError::Total(_)) => {
            Failed::new("timed out", "HttpRequestNodeError", Kind::Unavailable)
        }
        CollectError::Body(error) => {
            let message = format!("peer closed connection without sending complete message body ({error})");
            Failed::new(message, "HttpRequestNodeError", Kind::Unavailable)
        }
    })?;
    if is_file(&parts.headers, &bytes) {
        let sort = content_type(&parts.headers);
        let message = format!(
            "the response is a file ({sort}, {} bytes); files of responses are not kept by this engine",
            bytes.len()
        );
        return Err(Failed::new(message, "HttpRequestNodeError", Kind::Caller));
    }
    let text = decode(&parts.headers, &bytes);
    Ok(Answer { status: parts.status, headers: parts.headers, text })
}

fn content_type(headers: &HeaderMap) -> &str {
    headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// Whether Dify would keep the answer as a file.
fn is_file(headers: &HeaderMap, bytes: &[u8]) -> bool {
    let disposition =
        headers.get(header::CONTENT_DISPOSITION).and_then(|value| value.to_str().ok()).unwrap_or("");
    let disposition = disposition.to_ascii_lowercase();
    if disposition.starts_with("attachment") || disposition.contains("filename") {
        return true;
    }
    let sort = content_type(headers).split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if sort.is_empty() || bytes.is_empty() {
        return false;
    }
    if let Some(text_sort) = sort.strip_prefix("text/") {
        return text_sort.contains("csv");
    }
    if sort.starts_with("application/") {
        let sample = &bytes[..bytes.len().min(SAMPLE_BYTES)];
        return !TEXT_MARKS.iter().any(|mark| sort.contains(mark))
            && (std::str::from_utf8(sample).is_err_and(|error| error.error_len().is_some())
                || !sample.iter().any(|byte| matches!(byte, b'{' | b'[' | b'<')));
    }
    ["image/", "audio/", "video/"].iter().any(|start| sort.starts_with(start))
}

/// UTF-8, or Latin-1 when the answer says so or is not UTF-8.
fn decode(headers: &HeaderMap, bytes: &[u8]) -> String {
    let says_latin = content_type(headers).to_ascii_lowercase().contains("charset=iso-8859-1");
    match std::str::from_utf8(bytes) {
        Ok(text) if !says_latin => text.to_owned(),
        _ => bytes.iter().copied().map(char::from).collect(),
    }
}

impl Answer {
    pub(super) fn into_outputs(self) -> Fields {
        let mut headers: Map<String, Value> = Map::with_capacity(self.headers.len());
        for (name, value) in &self.headers {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            match headers.get_mut(name.as_str()) {
                Some(Value::String(known)) => {
                    known.push_str(", ");
                    known.push_str(&value);
                }
                _ => {
                    headers.insert(name.as_str().to_owned(), Value::String(value));
                }
            }
        }
        Fields::from([
            ("status_code", json!(self.status.as_u16())),
            ("body", Value::String(self.text)),
            ("headers", Value::Object(headers)),
            ("files", json!([])),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_told_from_texts_as_in_dify() {
        for (content_type, disposition, body, expected) in [
            ("text/plain", "", &b"x"[..], false),
            ("text/csv", "", b"a,b", true),
            ("application/json; charset=utf-8", "", b"{}", false),
            ("application/octet-stream", "", b"\xff\xfe\x00", true),
            ("application/x-unknown", "", b"{\"a\":1}", false),
            ("image/png", "", b"\x89PNG", true),
            ("text/plain", "attachment; filename=a.txt", b"x", true),
            ("", "", b"x", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
            headers.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static(disposition));
            assert_eq!(is_file(&headers, body), expected, "{content_type} {disposition}");
        }
    }
}
