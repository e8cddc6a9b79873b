//! HTTP-request: one request to an address of the app's choosing, under the operator's address rule.

mod request;
mod response;

use std::{sync::Arc, time::Duration};

use base64::Engine as _;
use mainstay_base::{Kind, snapshot::Timeouts};
use mainstay_net::{Class, SendError};
use serde::Deserialize;
use serde_json::{Map, Value};

use self::request::Prepared;
use super::{Context, Done, Failed, Node, NodeResult, NodeType, Role, Step};
use crate::{Fields, compile::NodeCompiler, run::Run, template::Template};

pub(crate) const TYPE: NodeType = NodeType { kind: "http-request", role: Role::Plain, compile };

/// Dify's own limits (`HTTP_REQUEST_MAX_*_TIMEOUT`).
const MAX_CONNECT_S: u64 = 10;
const MAX_READ_S: u64 = 600;

#[derive(Deserialize)]
struct Data {
    method: String,
    #[serde(default)]
    url: String,
    #[serde(default)]
    authorization: Option<AuthorizationData>,
    #[serde(default)]
    headers: String,
    #[serde(default)]
    params: String,
    #[serde(default)]
    body: Option<BodyData>,
    #[serde(default)]
    timeout: Option<TimeoutData>,
    #[serde(default)]
    ssl_verify: Option<bool>,
    #[serde(default)]
    error_strategy: Option<String>,
    #[serde(default)]
    retry_config: Option<Map<String, Value>>,
}

#[derive(Deserialize)]
struct AuthorizationData {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    config: Option<AuthorizationConfig>,
}

#[derive(Deserialize)]
struct AuthorizationConfig {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    api_key: Option<String>,
    #[serde(default)]
    header: Option<String>,
}

#[derive(Deserialize)]
struct BodyData {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    data: Value,
}

#[derive(Deserialize)]
struct BodyItem {
    #[serde(default)]
    key: String,
    #[serde(rename = "type", default)]
    kind: Option<String>,
    #[serde(default)]
    value: Option<String>,
}

#[derive(Deserialize)]
struct TimeoutData {
    #[serde(default)]
    connect: Option<u64>,
    #[serde(default)]
    read: Option<u64>,
}

#[derive(Debug)]
pub(super) struct HttpRequest {
    method: http::Method,
    url: Template,
    authorization: Option<Authorization>,
    headers: Template,
    params: Vec<(Template, Template)>,
    body: Body,
    connect: Duration,
    read: Duration,
    /// Whether an answer that is no success fails the node: only when the app does something about it.
    judges_status: bool,
}

#[derive(Debug)]
struct Authorization {
    header: String,
    scheme: Scheme,
    api_key: Template,
}

#[derive(Clone, Copy, Debug)]
enum Scheme {
    Basic,
    Bearer,
    Custom,
}

#[derive(Debug)]
enum Body {
    None,
    Text(Template),
    Json(Template),
    Form(Vec<(Template, Template)>),
    Multipart(Vec<(Template, Template)>),
}

fn compile(data: &Map<String, Value>, compiler: &mut NodeCompiler<'_, '_>) -> Option<Box<dyn Node>> {
    let data: Data = compiler.read(data)?;
    let method = match data.method.to_ascii_uppercase().as_str() {
        "GET" => http::Method::GET,
        "POST" => http::Method::POST,
        "PUT" => http::Method::PUT,
        "PATCH" => http::Method::PATCH,
        "DELETE" => http::Method::DELETE,
        "HEAD" => http::Method::HEAD,
        "OPTIONS" => http::Method::OPTIONS,
        other => {
            compiler.problem("method", &format!("the method \"{other}\" is not known"));
            return None;
        }
    };
    if data.ssl_verify == Some(false) {
        compiler.problem("ssl_verify", "requests without a check of the certificate are not supported");
    }
    let authorization = compile_authorization(data.authorization, compiler);
    let body = compile_body(data.body, compiler);
    let params = data.params.lines().filter_map(|line| {
        let (key, value) = line.split_once(':').unwrap_or((line, ""));
        let key = key.trim();
        (!key.is_empty()).then(|| (compiler.template(key), compiler.template(value.trim())))
    });
    let params = params.collect();
    let seconds = |given: Option<u64>, most: u64| {
        Duration::from_secs(given.filter(|seconds| *seconds > 0).unwrap_or(most).min(most))
    };
    let timeout = data.timeout.unwrap_or(TimeoutData { connect: None, read: None });
    let retries = data.retry_config.and_then(|retry| retry.get("retry_enabled").and_then(Value::as_bool));
    let has_strategy = data.error_strategy.is_some_and(|strategy| !matches!(strategy.as_str(), "" | "none"));
    Some(Box::new(HttpRequest {
        method,
        url: compiler.template(&data.url),
        authorization,
        headers: compiler.template(&data.headers),
        params,
        body: body?,
        connect: seconds(timeout.connect, MAX_CONNECT_S),
        read: seconds(timeout.read, MAX_READ_S),
        judges_status: has_strategy || retries == Some(true),
    }))
}

fn compile_authorization(
    data: Option<AuthorizationData>,
    compiler: &mut NodeCompiler<'_, '_>,
) -> Option<Authorization> {
    let data = data?;
    match data.kind.as_str() {
        "" | "no-auth" => return None,
        "api-key" => {}
        other => {
            compiler.problem("authorization.type", &format!("the authorization \"{other}\" is not known"));
            return None;
        }
    }
    let Some(config) = data.config else {
        compiler.problem("authorization.config", "authorization config is required");
        return None;
    };
    let scheme = match config.kind.as_str() {
        "basic" => Scheme::Basic,
        "bearer" => Scheme::Bearer,
        "custom" => Scheme::Custom,
        other => {
            compiler
                .problem("authorization.config.type", &format!("the authorization \"{other}\" is not known"));
            return None;
        }
    };
    let header = config.header.filter(|header| !header.is_empty());
    Some(Authorization {
        header: header.unwrap_or_else(|| "Authorization".to_owned()),
        scheme,
        api_key: compiler.template(&config.api_key.unwrap_or_default()),
    })
}

fn compile_body(data: Option<BodyData>, compiler: &mut NodeCompiler<'_, '_>) -> Option<Body> {
    let Some(data) = data else { return Some(Body::None) };
    let items: Vec<BodyItem> = match data.data {
        // The first exports had the whole body as one text.
        Value::String(text) => vec![BodyItem { key: String::new(), kind: None, value: Some(text) }],
        Value::Null => Vec::new(),
        list => match serde_json::from_value(list) {
            Ok(items) => items,
            Err(error) => {
                compiler.problem("body.data", &format!("not readable: {error}"));
                return None;
            }
        },
    };
    let mut one = |items: Vec<BodyItem>| match <[BodyItem; 1]>::try_from(items) {
        Ok([item]) => Some(compiler.template(&item.value.unwrap_or_default())),
        Err(_) => {
            compiler.problem("body.data", &format!("a body of type {} has exactly one item", data.kind));
            None
        }
    };
    match data.kind.as_str() {
        "" | "none" => Some(Body::None),
        "raw-text" => one(items).map(Body::Text),
        "json" => one(items).map(Body::Json),
        "x-www-form-urlencoded" => Some(Body::Form(pairs(items, compiler))),
        "form-data" => {
            if items.iter().any(|item| item.kind.as_deref() == Some("file")) {
                compiler.problem("body.data", "files in a form are not supported");
                return None;
            }
            Some(Body::Multipart(pairs(items, compiler)))
        }
        "binary" => {
            compiler.problem("body.type", "bodies of type binary (a file) are not supported");
            None
        }
        other => {
            compiler.problem("body.type", &format!("the body type \"{other}\" is not known"));
            None
        }
    }
}

fn pairs(items: Vec<BodyItem>, compiler: &mut NodeCompiler<'_, '_>) -> Vec<(Template, Template)> {
    items
        .into_iter()
        .map(|item| (compiler.template(&item.key), compiler.template(&item.value.unwrap_or_default())))
        .collect()
}

impl Node for HttpRequest {
    fn start<'r>(&'r self, context: Context<'_, 'r>) -> Step<'r> {
        let prepared = match Prepared::of(self, &context.view) {
            Ok(prepared) => prepared,
            Err(failed) => return Step::Now(Err(failed)),
        };
        let mut process_data = Fields::with_capacity(1);
        process_data.push("request".into(), Arc::new(Value::String(prepared.log())));
        let run = context.run;
        Step::Later(Box::pin(self.send(run, prepared, Arc::new(process_data))))
    }
}

impl HttpRequest {
    async fn send(&self, run: &Run, prepared: Prepared, process_data: Arc<Fields>) -> NodeResult {
        let timeouts = Timeouts {
            connect: self.connect,
            first_byte: self.read,
            idle: self.read,
            total: run.call_time(),
        };
        let answer = match response::exchange(run, &prepared, &timeouts).await {
            Ok(answer) => answer,
            Err(failed) => return Err(failed.with_process_data(process_data)),
        };
        let status = answer.status;
        let outputs = Arc::new(answer.into_outputs());
        if self.judges_status && !status.is_success() {
            let kind = match status.as_u16() {
                429 | 500.. => Kind::Upstream,
                _ => Kind::Caller,
            };
            let message = format!("Request failed with status code {}", status.as_u16());
            let mut failed =
                Failed::new(message, "HTTPResponseCodeError", kind).with_process_data(process_data);
            failed.outputs = outputs;
            return Err(failed);
        }
        Ok(Done { process_data, outputs, ..Done::default() })
    }
}

impl Authorization {
    fn value(&self, api_key: &str) -> String {
        match self.scheme {
            Scheme::Bearer => format!("Bearer {api_key}"),
            Scheme::Custom => api_key.to_owned(),
            Scheme::Basic if api_key.contains(':') => {
                format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(api_key))
            }
            Scheme::Basic => format!("Basic {api_key}"),
        }
    }
}

/// A failure to get an answer, in Python's words.
fn unsent(error: &SendError, url: &str) -> Box<Failed> {
    let text = error.to_string();
    let message = match error.class() {
        Class::Dns => "[Errno -2] Name or service not known".to_owned(),
        Class::AddressRefused => format!(
            "Access to '{url}' was blocked by SSRF protection. The URL may point to a private or local network \
             address."
        ),
        Class::ConnectTimeout | Class::FirstByteTimeout | Class::TotalTimeout => "timed out".to_owned(),
        Class::Closed => "Server disconnected without sending a response.".to_owned(),
        Class::Connect => errno(&text).unwrap_or(text),
        Class::InvalidRequest | Class::Tls | Class::RequestBody => text,
    };
    Failed::new(message, "HttpRequestNodeError", error.kind())
}

/// `Connection refused (os error 111)` as Python has it: `[Errno 111] Connection refused`.
fn errno(text: &str) -> Option<String> {
    let (before, after) = text.rsplit_once(" (os error ")?;
    let number = after.split_once(')')?.0;
    let what = before.rsplit(": ").next()?;
    Some(format!("[Errno {number}] {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_errors_are_told_as_in_python() {
        let text = "http://127.0.0.1:9: no connection to 127.0.0.1:9: Connection refused (os error 111)";
        assert_eq!(errno(text).as_deref(), Some("[Errno 111] Connection refused"));
        assert_eq!(errno("something else"), None);
    }
}
