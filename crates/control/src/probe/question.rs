//! The shortest question in a provider's dialect, with its credentials.

use http::{HeaderName, HeaderValue, Method, Request, Uri, header};
use mainstay_base::snapshot::{Dialect, Provider, ProviderKey, ProviderSecret};
use mainstay_net::Body;
use mainstay_wire::llm::{self, Facts, Outgoing, bedrock::sign};
use serde::{Deserialize, Serialize};

/// Enough for any dialect's smallest answer.
const MAX_TOKENS: u64 = 5;
const TEXT: &str = "ping";
/// Anthropic wants to be told of which version of its API one speaks, for lists too.
const ANTHROPIC_VERSION: (&str, &str) = ("anthropic-version", "2023-06-01");

/// What a model is for, as far as its name tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Asks {
    Chat,
    Embeddings,
    Rerank,
}

impl Asks {
    /// Providers name their embedding and rerank models so; whatever else there is takes a chat.
    pub fn of(model: &str) -> Asks {
        let model = model.to_ascii_lowercase();
        let has = |words: &[&str]| words.iter().any(|word| model.contains(word));
        match () {
            () if has(&["rerank"]) => Asks::Rerank,
            () if has(&["embed", "bge-", "gte-", "e5-", "minilm"]) => Asks::Embeddings,
            () => Asks::Chat,
        }
    }
}

/// A question that cannot be asked: in words for operators.
pub(super) type Unaskable = String;

/// The list of models; of Bedrock, whose lists are elsewhere, nothing but an answer.
pub(super) fn list(provider: &Provider, key: Option<&ProviderKey>) -> Result<Request<Body>, Unaskable> {
    let base = provider.base_url.trim_end_matches('/');
    let (base, path, query) = match &provider.dialect {
        Dialect::OpenAi | Dialect::Anthropic | Dialect::Gemini => (base, "/models", None),
        Dialect::Azure { api_version } => {
            let base = base.trim_end_matches("/v1").trim_end_matches("/openai");
            (base, "/openai/models", Some(format!("api-version={api_version}")))
        }
        // Version 2 has no list of its own.
        Dialect::Cohere => (base.trim_end_matches("/v2").trim_end_matches("/v1"), "/v1/models", None),
        Dialect::Bedrock { .. } => (base, "/", None),
    };
    let mut headers = Vec::new();
    if provider.dialect == Dialect::Anthropic {
        headers.push((ANTHROPIC_VERSION.0, ANTHROPIC_VERSION.1.to_owned()));
    }
    let outgoing = Outgoing { path: path.to_owned(), query, headers, body: Vec::new() };
    let key = key.filter(|_| !matches!(provider.dialect, Dialect::Bedrock { .. }));
    request(Method::GET, base, provider, key, outgoing, 0)
}

/// A call of this model. `at` in Unix seconds.
pub(super) fn call(
    provider: &Provider,
    key: Option<&ProviderKey>,
    model: &str,
    asks: Asks,
    at: i64,
) -> Result<Request<Body>, Unaskable> {
    let written = match asks {
        Asks::Chat => chat(&provider.dialect, model),
        Asks::Embeddings => llm::embeddings::write_request(&provider.dialect, &embeddings(model)),
        Asks::Rerank => llm::rerank::write_request(&provider.dialect, &rerank(model)),
    };
    let mut outgoing = written.map_err(|error| error.to_string())?;
    let base = provider.base_url.trim_end_matches('/');
    if let Dialect::Azure { api_version } = &provider.dialect {
        let endpoint = outgoing.path.trim_start_matches('/');
        let place =
            llm::azure::path(base, model, endpoint, api_version).map_err(|error| error.to_string())?;
        (outgoing.path, outgoing.query) = (place.path, place.query);
    }
    request(Method::POST, base, provider, key, outgoing, at)
}

fn chat(dialect: &Dialect, model: &str) -> Result<Outgoing, llm::Unwritable> {
    let message =
        llm::Message { role: llm::Role::User, parts: vec![llm::Part::Text(TEXT.to_owned())], name: None };
    let asked = llm::Request {
        model: model.to_owned(),
        messages: vec![message],
        max_tokens: Some(MAX_TOKENS),
        ..llm::Request::default()
    };
    let facts = Facts::default();
    match dialect {
        Dialect::OpenAi | Dialect::Azure { .. } | Dialect::Cohere => {
            llm::openai::write_request(&asked, &facts)
        }
        Dialect::Anthropic => llm::anthropic::write_request(&asked, &facts),
        Dialect::Gemini => llm::gemini::write_request(&asked, &facts),
        Dialect::Bedrock { .. } => llm::bedrock::write_request(&asked, &facts),
    }
}

pub(super) fn embeddings(model: &str) -> llm::embeddings::Request {
    llm::embeddings::Request {
        model: model.to_owned(),
        inputs: vec![llm::embeddings::Input::Text(TEXT.to_owned())],
        ..llm::embeddings::Request::default()
    }
}

pub(super) fn rerank(model: &str) -> llm::rerank::Request {
    llm::rerank::Request {
        model: model.to_owned(),
        query: TEXT.to_owned(),
        documents: vec![llm::rerank::Document::Text(TEXT.to_owned())],
        ..llm::rerank::Request::default()
    }
}

fn request(
    method: Method,
    base: &str,
    provider: &Provider,
    key: Option<&ProviderKey>,
    outgoing: Outgoing,
    at: i64,
) -> Result<Request<Body>, Unaskable> {
    let Outgoing { path, query, headers, body } = outgoing;
    let query = query.unwrap_or_default();
    let mark = if query.is_empty() { "" } else { "?" };
    let uri: Uri = format!("{base}{path}{mark}{query}")
        .parse()
        .map_err(|error| format!("its address {base} cannot be used: {error}"))?;
    let mut request = Request::builder().method(method.clone());
    if !body.is_empty() {
        request = request.header(header::CONTENT_TYPE, "application/json");
    }
    for (name, value) in &headers {
        request = request.header(*name, value);
    }
    for (name, value) in credentials(&method, &uri, provider, key, &headers, &body, at) {
        let mut value = HeaderValue::from_str(&value)
            .map_err(|_| "its key has characters that no header may have".to_owned())?;
        value.set_sensitive(true);
        request = request.header(name, value);
    }
    let body = if body.is_empty() { mainstay_net::empty() } else { mainstay_net::full(body) };
    request.uri(uri).body(body).map_err(|error| error.to_string())
}

fn credentials(
    method: &Method,
    uri: &Uri,
    provider: &Provider,
    key: Option<&ProviderKey>,
    headers: &[(&'static str, String)],
    body: &[u8],
    at: i64,
) -> Vec<(HeaderName, String)> {
    let Some(key) = key else { return Vec::new() };
    match (&key.secret, &provider.dialect) {
        (ProviderSecret::Token(token), dialect) => {
            let token = token.expose();
            vec![match dialect {
                Dialect::Azure { .. } => (HeaderName::from_static("api-key"), token.to_owned()),
                Dialect::Anthropic => (HeaderName::from_static("x-api-key"), token.to_owned()),
                Dialect::Gemini => (HeaderName::from_static("x-goog-api-key"), token.to_owned()),
                Dialect::OpenAi | Dialect::Bedrock { .. } | Dialect::Cohere => {
                    (header::AUTHORIZATION, format!("Bearer {token}"))
                }
            }]
        }
        (
            ProviderSecret::Aws { access_key_id, secret_access_key, session_token },
            Dialect::Bedrock { region },
        ) => {
            let credentials = sign::Credentials {
                access_key_id,
                secret_access_key: secret_access_key.expose(),
                session_token: session_token.as_ref().map(|token| token.expose()),
            };
            let headers: Vec<(&str, &str)> =
                headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let unsigned = sign::Unsigned {
                method: method.as_str(),
                host: uri.authority().map_or("", |authority| authority.as_str()),
                path: uri.path(),
                query: uri.query().unwrap_or_default(),
                headers: &headers,
                body,
                region,
                service: "bedrock",
            };
            let signed = sign::sign(&unsigned, &credentials, at);
            signed.into_iter().filter_map(|(name, value)| Some((name.parse().ok()?, value))).collect()
        }
        (ProviderSecret::Aws { .. }, _) => Vec::new(),
    }
}
