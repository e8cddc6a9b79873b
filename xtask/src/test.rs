//! `cargo xtask test`: all that must hold before a change lands.

use clap::Args;

use crate::{
    command::{cargo, exists, run, venv},
    fuzz, hotpath,
    postgres::Postgres,
    redis::Redis,
};

#[derive(Args)]
pub(crate) struct Options {
    /// Only tests whose name contains this; format, lints and fuzz targets are left out.
    filter: Option<String>,
    /// How long each fuzz target runs.
    #[arg(long, default_value_t = 10)]
    fuzz_seconds: u32,
}

/// Clients of others that are run against the gateway, pinned so that a change is ours.
const CLIENTS: [&str; 2] = ["openai==2.54.0", "litellm==1.106.2"];

/// What Dify 1.12.1 runs its tasks with, by its lock file.
pub(crate) const CELERY: [&str; 4] = ["celery==5.5.3", "kombu==5.5.4", "redis==6.1.1", "gevent==25.9.1"];

fn run_checks() -> anyhow::Result<()> {
    run(cargo().args(["fmt", "--all", "--check"]))?;
    run(cargo().args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    // What can be left out of the binary leaves it whole.
    run(cargo().args(["clippy", "-p", "mainstay-server", "--no-default-features", "--", "-D", "warnings"]))
}

pub(crate) fn run_task(options: &Options) -> anyhow::Result<()> {
    if let Some(filter) = &options.filter {
        return run_tests(Some(filter));
    }
    run_checks()?;
    run_tests(None)?;
    hotpath::run_task()?;
    fuzz::run_task(&fuzz::Options { target: None, seconds: options.fuzz_seconds })?;
    println!("\nAll checks passed.");
    Ok(())
}

fn run_tests(filter: Option<&str>) -> anyhow::Result<()> {
    let postgres = Postgres::start()?;
    let redis = Redis::start()?;
    let mut tests = cargo();
    if exists("cargo-nextest") {
        tests.args(["nextest", "run", "--workspace", "--no-fail-fast"]);
        tests.args(filter);
    } else {
        tests.args(["test", "--workspace", "--all-targets", "--no-fail-fast"]);
        tests.args(filter);
    }
    let python = venv("target/test-clients", &CLIENTS)?;
    let celery = venv("target/test-celery", &CELERY)?;
    tests.env("TEST_CELERY_PYTHON", celery).env("TEST_REDIS_URL", redis.url());
    // Snapshots are compared, never rewritten, here.
    run(tests.env("TEST_PYTHON", python).env("TEST_DATABASE_URL", postgres.url()).env("INSTA_UPDATE", "no"))
}
