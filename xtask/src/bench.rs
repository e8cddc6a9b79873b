//! `cargo xtask bench …`: release builds, measured next to a named peer in the same run.

use std::{path::PathBuf, process::Command};

use clap::{Args, Subcommand};

use crate::command::{cargo, exists, install, root, run};

/// The peer of the engine benchmark, pinned so that figures can be compared over time.
const GRAPHON: &str = "graphon==0.1.2";

#[derive(Subcommand)]
pub(crate) enum Bench {
    /// Workflows a second for start → template → if-else → end, next to Dify's own engine `graphon`.
    Engine(Engine),
    /// 10,000 concurrent event streams through the app path, next to nginx and to no proxy.
    Sse(Sse),
}

#[derive(Args)]
pub(crate) struct Engine {
    /// How long each way is measured.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
}

#[derive(Args)]
pub(crate) struct Sse {
    #[arg(long, default_value_t = 10_000)]
    streams: u32,
    #[arg(long, default_value_t = 20)]
    seconds: u64,
}

pub(crate) fn run_task(bench: &Bench) -> anyhow::Result<()> {
    match bench {
        Bench::Engine(options) => engine(options),
        Bench::Sse(options) => sse(options),
    }
}

fn engine(options: &Engine) -> anyhow::Result<()> {
    let python = graphon()?;
    run(cargo().args(["build", "--release", "--package", "mainstay-bench", "--bin", "engine"]))?;
    let mut bench = Command::new(release("engine"));
    bench.current_dir(root()).arg("--python").arg(python).args(["--seconds", &options.seconds.to_string()]);
    run(&mut bench)
}

fn sse(options: &Sse) -> anyhow::Result<()> {
    if !exists("nginx") && install(&["nginx-light"]).is_err() {
        println!("nginx cannot be installed; measuring without it");
    }
    run(cargo().args([
        "build",
        "--release",
        "--package",
        "mainstay-bench",
        "--bin",
        "sse",
        "--package",
        "mainstay-server",
    ]))?;
    let mut bench = Command::new(release("sse"));
    bench.current_dir(root()).arg("compare").arg("--mainstay").arg(release("mainstay"));
    run(bench.args(["--streams", &options.streams.to_string(), "--seconds", &options.seconds.to_string()]))
}

/// A Python with graphon in it, installed on first use.
fn graphon() -> anyhow::Result<PathBuf> {
    let venv = root().join("target/bench-venv");
    let python = venv.join("bin/python");
    if !python.exists() {
        run(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
    }
    run(Command::new(&python).args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        GRAPHON,
    ]))?;
    Ok(python)
}

fn release(binary: &str) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    target.join("release").join(binary)
}
