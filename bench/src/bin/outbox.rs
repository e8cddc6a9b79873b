//! Notices through seeded schedules of kills and partitions: how many are lost, how many come twice. Next to them the
//! broken twins, which must be caught.
//!
//! Run by `cargo xtask bench outbox`.

use std::{env, ops::Range};

use anyhow::ensure;
use clap::Parser;
use mainstay_bench::{
    outbox::{DELIVER, Dialect, Outcome, Way, deliver, schedule},
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
    // A schedule starts this program again as the one that delivers.
    let arguments: Vec<String> = env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == DELIVER) {
        return deliver(&arguments[1..]).await;
    }
    let Cli { schedules, alerts, seed } = Cli::parse();
    let twins = seed..seed + schedules.min(100);
    let marks_first = all(twins.clone(), alerts, Way::MarksFirst).await?;
    show("twin: marks, then sends", marks_first);
    let no_lease = all(twins, alerts, Way::NoLease).await?;
    show("twin: without leases", no_lease);
    ensure!(marks_first.lost > 0, "the check does not see what is lost");
    ensure!(!no_lease.keeps_bounds(Way::NoLease), "the check does not see repeats");
    for dialect in Dialect::ALL {
        let way = Way::Product(dialect);
        let product = all(seed..seed + schedules, alerts, way).await?;
        show(&format!("mainstay to {}", dialect.as_str()), product);
        ensure!(product.lost == 0 && product.duplicates <= 1, "the outbox broke its promise");
        ensure!(product.keeps_bounds(way), "notices came again without a reason");
    }
    Ok(())
}

async fn all(seeds: Range<u64>, alerts: u32, way: Way) -> anyhow::Result<Outcome> {
    let program = env::current_exe()?;
    let mut sum = Outcome::default();
    let mut tasks = JoinSet::new();
    for seed in seeds {
        while tasks.len() >= TOGETHER {
            let Some(one) = tasks.join_next().await else { break };
            sum.add(one??);
        }
        let program = program.clone();
        tasks.spawn(async move { schedule(seed, alerts, way, &program).await });
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
        ("not told apart", duplicates.to_string()),
        ("kills", kills.to_string()),
        ("cuts", cuts.to_string()),
    ];
    row(name, &figures);
}
