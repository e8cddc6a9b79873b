//! Notices through seeded schedules of kills and partitions: how many are lost, how many come twice. Next to them the
//! broken twins, which must be caught.
//!
//! Run by `cargo xtask bench outbox`.

use anyhow::ensure;
use clap::Parser;
use mainstay_bench::{
    outbox::{Outcome, Way, schedule},
    row,
};
use tokio::task::JoinSet;

/// Schedules at a time.
const TOGETHER: usize = 48;

#[derive(Parser)]
struct Cli {
    #[arg(long, default_value_t = 1_000)]
    schedules: u64,
    /// Notices of one schedule.
    #[arg(long, default_value_t = 10)]
    alerts: u32,
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Cli { schedules, alerts, seed } = Cli::parse();
    let product = all(seed..seed + schedules, alerts, Way::Product).await?;
    show("mainstay", product);
    let marks_first = all(seed..seed + schedules.min(100), alerts, Way::MarksFirst).await?;
    show("twin: marks, then sends", marks_first);
    let no_lease = all(seed..seed + schedules.min(100), alerts, Way::NoLease).await?;
    show("twin: without leases", no_lease);
    ensure!(product.lost == 0 && product.duplicates <= 1, "the outbox broke its promise");
    ensure!(marks_first.lost > 0, "the check does not see what is lost");
    ensure!(product.keeps_bounds() && !no_lease.keeps_bounds(), "the check does not see repeats");
    Ok(())
}

async fn all(seeds: std::ops::Range<u64>, alerts: u32, way: Way) -> anyhow::Result<Outcome> {
    let mut sum = Outcome::default();
    let mut tasks = JoinSet::new();
    for seed in seeds {
        while tasks.len() >= TOGETHER {
            let Some(one) = tasks.join_next().await else { break };
            sum.add(one??);
        }
        tasks.spawn(schedule(seed, alerts, way));
    }
    while let Some(one) = tasks.join_next().await {
        sum.add(one??);
    }
    Ok(sum)
}

fn show(name: &str, outcome: Outcome) {
    let Outcome { alerts, lost, repeats, duplicates, kills, cuts } = outcome;
    let figures = [
        ("alerts", alerts.to_string()),
        ("lost", lost.to_string()),
        ("repeats (raw)", repeats.to_string()),
        ("after webhook-id", duplicates.to_string()),
        ("kills", kills.to_string()),
        ("cuts", cuts.to_string()),
    ];
    row(name, &figures);
}
