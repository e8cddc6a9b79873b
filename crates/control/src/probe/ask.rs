//! Asks a provider, and says what its answer means.

use std::time::Duration;

use http::{HeaderMap, Request};
use mainstay_base::{
    Class, Clock, Fault, Usd,
    snapshot::{Dialect, Price, Provider, ProviderKey},
};
use mainstay_net::{AddressRule, Body, Client};
use mainstay_wire::llm;
use serde::Serialize;
use tokio::time::Instant;

use super::{
    Asks, MAX_ANSWER_BYTES, TIMEOUTS,
    question::{self, Unaskable},
};
use crate::ports::{ProbeKind, ProviderPeer};

/// Millionths: prices are for a million tokens.
const MILLION: i128 = 1_000_000;
const MAX_WORDS_CHARS: usize = 300;

/// What one real call by hand came to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tested {
    pub provider: String,
    /// The provider's name of it.
    pub model: String,
    /// The key's name; `None`: the provider has none.
    pub key: Option<String>,
    pub asks: Asks,
    pub ok: bool,
    pub status: Option<u16>,
    /// What went wrong, as the gateway would class it.
    pub class: Option<Class>,
    /// In words, the provider's where it had some.
    pub said: Option<String>,
    pub took_ms: u64,
    pub input_tokens: Option<u64>,
    pub output_tokens: Option<u64>,
    /// By the price in the configuration; `None` without one.
    pub cost: Option<Usd>,
}

/// What a synthetic probe says for health.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ProviderProbe {
    /// The provider's or the network's failure; a call that is refused for another reason was answered all the same.
    pub(crate) result: Result<(), String>,
    /// The key that was used, and whether it was refused; `None` when that was not tried.
    pub(crate) key: Option<(String, bool)>,
}

pub(crate) async fn provider(
    client: &Client,
    clock: &Clock,
    peer: &ProviderPeer,
    key: Option<ProviderKey>,
) -> ProviderProbe {
    let key = key.as_ref();
    let provider = &peer.provider;
    let built = match &peer.probe {
        ProbeKind::Models => question::list(provider, key),
        ProbeKind::Chat { model } => {
            question::call(provider, key, model, Asks::of(model), clock.now().unix_seconds())
        }
    };
    let mut answer = match built {
        Ok(request) => exchange(client, provider, request, clock).await,
        Err(unaskable) => return ProviderProbe { result: Err(unaskable), key: None },
    };
    if let ProbeKind::Chat { model } = &peer.probe {
        answer.read(provider, Asks::of(model), model);
    }
    let uses_key = !(peer.probe == ProbeKind::Models && is_bedrock(provider));
    let failure = answer.failure.filter(|_| uses_key || answer.status.is_none_or(|status| status >= 500));
    let class = failure.as_ref().map(|(class, _)| *class);
    let is_verdict = answer.status.is_some() && uses_key;
    ProviderProbe {
        key: key.filter(|_| is_verdict).map(|key| (key.name.clone(), class == Some(Class::BadKey))),
        result: match failure {
            Some((class, words)) if matches!(class.fault(), Fault::Provider | Fault::Network) => {
                Err(match answer.status {
                    Some(status) => format!("answered {status} to a probe: {words}"),
                    None => words,
                })
            }
            _ => Ok(()),
        },
    }
}

fn is_bedrock(provider: &Provider) -> bool {
    matches!(provider.dialect, Dialect::Bedrock { .. })
}

/// One real call with one key.
pub(crate) async fn call(
    client: &Client,
    clock: &Clock,
    provider: &Provider,
    key: Option<&ProviderKey>,
    model: &str,
    price: Option<Price>,
) -> Tested {
    let asks = Asks::of(model);
    let started = Instant::now();
    let mut answer = match question::call(provider, key, model, asks, clock.now().unix_seconds()) {
        Ok(request) => exchange(client, provider, request, clock).await,
        Err(unaskable) => Answer::unasked(unaskable),
    };
    let took_ms = millis(started.elapsed());
    let usage = answer.read(provider, asks, model);
    let (class, said) = answer.failure.unzip();
    Tested {
        provider: provider.name.clone(),
        model: model.to_owned(),
        key: key.map(|key| key.name.clone()),
        asks,
        ok: class.is_none(),
        status: answer.status,
        class,
        said,
        took_ms,
        input_tokens: usage.map(|usage| usage.input),
        output_tokens: usage.map(|usage| usage.output),
        cost: price.zip(usage).map(|(price, usage)| cost(price, &usage)),
    }
}

struct Answer {
    status: Option<u16>,
    failure: Option<(Class, String)>,
    body: Vec<u8>,
}

impl Answer {
    fn unasked(why: Unaskable) -> Answer {
        Answer { status: None, failure: Some((Class::NotConvertible, why)), body: Vec::new() }
    }

    fn failed(status: Option<u16>, class: Class, words: String) -> Answer {
        Answer { status, failure: Some((class, words)), body: Vec::new() }
    }

    /// A status of 200 proves little: the answer has to be one. Notes what it fails by, gives the usage that it tells.
    fn read(&mut self, provider: &Provider, asks: Asks, model: &str) -> Option<llm::Usage> {
        if self.failure.is_some() {
            return None;
        }
        match read(provider, asks, model, &self.body) {
            Ok(usage) => usage,
            Err((class, words)) => {
                self.failure = Some((class, without_keys(provider, &words)));
                None
            }
        }
    }
}

async fn exchange(client: &Client, provider: &Provider, request: Request<Body>, clock: &Clock) -> Answer {
    let response = match client.send(request, &TIMEOUTS, AddressRule::Any).await {
        Ok(response) => response,
        Err(error) => return Answer::failed(None, class_of(error.class()), error.to_string()),
    };
    let (head, body) = response.into_parts();
    let status = head.status.as_u16();
    let body = match mainstay_net::collect(body, MAX_ANSWER_BYTES).await {
        Ok(body) => body.to_vec(),
        Err(error) => return Answer::failed(Some(status), Class::Cut, error.to_string()),
    };
    let told = match head.status.is_success() {
        true => llm::failure::inside(&provider.dialect, &body),
        false => Some(told(provider, status, &head.headers, &body, clock)),
    };
    let failure = told.map(|told| (told.class, without_keys(provider, &told.message)));
    Answer { status: Some(status), failure, body }
}

fn told(
    provider: &Provider,
    status: u16,
    headers: &HeaderMap,
    body: &[u8],
    clock: &Clock,
) -> llm::failure::Told {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    llm::failure::told(&provider.dialect, status, header, body, clock.now().unix_seconds())
}

/// A provider's words, without any of its keys should it repeat one.
fn without_keys(provider: &Provider, words: &str) -> String {
    use mainstay_base::snapshot::ProviderSecret;
    let mut words: String = words.chars().take(MAX_WORDS_CHARS).collect();
    for key in &provider.keys {
        let secrets = match &key.secret {
            ProviderSecret::Token(token) => vec![token.expose()],
            ProviderSecret::Aws { secret_access_key, session_token, .. } => {
                let token = session_token.as_ref().map(|token| token.expose());
                [secret_access_key.expose()].into_iter().chain(token).collect()
            }
        };
        for secret in secrets.into_iter().filter(|secret| !secret.is_empty()) {
            words = words.replace(secret, "…");
        }
    }
    words
}

fn class_of(class: mainstay_net::Class) -> Class {
    use mainstay_net::Class as Net;
    match class {
        Net::Dns => Class::Dns,
        Net::Connect | Net::AddressRefused => Class::Connect,
        Net::ConnectTimeout => Class::ConnectTimeout,
        Net::Tls => Class::Tls,
        Net::FirstByteTimeout => Class::FirstByteTimeout,
        Net::TotalTimeout => Class::TotalTimeout,
        Net::Closed | Net::RequestBody => Class::Closed,
        Net::InvalidRequest => Class::NotConvertible,
    }
}

fn read(
    provider: &Provider,
    asks: Asks,
    model: &str,
    body: &[u8],
) -> Result<Option<llm::Usage>, (Class, String)> {
    if let Err(error) = serde_json::from_slice::<serde::de::IgnoredAny>(body) {
        let class = if error.is_eof() { Class::TruncatedJson } else { Class::NotAnAnswer };
        return Err((class, format!("answered 200 with what is no JSON: {error}")));
    }
    let dialect = &provider.dialect;
    let unreadable = |error: llm::Unreadable| {
        (Class::NotAnAnswer, format!("answered 200 with what is no answer: {error}"))
    };
    match asks {
        Asks::Chat => {
            let answer = read_chat(dialect, body).map_err(unreadable)?;
            // A model that thinks may use up its few tokens without a word; that is an answer, too.
            let is_silent = answer.choices.iter().all(|choice| choice.parts.is_empty());
            match is_silent && answer.usage.is_none_or(|usage| usage.output == 0) {
                true => Err((Class::Empty, "answered 200 without any content".to_owned())),
                false => Ok(answer.usage),
            }
        }
        Asks::Embeddings => {
            let answer = llm::embeddings::read_answer(dialect, &question::embeddings(model), body);
            answer.map(|answer| answer.usage).map_err(unreadable)
        }
        Asks::Rerank => {
            let answer = llm::rerank::read_answer(dialect, &question::rerank(model), body);
            answer.map(|_| None).map_err(unreadable)
        }
    }
}

fn read_chat(dialect: &Dialect, body: &[u8]) -> Result<llm::Answer, llm::Unreadable> {
    match dialect {
        Dialect::OpenAi | Dialect::Azure { .. } | Dialect::Cohere => llm::openai::read_answer(body),
        Dialect::Anthropic => llm::anthropic::read_answer(body),
        Dialect::Gemini => llm::gemini::read_answer(body),
        Dialect::Bedrock { .. } => llm::bedrock::read_answer(body),
    }
}

/// Rounded up to a micro-dollar: a call is never free by rounding.
fn cost(price: Price, usage: &llm::Usage) -> Usd {
    let of = |tokens: u64, price: Usd| i128::from(tokens) * i128::from(price.0.max(0));
    let sum = of(usage.input, price.input) + of(usage.output, price.output);
    Usd(i64::try_from((sum + MILLION - 1) / MILLION).unwrap_or(i64::MAX))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
