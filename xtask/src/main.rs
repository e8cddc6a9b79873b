//! Checks, test services and benchmarks as cargo commands: `cargo xtask test`, `cargo xtask bench engine`.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a developer's command line tool")]

mod bench;
mod command;
mod fuzz;
mod hotpath;
mod postgres;
mod redis;
mod test;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "Mainstay's checks, test services and benchmarks")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Format, lints, every test (with PostgreSQL started on a private port), and a short run of each fuzz target.
    Test(test::Options),
    /// Runs the fuzz targets for longer.
    Fuzz(fuzz::Options),
    /// Counts the instructions of one model call and compares them with their bounds.
    Hotpath,
    /// Measures, next to a named peer in the same run.
    #[command(subcommand)]
    Bench(bench::Bench),
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().task {
        Task::Test(options) => test::run_task(&options),
        Task::Fuzz(options) => fuzz::run_task(&options),
        Task::Hotpath => hotpath::run_task(),
        Task::Bench(bench) => bench::run_task(&bench),
    }
}
