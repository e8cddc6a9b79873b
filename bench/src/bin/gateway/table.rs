//! Rounds over peers, and what came of them.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::Context;
use mainstay_bench::{
    process, row,
    spawned::{Spawned, expect_line},
};

use crate::{
    Options,
    peers::{self, Peer},
};

/// One run of the load.
#[derive(Clone, Copy, Debug)]
struct Figures {
    calls_a_second: f64,
    failed: f64,
    p50_us: f64,
    p99_us: f64,
    first_p50_us: f64,
    first_p99_us: f64,
    cpu_us_a_call: f64,
}

/// What the load is told.
#[derive(Clone, Copy)]
struct Load {
    streams: bool,
    rate: f64,
}

pub(crate) fn compare(options: &Options) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let mock = Spawned::start(Command::new(std::env::current_exe()?).arg("mock"), "mock ", None)?;
    let peers = start(options, folder.path(), &mock.address);
    println!(
        "{} connections, {} s a run, medians over {} rounds; processor time of the peer with its children",
        options.connections, options.seconds, options.rounds
    );
    let flat_out = Load { streams: false, rate: 0.0 };
    println!("\nwhole answers, 2 KB asked and answered, as fast as the connections allow");
    let whole = rounds(options, &mock, &peers, flat_out)?;
    show(&whole);
    println!("\nstreams of {} chunks and usage, as fast as the connections allow", crate::mock::CHUNKS);
    show(&rounds(options, &mock, &peers, Load { streams: true, rate: 0.0 })?);
    if let Some(mainstay) = whole.get("mainstay") {
        let rate = mainstay.calls_a_second / 2.0;
        println!(
            "\nwhole answers at half of what mainstay can do: {rate:.0} calls a second, delays from when each was due"
        );
        let able: Vec<&Peer> = peers
            .iter()
            .filter(|peer| whole.get(peer.name).is_some_and(|figures| figures.calls_a_second > rate))
            .collect();
        show(&rounds_of(options, &mock, &able, Load { streams: false, rate })?);
    }
    if options.memory_seconds > 0
        && let Some(mainstay) = peers.iter().find(|peer| peer.name == "mainstay")
    {
        memory(options, mainstay)?;
    }
    Ok(())
}

fn start(options: &Options, folder: &Path, mock: &str) -> Vec<Peer> {
    let mut started = Vec::new();
    for name in peers::NAMES {
        let is_wanted = options.only.is_empty() || options.only.iter().any(|only| only == name);
        if name == "direct" || !is_wanted {
            continue;
        }
        match peers::start(name, options, folder, mock) {
            Ok(peer) => started.push(peer),
            Err(error) => println!("{name} is not measured: {error:#}"),
        }
    }
    started
}

fn rounds(
    options: &Options,
    mock: &Spawned,
    peers: &[Peer],
    load: Load,
) -> anyhow::Result<BTreeMap<&'static str, Figures>> {
    rounds_of(options, mock, &peers.iter().collect::<Vec<_>>(), load)
}

/// Peers run in turn inside each round; a figure is the median of its rounds.
fn rounds_of(
    options: &Options,
    mock: &Spawned,
    peers: &[&Peer],
    load: Load,
) -> anyhow::Result<BTreeMap<&'static str, Figures>> {
    let mut all: BTreeMap<&'static str, Vec<Figures>> = BTreeMap::new();
    for _ in 0..options.rounds {
        let direct = run(options, &mock.address, mock.pid(), "direct", &[], load, options.seconds)?;
        all.entry("direct").or_default().push(direct);
        for peer in peers {
            let running = &peer.running;
            match run(
                options,
                &running.address,
                running.pid(),
                peer.name,
                &peer.arguments,
                load,
                options.seconds,
            ) {
                Ok(figures) => all.entry(peer.name).or_default().push(figures),
                Err(error) => println!("{}: a run failed: {error:#}", peer.name),
            }
        }
    }
    Ok(all.into_iter().map(|(name, figures)| (name, median(&figures))).collect())
}

fn run(
    options: &Options,
    address: &str,
    pid: u32,
    name: &str,
    arguments: &[String],
    load: Load,
    seconds: u64,
) -> anyhow::Result<Figures> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["load", address, "--key", peers::key(name), "--seconds", &seconds.to_string()]);
    command.args(["--connections", &options.connections.to_string(), "--rate", &load.rate.to_string()]);
    if load.streams {
        command.arg("--stream");
    }
    let mut child =
        command.args(arguments).stdout(Stdio::piped()).spawn().context("cannot start the load")?;
    let mut lines = BufReader::new(child.stdout.take().context("no pipe")?).lines();
    expect_line(&mut lines, "measuring")?;
    let before = cpu(pid)?;
    let result = expect_line(&mut lines, "result ")?;
    let used = cpu(pid)? - before;
    child.wait()?;
    let figures: Vec<f64> = result.split_whitespace().filter_map(|figure| figure.parse().ok()).collect();
    let [calls, failed, p50, p99, first_p50, first_p99] = figures[..] else {
        anyhow::bail!("the load said `{result}`");
    };
    anyhow::ensure!(calls > 0.0, "no call succeeded ({failed} failed)");
    Ok(Figures {
        calls_a_second: calls / seconds as f64,
        failed,
        p50_us: p50,
        p99_us: p99,
        first_p50_us: first_p50,
        first_p99_us: first_p99,
        cpu_us_a_call: used * 1e6 / calls,
    })
}

fn cpu(pid: u32) -> anyhow::Result<f64> {
    process::tree(pid).into_iter().map(process::cpu_seconds).sum()
}

fn median(rounds: &[Figures]) -> Figures {
    let of = |figure: fn(&Figures) -> f64| {
        let mut values: Vec<f64> = rounds.iter().map(figure).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    Figures {
        calls_a_second: of(|figures| figures.calls_a_second),
        failed: rounds.iter().map(|figures| figures.failed).sum(),
        p50_us: of(|figures| figures.p50_us),
        p99_us: of(|figures| figures.p99_us),
        first_p50_us: of(|figures| figures.first_p50_us),
        first_p99_us: of(|figures| figures.first_p99_us),
        cpu_us_a_call: of(|figures| figures.cpu_us_a_call),
    }
}

fn show(all: &BTreeMap<&'static str, Figures>) {
    let nginx = all.get("nginx").map(|figures| figures.cpu_us_a_call);
    let millis = |us: f64| format!("{:.2} ms", us / 1000.0);
    for name in peers::NAMES {
        let Some(figures) = all.get(name) else { continue };
        let ratio =
            nginx.map_or_else(String::new, |nginx| format!("({:.2} x nginx)", figures.cpu_us_a_call / nginx));
        row(
            name,
            &[
                ("", format!("{:>7.0} calls/s", figures.calls_a_second)),
                ("p50", millis(figures.p50_us)),
                ("p99", millis(figures.p99_us)),
                ("first byte p50", millis(figures.first_p50_us)),
                ("p99", millis(figures.first_p99_us)),
                ("cpu", format!("{:.1} us/call {ratio}", figures.cpu_us_a_call)),
                ("failed", format!("{:.0}", figures.failed)),
            ],
        );
    }
}

/// Resident memory of mainstay, five times in a long run of both kinds of calls.
fn memory(options: &Options, mainstay: &Peer) -> anyhow::Result<()> {
    println!("\nresident memory of mainstay under load, {} s", options.memory_seconds);
    let part = (options.memory_seconds / 4).max(1);
    let resident = || -> anyhow::Result<u64> {
        process::tree(mainstay.running.pid()).into_iter().map(process::resident_kib).sum()
    };
    let mut seen = vec![resident()?];
    for index in 0..4 {
        let load = Load { streams: index % 2 == 1, rate: 0.0 };
        run(options, &mainstay.running.address, mainstay.running.pid(), "mainstay", &[], load, part)?;
        seen.push(resident()?);
    }
    std::thread::sleep(Duration::from_secs(2));
    seen.push(resident()?);
    let text: Vec<String> = seen.iter().map(|kib| format!("{:.1}", *kib as f64 / 1024.0)).collect();
    row("MiB at start, then each part", &[("", text.join(" "))]);
    Ok(())
}
