//! Instructions of one model call through the gateway, counted under valgrind: the same on a busy machine as on an idle
//! one, so that a test can hold them to a bound.

use std::{path::PathBuf, process::Command};

use anyhow::Context;

use crate::command::{cargo, exists, install, output, root, run};

/// Counted with this many calls, and with more; the difference is the cost of the calls between.
const FEW: u64 = 100;
const MANY: u64 = 300;

/// What one exchange may cost in user space: client, gateway and provider in one thread. Raise a bound only with a reason
/// in the commit; lower it when the path got cheaper.
const BOUNDS: [(&str, &[&str], u64); 2] =
    [("whole answer", &[], 200_000), ("stream of 100 chunks", &["stream"], 2_620_000)];

pub(crate) fn run_task() -> anyhow::Result<()> {
    if !exists("valgrind") {
        install(&["valgrind"])?;
    }
    let binary = build()?;
    let mut over = Vec::new();
    for (name, arguments, bound) in BOUNDS {
        let (few, many) = (instructions(&binary, FEW, arguments)?, instructions(&binary, MANY, arguments)?);
        let each = many.saturating_sub(few) / (MANY - FEW);
        println!("{name}: {each} instructions a call (bound {bound})");
        if each > bound {
            over.push(format!("{name} costs {each} instructions, over its bound of {bound}"));
        }
    }
    anyhow::ensure!(over.is_empty(), "{}", over.join("; "));
    Ok(())
}

fn build() -> anyhow::Result<PathBuf> {
    let mut build = cargo();
    build.args(["build", "--release", "--package", "mainstay-gateway", "--bench", "hotpath"]);
    build.args(["--message-format", "json-render-diagnostics"]);
    let messages = output(&mut build)?;
    // The file's name has a hash in it; cargo says which it is.
    let found =
        messages.lines().rev().filter(|line| line.contains("\"name\":\"hotpath\"")).find_map(|line| {
            let rest = line.split_once("\"executable\":\"")?.1;
            Some(PathBuf::from(rest.split_once('"')?.0))
        });
    found.context("cargo did not say where hotpath is")
}

fn instructions(binary: &std::path::Path, calls: u64, arguments: &[&str]) -> anyhow::Result<u64> {
    let out = root().join("target/hotpath.callgrind");
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--quiet"]).arg(format!("--callgrind-out-file={}", out.display()));
    run(valgrind.arg(binary).arg(calls.to_string()).args(arguments))?;
    let text = std::fs::read_to_string(&out).context("callgrind wrote nothing")?;
    let total =
        text.lines().find_map(|line| line.strip_prefix("totals: ").or(line.strip_prefix("summary: ")));
    total.and_then(|total| total.trim().parse().ok()).context("callgrind gave no total")
}
