//! Instructions and allocations of one model call through the gateway, counted under valgrind: the same on a busy machine as
//! on an idle one, so that a test can hold them to a bound.

use std::{collections::HashMap, path::PathBuf, process::Command};

use anyhow::Context;

use crate::command::{cargo, exists, install, output, root, run};

/// Counted with this many calls, and with more; the difference is the cost of the calls between.
const FEW: u64 = 100;
const MANY: u64 = 300;

/// What is counted of calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cost {
    instructions: u64,
    /// Taken or made larger.
    allocations: u64,
}

/// What one exchange may cost in user space: client, gateway and provider in one thread. What was reached and 3 %. Raise a
/// bound only with a reason in the commit; lower it when the path got cheaper.
const BOUNDS: [(&str, &[&str], Cost); 2] = [
    ("whole answer", &[], Cost { instructions: 137_500, allocations: 68 }),
    ("stream of 100 chunks", &["stream"], Cost { instructions: 2_436_000, allocations: 290 }),
];

pub(crate) fn run_task() -> anyhow::Result<()> {
    if !exists("valgrind") {
        install(&["valgrind"])?;
    }
    let binary = build()?;
    let mut over = Vec::new();
    for (name, arguments, bound) in BOUNDS {
        let (few, many) = (count(&binary, FEW, arguments)?, count(&binary, MANY, arguments)?);
        for (what, few, many, bound) in [
            ("instructions", few.instructions, many.instructions, bound.instructions),
            ("allocations", few.allocations, many.allocations, bound.allocations),
        ] {
            let each = many.saturating_sub(few) / (MANY - FEW);
            println!("{name}: {each} {what} a call (bound {bound})");
            if each > bound {
                over.push(format!("{name} costs {each} {what}, over its bound of {bound}"));
            }
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

fn count(binary: &std::path::Path, calls: u64, arguments: &[&str]) -> anyhow::Result<Cost> {
    let out = root().join("target/hotpath.callgrind");
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--quiet"]).arg(format!("--callgrind-out-file={}", out.display()));
    run(valgrind.arg(binary).arg(calls.to_string()).args(arguments))?;
    let text = std::fs::read_to_string(&out).context("callgrind wrote nothing")?;
    let total =
        text.lines().find_map(|line| line.strip_prefix("totals: ").or(line.strip_prefix("summary: ")));
    let instructions =
        total.and_then(|total| total.trim().parse().ok()).context("callgrind gave no total")?;
    let allocations = allocations(&text);
    anyhow::ensure!(allocations > 0, "callgrind saw no call of the allocator by its name");
    Ok(Cost { instructions, allocations })
}

/// How the allocator is entered. One of its functions that calls another is counted once.
const ALLOCATOR: [&str; 4] = ["mi_malloc_aligned", "mi_zalloc_aligned", "mi_realloc_aligned", "mi_malloc"];

/// Calls of the allocator in callgrind's words: `fn=(1) name` begins a caller, later `fn=(1)`; `cfn=` names who is called
/// by it and the `calls=` line after that how often.
fn allocations(text: &str) -> u64 {
    let mut names: HashMap<&str, &str> = HashMap::new();
    let (mut is_allocator, mut is_called, mut count) = (false, false, 0);
    for line in text.lines() {
        if let Some(named) = line.strip_prefix("fn=") {
            is_allocator = ALLOCATOR.contains(&name(&mut names, named));
        } else if let Some(named) = line.strip_prefix("cfn=") {
            is_called = ALLOCATOR.contains(&name(&mut names, named));
        } else if let Some(calls) = line.strip_prefix("calls=")
            && is_called
            && !is_allocator
        {
            count += calls.split(' ').next().and_then(|calls| calls.parse::<u64>().ok()).unwrap_or(0);
        }
    }
    count
}

/// `(1) name`, or `(1)` for a name that was told.
fn name<'t>(names: &mut HashMap<&'t str, &'t str>, named: &'t str) -> &'t str {
    match named.split_once(' ') {
        Some((number, name)) => {
            names.insert(number, name);
            name
        }
        None => names.get(named).copied().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_of_the_allocator_are_counted_by_name_and_by_number_and_once() {
        let text = "fn=(1) main\n0 5\ncfn=(2) mi_malloc_aligned\ncalls=3 0\n0 90\ncfn=(3) other\ncalls=7 0\n0 1\n\
                    fn=(2)\ncfn=(4) mi_malloc\ncalls=3 0\n0 9\nfn=(3)\ncfn=(2)\ncalls=2 0\n0 6\n";
        assert_eq!(allocations(text), 5);
    }
}
