//! What the benchmarks share: percentiles of delays, and what the kernel says of a process.
#![expect(clippy::print_stdout, reason = "benchmarks print their figures")]

pub mod delays;
pub mod outbox;
pub mod process;
pub mod spawned;

/// Prints one row of a result table.
pub fn row(name: &str, figures: &[(&str, String)]) {
    let figures: Vec<String> = figures.iter().map(|(figure, value)| format!("{figure} {value}")).collect();
    println!("{name:<28} {}", figures.join("  "));
}
