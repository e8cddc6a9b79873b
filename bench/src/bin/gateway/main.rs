//! What a model call costs on its way through a gateway, next to nginx, Envoy, LiteLLM and Portkey in the same run.
//!
//! A fast mock provider, one peer at a time, and a load generator are processes of their own. Peers run in turn inside
//! each round, so that a busy machine is busy for all of them; figures are medians over rounds. What counts is processor
//! time for a call, as a ratio to nginx. Run by `cargo xtask bench gateway`.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod load;
mod mock;
mod peers;
mod table;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    role: Role,
}

#[derive(Subcommand)]
enum Role {
    /// Starts everything and prints the tables.
    Compare(Options),
    /// Answers calls of a model at once.
    Mock,
    /// Sends calls and measures.
    Load(load::Options),
}

#[derive(clap::Args)]
struct Options {
    #[arg(long)]
    mainstay: PathBuf,
    /// A folder with `bin/envoy` and `bin/litellm`.
    #[arg(long)]
    venv: Option<PathBuf>,
    /// The start script of Portkey's gateway.
    #[arg(long)]
    portkey: Option<PathBuf>,
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    #[arg(long, default_value_t = 16)]
    connections: usize,
    /// Only these, as nginx,mainstay.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// How long memory is watched under load; 0 leaves it out.
    #[arg(long, default_value_t = 60)]
    memory_seconds: u64,
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().role {
        Role::Compare(options) => table::compare(&options),
        Role::Mock => runtime()?.block_on(mock::serve()),
        Role::Load(options) => runtime()?.block_on(load::run(&options)),
    }
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}
