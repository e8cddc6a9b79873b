//! From configuration to what each plane is given. Pure: nothing is started here.

use std::{sync::Arc, time::Duration};

use mainstay_base::{Secret, snapshot::Target};
use mainstay_control::{
    Peers, ProviderPeer, UpstreamPeer,
    delivery::{Templates, Trust},
};
use mainstay_gateway::ListenLimits;
use mainstay_wire::webhook;

use crate::{
    config::{self, Config, EMBEDDED, Problem, Receiver},
    orders::{self, Orders, UpstreamApp, millis},
    routes::declared_id,
};

/// How long answers in progress may take to end once shutdown has begun, on each listener.
pub(crate) const LISTEN_GRACE: Duration = Duration::from_secs(10);
/// How long streams whose callers left may then be read on for their usage.
pub(crate) const DRAIN_GRACE: Duration = Duration::from_secs(5);

/// What every worker is told, and what this process makes its own engine from. `model_url` is that of the own model
/// listener, if there is one.
pub(crate) fn orders(config: &Config, engine_key: &Secret, model_url: Option<String>) -> Orders {
    let fallback = || format!("http://{}/v1", config.listeners.model);
    let (upstreams, upstream_apps) = upstreams(config);
    Orders {
        slot: 0,
        worker_id: String::new(),
        host: host(),
        store_url: config.store_url.expose().to_owned(),
        concurrency: config.workers.concurrency,
        lease_ms: millis(config.workers.lease),
        grace_ms: millis(config.workers.grace),
        run_timeout_ms: millis(config.engine.run_timeout),
        model_url: config.engine.model_url.clone().or(model_url).unwrap_or_else(fallback),
        model_key: engine_key.expose().to_owned(),
        http_request: config.engine.http_request.clone(),
        upstreams,
        upstream_apps,
        log_json: config.log.json,
        log_filter: config.log.filter.clone(),
    }
}

/// The part of orders that a reload may change.
pub(crate) fn upstreams(config: &Config) -> (Vec<orders::Upstream>, Vec<UpstreamApp>) {
    let upstream = |upstream: &Arc<mainstay_base::snapshot::Upstream>| match &upstream.target {
        Target::Http { base_url } => {
            Some(orders::Upstream::new(&upstream.name, base_url, &upstream.timeouts))
        }
        Target::Embedded => None,
    };
    let upstream_app =
        |app: &config::App| UpstreamApp { app_id: declared_id(&app.name), key: app.key.expose().to_owned() };
    let upstreams = config.upstreams.iter().filter_map(upstream).collect();
    (upstreams, config.apps.iter().map(upstream_app).collect())
}

/// The Dify whose database is read, by the name under which what is read is kept.
pub(crate) fn dify_source(config: &Config) -> Option<String> {
    config.dify.as_ref().filter(|dify| dify.database.is_some()).map(|dify| dify.name.clone())
}

/// How this process is called among several: `host:pid`.
pub(crate) fn instance() -> String {
    format!("{}:{}", host(), std::process::id())
}

fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

pub(crate) fn listen_limits(config: &Config) -> ListenLimits {
    ListenLimits {
        max_connections: config.limits.connections,
        shutdown_grace: LISTEN_GRACE,
        ..ListenLimits::default()
    }
}

/// Its errors name a key that cannot be used; `check` finds those before.
pub(crate) fn control_options(config: &Config) -> Result<mainstay_control::Options, Problem> {
    let mut options = mainstay_control::Options::new(instance(), host());
    options.dify_source = dify_source(config);
    options.receivers = receivers(config);
    options.alerting = config.alerting.clone();
    options.heartbeat = config.heartbeat.as_ref().map(|heartbeat| mainstay_control::options::Heartbeat {
        url: heartbeat.url.clone(),
        every: heartbeat.every,
    });
    options.callback_key =
        config.callbacks.secret.as_ref().map(|secret| key("callbacks", secret)).transpose()?;
    options.callback_rule = config.callbacks.reach.rule();
    options.retention.runs = config.retention.runs;
    options.retention.records = config.retention.records;
    options.longest_run = config.engine.run_timeout;
    Ok(options)
}

/// Who is told of alerts.
pub(crate) fn receivers(config: &Config) -> Vec<mainstay_control::Receiver> {
    let receiver = |receiver: &Receiver| {
        let Receiver { name, channel, min_severity, title, body, ca } = receiver;
        let templates = Templates::new(title.as_deref(), body.as_deref(), channel.kind());
        mainstay_control::Receiver {
            name: name.clone(),
            channel: channel.clone(),
            min_severity: *min_severity,
            // They were tried when the configuration was read.
            templates: templates.unwrap_or_default(),
            trust: ca.as_ref().and_then(|pem| Trust::new(pem).ok()),
        }
    };
    config.receivers.iter().map(receiver).collect()
}

fn key(section: &str, secret: &Secret) -> Result<webhook::Key, Problem> {
    let unusable = |error: webhook::KeyError| Problem {
        path: format!("{section}.secret"),
        message: format!("cannot sign webhooks: {error}"),
    };
    webhook::Key::parse(secret.expose()).map_err(unusable)
}

/// Who is called, as health and runbooks see them.
pub(crate) fn peers(config: &Config) -> Peers {
    let mut upstreams: Vec<UpstreamPeer> = config
        .upstreams
        .iter()
        .map(|upstream| UpstreamPeer {
            name: upstream.name.clone(),
            base_url: match &upstream.target {
                Target::Http { base_url } => Some(base_url.clone()),
                Target::Embedded => None,
            },
        })
        .collect();
    if config.engine.enabled {
        upstreams.push(UpstreamPeer { name: EMBEDDED.to_owned(), base_url: None });
    }
    let takes_others = |name: &str| config.model.other_models_to.iter().any(|other| other.name == name);
    let providers = config.providers.iter().map(|provider| {
        let models = config.model.routes.iter().map(|model| &**model);
        let probe = config.probes.get(&provider.name).cloned().unwrap_or_default();
        ProviderPeer::new(provider, models, takes_others(&provider.name), probe)
    });
    let providers = providers.collect();
    Peers { upstreams, providers }
}
