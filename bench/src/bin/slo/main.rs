//! How quiet and how fast the judgement of objectives is, with the classic rule beside it; and how long it takes.
//!
//! Quiet: pages of 90 days of each shape of traffic and target while half of what is allowed fails. All of them are false. Fast: the time
//! from the beginning of an outage to the page.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark prints its figures, and fails where they are missing"
)]

use clap::Parser;
use mainstay_signal::slo::{Detector, Settings};

mod cost;
#[path = "../../../../crates/signal/tests/common/traffic.rs"]
mod traffic;
#[path = "../../../../crates/signal/tests/common/watch.rs"]
mod watch;

use traffic::{SHAPES, Shape};
use watch::{outage, quantile, quiet};

const TARGETS: [f64; 5] = [0.9, 0.95, 0.99, 0.995, 0.999];
/// Share of the runs that fails, and runs an hour.
const OUTAGES: [(f64, f64); 11] = [
    (1.0, 60.0),
    (1.0, 300.0),
    (1.0, 600.0),
    (1.0, 2_000.0),
    (1.0, 10_000.0),
    (0.5, 60.0),
    (0.5, 300.0),
    (0.5, 2_000.0),
    (0.2, 60.0),
    (0.2, 300.0),
    (0.2, 2_000.0),
];

#[derive(Parser)]
struct Options {
    /// Where the seeds begin. The detectors were tuned on 1; the figures of the documentation are of others.
    #[arg(long, default_value_t = 5_000)]
    seed: u64,
    /// Times each shape and target is watched.
    #[arg(long, default_value_t = 2)]
    rounds: u64,
    #[arg(long, default_value_t = 90)]
    days: u64,
    /// Outages of each kind.
    #[arg(long, default_value_t = 500)]
    outages: u64,
    /// Only shapes whose name holds this.
    #[arg(long, default_value = "")]
    only: String,
    /// What fails before an outage, of what is allowed.
    #[arg(long, default_value_t = 0.5)]
    healthy: f64,
}

fn main() {
    let options = Options::parse();
    cost::print_cost();
    print_fast(&options);
    print_quiet(&options);
}

fn print_quiet(options: &Options) {
    println!("False pages per objective in 90 days, at half of the allowed failures: ours (classic)");
    println!(
        "{:<40} {}",
        "",
        TARGETS.map(|target| format!("{:>15}", format!("{}%", target * 100.0))).join(" ")
    );
    let scale = 90.0 / (options.days * options.rounds) as f64;
    let mut all = Seen::default();
    let mut cells = 0.0;
    for (number, shape) in SHAPES.iter().enumerate().filter(|(_, shape)| shape.name.contains(&options.only)) {
        let row = on_each_target(|target| watch_cell(shape, number as u64, target, options)).map(|cell| {
            all.add(&cell);
            cells += 1.0;
            format!(
                "{:>15}",
                format!("{:.2} ({:.1})", cell.pages() as f64 * scale, cell.classic as f64 * scale)
            )
        });
        println!("{:<40} {}", shape.name, row.join(" "));
    }
    let (ours, classic) = (all.pages() as f64 * scale / cells, all.classic as f64 * scale / cells);
    println!(
        "all: {ours:.3} ({classic:.1}); worst {:.2}; by detector: {:?}",
        all.worst as f64 * scale,
        all.by
    );
}

/// Beside each other.
fn on_each_target<T: Send>(work: impl Fn(f64) -> T + Sync) -> [T; TARGETS.len()] {
    std::thread::scope(|scope| {
        let work = &work;
        TARGETS.map(|target| scope.spawn(move || work(target))).map(|thread| thread.join().unwrap())
    })
}

/// Pages of one or more shapes and targets.
#[derive(Default)]
struct Seen {
    /// Burn, sequence, outage.
    by: [usize; 3],
    classic: usize,
    worst: usize,
}

impl Seen {
    fn pages(&self) -> usize {
        self.by.iter().sum()
    }

    fn add(&mut self, cell: &Seen) {
        self.by.iter_mut().zip(cell.by).for_each(|(sum, pages)| *sum += pages);
        self.classic += cell.classic;
        self.worst = self.worst.max(cell.pages());
    }
}

fn watch_cell(shape: &Shape, number: u64, target: f64, options: &Options) -> Seen {
    let mut cell = Seen::default();
    for round in 0..options.rounds {
        let seed = options.seed * 1_000_003 + round * 1_009 + number * 31 + (target * 1e4) as u64;
        let watched = quiet(*shape, target, options.days, seed, Settings::default());
        cell.classic += watched.classic_pages;
        for (_, detector) in watched.pages {
            let index = match detector {
                Detector::Burn => 0,
                Detector::Sequence => 1,
                Detector::Outage => 2,
            };
            cell.by[index] += 1;
        }
    }
    cell
}

fn print_fast(options: &Options) {
    println!("Time to page, p50/p95: ours (classic); {} of the allowed share fails before", options.healthy);
    println!(
        "{:<20} {}",
        "",
        TARGETS.map(|target| format!("{:>28}", format!("{}%", target * 100.0))).join(" ")
    );
    for (failing, per_hour) in OUTAGES {
        let row = on_each_target(|target| format!("{:>28}", delays(target, failing, per_hour, options)));
        println!("{:>4.0}% of {per_hour:>6}/h    {}", failing * 100.0, row.join(" "));
    }
}

fn delays(target: f64, failing: f64, per_hour: f64, options: &Options) -> String {
    let is_total = failing >= 1.0;
    let tries = if is_total { options.outages } else { options.outages.min(40) };
    let for_s = if is_total { 7_200.0 } else { 21_600.0 };
    let seed = options.seed * 7_919;
    let settings = Settings::default();
    let (mut ours, mut classic): (Vec<f64>, Vec<f64>) = (0..tries)
        .map(|number| outage(target, per_hour, options.healthy, failing, for_s, seed + number, settings))
        .map(|delay| (delay.ours, delay.classic))
        .unzip();
    let [ours, classic] = [&mut ours, &mut classic].map(|delays| {
        format!("{}/{}", time(quantile(delays, 0.5), for_s), time(quantile(delays, 0.95), for_s))
    });
    format!("{ours} ({classic})")
}

fn time(s: f64, most_s: f64) -> String {
    match s {
        s if s >= most_s => "never".to_owned(),
        s if s < 120.0 => format!("{s:.0}s"),
        s => format!("{:.1}m", s / 60.0),
    }
}
