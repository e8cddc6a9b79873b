//! `[[provider]]`: its dialect, address, keys and models.

use std::{sync::Arc, time::Duration};

use mainstay_base::snapshot::{
    Adaptation, CacheSystem, Dialect, ModelTarget, Offer, Price, Provider, ProviderKey, ProviderSecret,
    TargetLimits, Timeouts,
};

use mainstay_control::ProbeKind;
use mainstay_wire::llm::azure;

use super::{SOME_TIME, check_name, count, http_url, named, timeouts};
use crate::config::{
    reader::Reader,
    secrets::{self, Follow},
};

/// Dollars for a million tokens; the dearest models of today cost a few hundred.
const MAX_PRICE: f64 = 100_000.0;
const MAX_TOKENS: u64 = 1_000_000_000;
const MAX_TOKENS_A_MINUTE: u64 = 1_000_000_000_000;
/// Without these a call is no call any more.
const NEEDED_FIELDS: &[&str] = &["model", "messages", "input", "prompt", "stream"];

/// A provider and what was said of its models: the short list first, then the tables.
pub(in crate::config) struct Declared {
    pub(in crate::config) provider: Arc<Provider>,
    pub(in crate::config) models: Vec<ModelTarget>,
    /// How it is asked whether it is well while nobody calls it.
    pub(in crate::config) probe: ProbeKind,
}

impl Declared {
    /// The target of this name, with all that was said of it; of an undeclared one nothing is known.
    pub(super) fn target(&self, model: &str) -> ModelTarget {
        let known = self.models.iter().find(|target| target.model == model);
        known.cloned().unwrap_or_else(|| ModelTarget::new(Arc::clone(&self.provider), model))
    }
}

pub(super) fn providers(readers: Vec<Reader<'_>>, follow: Follow) -> Vec<Declared> {
    named(readers, "name", |reader, name| {
        if name.contains('/') {
            reader.report("name", "has a /, which separates provider and model in routes");
        } else if !name.bytes().all(|byte| byte.is_ascii_graphic()) {
            reader.report("name", "may hold ASCII letters, digits and signs only: it is sent in headers");
        }
        let dialect = dialect(reader);
        let base_url = base_url(reader, dialect.as_ref());
        let keys = keys(reader, dialect.as_ref(), follow);
        let timeouts = timeouts(reader, DEFAULT_TIMEOUTS);
        let first_token = reader.span("first_token_timeout", SOME_TIME).unwrap_or(timeouts.first_byte);
        if first_token > timeouts.total {
            reader.report("first_token_timeout", "is longer than total_timeout");
        }
        let probe = reader.parsed("probe", probe).unwrap_or_default();
        let short = reader.texts("models").unwrap_or_default();
        let described = named(reader.sections("model"), "name", |reader, name| Some(model(reader, name)));
        let speaks_responses = speaks_responses(reader, dialect.as_ref(), base_url.as_deref());
        let provider = Provider {
            name,
            dialect: dialect?,
            base_url: base_url?,
            keys,
            timeouts,
            first_token,
            speaks_responses,
        };
        let provider = Arc::new(provider);
        let models = models(reader, &provider, &short, described);
        Some(Declared { provider, models, probe })
    })
}

/// `models`, or `chat:MODEL`: a few tokens each time, and proves that completions work.
fn probe(text: &str) -> Result<ProbeKind, String> {
    match text.split_once(':') {
        None if text == "models" => Ok(ProbeKind::Models),
        Some(("chat", model)) if !model.trim().is_empty() => Ok(ProbeKind::Chat { model: model.to_owned() }),
        _ => Err("is neither models nor chat:MODEL".to_owned()),
    }
}

const DEFAULT_TIMEOUTS: Timeouts = Timeouts {
    connect: Duration::from_secs(5),
    first_byte: Duration::from_secs(60),
    idle: Duration::from_secs(60),
    total: Duration::from_secs(600),
};

/// What a table says of a model; the provider is put to it when it is known.
type Described = Box<dyn FnOnce(Arc<Provider>) -> ModelTarget>;

fn models(
    reader: &Reader<'_>,
    provider: &Arc<Provider>,
    short: &[String],
    described: Vec<Described>,
) -> Vec<ModelTarget> {
    let mut models: Vec<ModelTarget> = Vec::new();
    let short = short.iter().map(|name| ModelTarget::new(Arc::clone(provider), name));
    let tables = described.into_iter().map(|describe| describe(Arc::clone(provider)));
    for target in short.chain(tables) {
        check_name(reader, "models", &target.model);
        match models.iter_mut().find(|known| known.model == target.model) {
            Some(_) => reader.report("models", format!("names {} twice (or as a table too)", target.model)),
            None => models.push(target),
        }
    }
    models
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Tongue {
    OpenAi,
    Azure,
    Anthropic,
    Gemini,
    Bedrock,
    Cohere,
}

const TONGUES: &[(&str, Tongue)] = &[
    ("openai", Tongue::OpenAi),
    ("azure", Tongue::Azure),
    ("anthropic", Tongue::Anthropic),
    ("gemini", Tongue::Gemini),
    ("bedrock", Tongue::Bedrock),
    ("cohere", Tongue::Cohere),
];

fn dialect(reader: &Reader<'_>) -> Option<Dialect> {
    let tongue = match reader.is_given("dialect") {
        true => reader.choice("dialect", TONGUES),
        false => Some(Tongue::OpenAi),
    };
    let api_version = own_key(reader, "api_version", tongue, Tongue::Azure, "azure");
    let region = own_key(reader, "region", tongue, Tongue::Bedrock, "bedrock");
    Some(match tongue? {
        Tongue::OpenAi => Dialect::OpenAi,
        Tongue::Azure => Dialect::Azure { api_version: api_version? },
        Tongue::Anthropic => Dialect::Anthropic,
        Tongue::Gemini => Dialect::Gemini,
        Tongue::Bedrock => Dialect::Bedrock { region: region? },
        Tongue::Cohere => Dialect::Cohere,
    })
}

/// A key that one dialect needs and no other has. Both such keys become part of an address.
fn own_key(
    reader: &Reader<'_>,
    key: &'static str,
    tongue: Option<Tongue>,
    owner: Tongue,
    name: &str,
) -> Option<String> {
    let value = reader.parsed(key, |text| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
        match text.bytes().all(plain) {
            true => Ok(text.to_owned()),
            false => Err("may hold letters, digits, - . and _ only".to_owned()),
        }
    });
    match tongue {
        Some(tongue) if tongue == owner && !reader.is_given(key) => {
            reader.report(key, format!("is missing: dialect {name} needs it"));
        }
        Some(tongue) if tongue != owner && value.is_some() => {
            reader.report(key, format!("belongs to dialect {name}"));
        }
        _ => {}
    }
    value
}

/// Where only one address makes sense, it need not be written. Many speak OpenAI's dialect: there a forgotten address
/// would send somebody's key to OpenAI.
fn base_url(reader: &Reader<'_>, dialect: Option<&Dialect>) -> Option<String> {
    let default = match dialect {
        Some(Dialect::Anthropic) => Some("https://api.anthropic.com/v1".to_owned()),
        Some(Dialect::Gemini) => Some("https://generativelanguage.googleapis.com/v1beta".to_owned()),
        Some(Dialect::Cohere) => Some("https://api.cohere.com/v2".to_owned()),
        Some(Dialect::Bedrock { region }) => {
            let china = if region.starts_with("cn-") { ".cn" } else { "" };
            Some(format!("https://bedrock-runtime.{region}.amazonaws.com{china}"))
        }
        Some(Dialect::OpenAi | Dialect::Azure { .. }) | None => None,
    };
    if default.is_none() && dialect.is_some() {
        reader.require("base_url");
    }
    let given = reader.parsed("base_url", |text| {
        let url = http_url(text)?;
        if let Some(Dialect::Azure { api_version }) = dialect {
            is_azure_base(&url, api_version)?;
        }
        Ok(url)
    });
    if reader.is_given("base_url") { given } else { default }
}

/// Since this version Azure has the Responses API under dated paths.
const AZURE_HAS_RESPONSES_SINCE: &str = "2025-03-01";

/// Whether calls of the Responses API pass as they came. Few but OpenAI have all of it: others are asked in the words of
/// Chat Completions unless an operator says otherwise.
fn speaks_responses(reader: &Reader<'_>, dialect: Option<&Dialect>, base_url: Option<&str>) -> bool {
    let said = reader.flag("responses_api");
    match dialect {
        Some(Dialect::OpenAi) => said.unwrap_or_else(|| base_url.is_some_and(is_openais_own)),
        Some(Dialect::Azure { api_version }) => said.unwrap_or_else(|| {
            azure::is_undated(api_version) || api_version.as_str() >= AZURE_HAS_RESPONSES_SINCE
        }),
        Some(_) if said == Some(true) => {
            reader.report("responses_api", "belongs to dialects openai and azure; others are converted");
            false
        }
        _ => false,
    }
}

/// `api.openai.com`, and its regions as `eu.api.openai.com`.
fn is_openais_own(base_url: &str) -> bool {
    let rest = base_url.split_once("://").map_or(base_url, |(_, rest)| rest);
    let host = rest.split(['/', ':', '?']).next().unwrap_or_default();
    host == "api.openai.com" || host.ends_with(".api.openai.com")
}

/// What Azure's portal shows is the address of one deployment; a base is what all have in common.
fn is_azure_base(url: &str, api_version: &str) -> Result<(), String> {
    if url.contains("/deployments") {
        return Err("names a deployment; give the resource, as https://NAME.openai.azure.com".to_owned());
    }
    match !azure::is_undated(api_version) && url.ends_with("/openai/v1") {
        true => Err("ends in /openai/v1, which goes with api_version \"v1\" or \"preview\"".to_owned()),
        false => Ok(()),
    }
}

/// `key = "env:…"` for one, `[[provider.key]]` for several; AWS credentials in either place.
fn keys(reader: &Reader<'_>, dialect: Option<&Dialect>, follow: Follow) -> Vec<ProviderKey> {
    let own = aws(reader, dialect, follow);
    if !reader.is_tables("key") {
        let token = secrets::read(reader, "key", follow).map(ProviderSecret::Token);
        if token.is_some() && own.is_some() {
            reader.report("key", "is given beside access_key_id; give one of them");
        }
        let secret = token.or(own);
        return secret.map(|secret| ProviderKey { name: "key".to_owned(), secret }).into_iter().collect();
    }
    if own.is_some() {
        reader.report("access_key_id", "stands beside [[provider.key]]; put it into one of those");
    }
    let keys = named(reader.sections("key"), "name", |reader, name| {
        let aws = aws(reader, dialect, follow);
        let secret = match aws {
            Some(aws) => aws,
            None if reader.is_given("access_key_id") => return None,
            None => ProviderSecret::Token(secrets::required(reader, "key", follow)?),
        };
        if matches!(secret, ProviderSecret::Aws { .. }) && reader.is_given("key") {
            reader.report("key", "is given beside access_key_id; give one of them");
        }
        Some(ProviderKey { name, secret })
    });
    refuse_doubles(reader, &keys);
    keys
}

fn aws(reader: &Reader<'_>, dialect: Option<&Dialect>, follow: Follow) -> Option<ProviderSecret> {
    let access_key_id = secrets::read(reader, "access_key_id", follow);
    let secret_access_key = secrets::read(reader, "secret_access_key", follow);
    let session_token = secrets::read(reader, "session_token", follow);
    let given = reader.is_given("access_key_id") || reader.is_given("secret_access_key");
    if !given && !reader.is_given("session_token") {
        return None;
    }
    if !matches!(dialect, Some(Dialect::Bedrock { .. }) | None) {
        reader.report("access_key_id", "belongs to dialect bedrock");
        return None;
    }
    reader.require("access_key_id");
    reader.require("secret_access_key");
    Some(ProviderSecret::Aws {
        access_key_id: access_key_id?.expose().to_owned(),
        secret_access_key: secret_access_key?,
        session_token,
    })
}

fn refuse_doubles(reader: &Reader<'_>, keys: &[ProviderKey]) {
    for (index, key) in keys.iter().enumerate() {
        if let Some(twin) = keys[..index].iter().find(|earlier| earlier.secret == key.secret) {
            reader.report("key", format!("{} and {} are the same key", twin.name, key.name));
        }
    }
}

fn model(reader: &Reader<'_>, name: String) -> Described {
    let tokens = |key| reader.number(key, 1..=MAX_TOKENS);
    let known = Offer::default();
    let offer = Offer {
        region: reader.text("region"),
        data_classes: reader.texts("data_classes").unwrap_or_default(),
        context_tokens: tokens("context_tokens"),
        max_output_tokens: tokens("max_output_tokens"),
        tools: reader.flag("tools").unwrap_or(known.tools),
        vision: reader.flag("vision").unwrap_or(known.vision),
        structured_output: reader.flag("structured_output").unwrap_or(known.structured_output),
    };
    if let (Some(context), Some(output)) = (offer.context_tokens, offer.max_output_tokens)
        && output > context
    {
        reader.report("max_output_tokens", "is more than context_tokens, which holds input and output");
    }
    let limits = TargetLimits {
        concurrency: count(reader, "concurrency", 1..=1_000_000),
        requests_a_minute: count(reader, "requests_a_minute", 1..=1_000_000_000),
        tokens_a_minute: reader.number("tokens_a_minute", 1..=MAX_TOKENS_A_MINUTE),
    };
    let (adapt, price) = (adaptation(reader), price(reader));
    Box::new(move |provider| ModelTarget { offer, adapt, limits, price, ..ModelTarget::new(provider, name) })
}

fn adaptation(reader: &Reader<'_>) -> Adaptation {
    let drop_fields = reader.texts("drop_fields").unwrap_or_default();
    for (index, field) in drop_fields.iter().enumerate() {
        if NEEDED_FIELDS.contains(&field.as_str()) {
            reader.report(&format!("drop_fields[{index}]"), format!("is {field}, which a call needs"));
        }
    }
    let names = ["max_tokens", "max_completion_tokens"].map(|name| (name, name));
    Adaptation {
        drop_fields,
        max_tokens_field: reader.choice("max_tokens_field", &names).map(str::to_owned),
        cache_system: match reader.flag("cache_system") {
            Some(true) => CacheSystem::On,
            Some(false) => CacheSystem::Off,
            None => CacheSystem::default(),
        },
    }
}

/// Half a price would let the other half pass as free.
fn price(reader: &Reader<'_>) -> Option<Price> {
    let input = reader.dollars("price_input", MAX_PRICE);
    let output = reader.dollars("price_output", MAX_PRICE);
    let cached_input = reader.dollars("price_cached_input", MAX_PRICE);
    let is_any = ["price_input", "price_output", "price_cached_input"].iter().any(|key| reader.is_given(key));
    if !is_any {
        return None;
    }
    for key in ["price_input", "price_output"] {
        if !reader.is_given(key) {
            reader.report(key, "is missing: give both prices (0 where nothing is billed)");
        }
    }
    Some(Price { input: input?, output: output?, cached_input })
}
