//! The binary `mainstay`: command line, configuration, wiring of all other crates, and the demo.
//!
//! Promises: only this crate reads the environment and configuration files, prints, and ends the process; every task
//! it starts is waited for. Refuses to know: SQL, Dify's semantics, what an alert means.

mod adapters;
mod allowance;
mod cli;
mod command;
mod config;
mod config_routes;
mod demo;
mod deployment;
mod dify_health_routes;
mod dify_port;
mod dify_routes;
mod embedded;
mod env;
mod failure;
mod files;
mod health_routes;
mod insight;
mod instance;
mod last_good;
mod live;
mod logging;
mod metrics;
mod notes;
mod orders;
#[cfg(feature = "otlp")]
mod otlp;
#[cfg(not(feature = "otlp"))]
#[path = "otlp_left_out.rs"]
mod otlp;
mod output;
mod publisher;
mod queue_routes;
mod records;
mod reload;
mod remote;
mod route_port;
mod routes;
mod service;
mod signals;
mod sli;
mod slo_routes;
mod standings;
mod supervisor;
mod token;
mod wiring;
mod worker;

use std::process::ExitCode;

use clap::Parser;

use crate::{
    cli::Cli,
    failure::{Exit, Failure},
};

/// Measured by `cargo xtask bench engine`: a third more runs a second than with the system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    files::allow_all();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&Failure::problem("cannot start", error, "check the limits of this user")),
    };
    let outcome = runtime.block_on(command::run(cli.command));
    // Nothing of ours is left by now; a blocked thread of a library must not hold the process.
    runtime.shutdown_background();
    match outcome {
        Ok(exit) => exit.into(),
        Err(failure) => fail(&failure),
    }
}

fn fail(failure: &Failure) -> ExitCode {
    output::note(failure.to_string());
    let exit: Exit = failure.exit;
    exit.into()
}
