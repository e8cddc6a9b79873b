//! The peers: each configured as its own documentation says, in front of the same mock, with nothing on that it can do
//! without. Mainstay alone has everything on.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::Context;
use mainstay_bench::spawned::{Spawned, free_port};

use crate::Options;

/// Two processes' worth of threads for everyone who can be told.
const THREADS: usize = 2;
const START: Duration = Duration::from_secs(20);
/// Python imports for long on a busy machine.
const LITELLM_START: Duration = Duration::from_secs(180);

pub(crate) struct Peer {
    pub(crate) name: &'static str,
    /// What its calls need beyond the usual, as arguments of the load.
    pub(crate) arguments: Vec<String>,
    pub(crate) running: Spawned,
}

pub(crate) const NAMES: [&str; 6] = ["direct", "nginx", "envoy", "mainstay", "portkey", "litellm"];

/// Starts one peer in front of `mock`; `direct` is the mock itself, so nothing is started for it.
pub(crate) fn start(
    name: &'static str,
    options: &Options,
    folder: &Path,
    mock: &str,
) -> anyhow::Result<Peer> {
    let running = match name {
        "nginx" => nginx(folder, mock)?,
        "envoy" => envoy(options.venv.as_deref().context("no --venv")?, folder, mock)?,
        "mainstay" => mainstay(&options.mainstay, folder, mock)?,
        "portkey" => portkey(options.portkey.as_deref().context("no --portkey")?, folder)?,
        "litellm" => litellm(options.venv.as_deref().context("no --venv")?, folder, mock)?,
        other => anyhow::bail!("there is no peer {other}"),
    };
    let arguments = match name {
        "portkey" => vec![
            "--header".to_owned(),
            "x-portkey-provider: openai".to_owned(),
            "--header".to_owned(),
            format!("x-portkey-custom-host: http://{mock}/v1"),
        ],
        _ => Vec::new(),
    };
    Ok(Peer { name, arguments, running })
}

fn nginx(folder: &Path, mock: &str) -> anyhow::Result<Spawned> {
    let port = free_port()?;
    let config = folder.join("nginx.conf");
    let text = format!(
        "daemon off; pid {0}/nginx.pid; error_log {0}/nginx.err; worker_processes {THREADS};\n\
         events {{ worker_connections 4096; }}\n\
         http {{ access_log off; client_body_temp_path {0}/b; proxy_temp_path {0}/p; fastcgi_temp_path {0}/f; uwsgi_temp_path {0}/u; scgi_temp_path {0}/s;\n\
         client_body_buffer_size 64k; keepalive_requests 100000000;\n\
         upstream mock {{ server {mock}; keepalive 256; keepalive_requests 100000000; }}\n\
         server {{ listen 127.0.0.1:{port} reuseport; location / {{ proxy_pass http://mock; proxy_http_version 1.1; proxy_set_header Connection \"\";\n\
         proxy_buffering off; }} }} }}\n",
        folder.display()
    );
    std::fs::write(&config, text)?;
    let mut command = Command::new("nginx");
    command.arg("-c").arg(&config);
    Spawned::listening(&mut command, port, &folder.join("nginx.out"), START)
}

fn envoy(venv: &Path, folder: &Path, mock: &str) -> anyhow::Result<Spawned> {
    let port = free_port()?;
    let (host, mock_port) = mock.rsplit_once(':').context("the mock has no port")?;
    let config = folder.join("envoy.yaml");
    let text = format!(
        r#"static_resources:
  listeners:
  - address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: bench
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes: [{{ match: {{ prefix: "/" }}, route: {{ cluster: mock, timeout: 0s }} }}]
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{ "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }}
  clusters:
  - name: mock
    type: STATIC
    connect_timeout: 2s
    load_assignment:
      cluster_name: mock
      endpoints: [{{ lb_endpoints: [{{ endpoint: {{ address: {{ socket_address: {{ address: {host}, port_value: {mock_port} }} }} }} }}] }}]
"#
    );
    std::fs::write(&config, text)?;
    let mut command = Command::new(venv.join("bin/envoy"));
    command.arg("-c").arg(&config).args(["--concurrency", &THREADS.to_string(), "--log-level", "error"]);
    Spawned::listening(&mut command, port, &folder.join("envoy.out"), START)
}

/// Every policy on: a virtual key with limits and a budget, a price, a chain of two, breaker, hedging, records.
fn mainstay(binary: &Path, folder: &Path, mock: &str) -> anyhow::Result<Spawned> {
    let config = folder.join("mainstay.toml");
    std::fs::write(&config, mainstay_config(folder, mock))?;
    let environment = [("BENCH_VIRTUAL_KEY", "sk-bench"), ("BENCH_PROVIDER_KEY", "sk-provider")];
    let migrated =
        Command::new(binary).args(["migrate", "--config"]).arg(&config).envs(environment).output()?;
    anyhow::ensure!(migrated.status.success(), "{}", String::from_utf8_lossy(&migrated.stderr));
    let mut command = Command::new(binary);
    command.args(["serve", "--role", "gateway", "--config"]).arg(&config).envs(environment);
    Spawned::start(&mut command, "mainstay ready ", Some("model=http://"))
}

fn mainstay_config(folder: &Path, mock: &str) -> String {
    let provider = |name: &str| {
        format!(
            r#"
[[provider]]
name = "{name}"
base_url = "http://{mock}/v1"
key = "env:BENCH_PROVIDER_KEY"
[[provider.model]]
name = "mock"
context_tokens = 128000
price_input = 0.15
price_output = 0.6
concurrency = 1000
requests_a_minute = 100000000
tokens_a_minute = 100000000000
"#
        )
    };
    format!(
        r#"[listeners]
admin = "127.0.0.1:0"
app = "127.0.0.1:0"
model = "127.0.0.1:0"
[log]
filter = "error"
[store]
url = "sqlite:{}"
[engine]
enabled = false
{}{}
[model.policy]
max_cost = 10.0
[model.policy.hedge]
after_quantile = 0.95
at_least = "2s"
[[model.key]]
name = "bench"
key = "env:BENCH_VIRTUAL_KEY"
models = ["mock"]
requests_a_minute = 100000000
tokens_a_minute = 100000000000
concurrency = 1000
budget = 1000000.0
budget_window = "1d"
"#,
        folder.join("mainstay.db").display(),
        provider("first"),
        provider("second"),
    )
}

fn portkey(script: &Path, folder: &Path) -> anyhow::Result<Spawned> {
    let port = free_port()?;
    // It listens on every interface unless node is told otherwise before it starts.
    let preload = folder.join("loopback.cjs");
    let text = "const net = require('net'); const listen = net.Server.prototype.listen;\n\
                net.Server.prototype.listen = function (...a) {\n\
                  if (typeof a[0] === 'object' && a[0] && a[0].port !== undefined) a[0].host = '127.0.0.1';\n\
                  else if (typeof a[0] === 'number' && typeof a[1] !== 'string') a.splice(1, 0, '127.0.0.1');\n\
                  return listen.apply(this, a); };\n";
    std::fs::write(&preload, text)?;
    let mut command = Command::new("node");
    command.arg("--require").arg(&preload).arg(script).arg(format!("--port={port}")).arg("--headless");
    command.env("TRUSTED_CUSTOM_HOSTS", "127.0.0.1,localhost").env("NODE_ENV", "production");
    Spawned::listening(&mut command, port, &folder.join("portkey.out"), START)
}

fn litellm(venv: &Path, folder: &Path, mock: &str) -> anyhow::Result<Spawned> {
    let port = free_port()?;
    let config: PathBuf = folder.join("litellm.yaml");
    let text = format!(
        "model_list:\n- model_name: mock\n  litellm_params:\n    model: openai/mock\n    api_base: http://{mock}/v1\n    api_key: sk-provider\n\
         general_settings:\n  master_key: sk-bench-0123456789abcdef0123456789abcdef\nlitellm_settings:\n  telemetry: false\n  set_verbose: false\n"
    );
    std::fs::write(&config, text)?;
    let mut command = Command::new(venv.join("bin/litellm"));
    command.arg("--config").arg(&config).args(["--host", "127.0.0.1", "--port", &port.to_string()]);
    command.env("LITELLM_LOG", "ERROR").env("LITELLM_LOCAL_MODEL_COST_MAP", "True").env("NO_PROXY", "*");
    Spawned::listening(&mut command, port, &folder.join("litellm.out"), LITELLM_START)
}

/// The key that a peer's callers send.
pub(crate) fn key(name: &str) -> &'static str {
    match name {
        "litellm" => "sk-bench-0123456789abcdef0123456789abcdef",
        _ => "sk-bench",
    }
}
