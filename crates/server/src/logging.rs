//! What the process says about itself, on standard error.

use tracing_subscriber::{EnvFilter, fmt};

/// Installs the subscriber. A filter that cannot be read falls back to `info`; configuration checked it before.
pub(crate) fn install(json: bool, filter: &str) {
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let subscriber = fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // Tests that start two of us in one process keep the first one.
    let _ = match json {
        true => subscriber.json().flatten_event(true).try_init(),
        false => subscriber.with_target(true).with_ansi(false).try_init(),
    };
}
