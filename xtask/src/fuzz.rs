//! Coverage-guided fuzzing with libFuzzer on the stable toolchain: the coverage passes of LLVM are asked for by
//! their own flags, so that neither a nightly compiler nor another tool is needed.

use clap::Args;

use crate::command::{cargo, root};

/// Each is a binary in `fuzz/`.
const TARGETS: [&str; 12] = [
    "sse",
    "service_api",
    "dsl",
    "model_request",
    "model_stream",
    "model_relay",
    "model_failure",
    "model_body",
    "model_form",
    "gemini",
    "bedrock",
    "celery",
];
/// No input is larger; each target's own limits lie below it.
const MAX_INPUT_BYTES: u32 = 64 * 1024;
const COVERAGE: [&str; 5] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];

#[derive(Args)]
pub(crate) struct Options {
    /// One target only, by its name in `fuzz/src/bin`.
    pub(crate) target: Option<String>,
    /// How long each target runs.
    #[arg(long, default_value_t = 60)]
    pub(crate) seconds: u32,
}

pub(crate) fn run_task(options: &Options) -> anyhow::Result<()> {
    let wanted = |name: &&str| options.target.as_deref().is_none_or(|target| target == *name);
    let targets: Vec<&str> = TARGETS.into_iter().filter(|name| wanted(name)).collect();
    anyhow::ensure!(!targets.is_empty(), "no such fuzz target; there are {}", TARGETS.join(", "));
    let folder = root().join("fuzz");
    // Naming the target keeps the flags away from build scripts, which cannot link with them.
    let host = host_triple()?;
    let mut build = cargo();
    build.current_dir(&folder).args(["build", "--release", "--target", &host]);
    // Separate flags need a separate folder, or every other build starts anew.
    build.env("CARGO_TARGET_DIR", root().join("target/fuzz")).env("RUSTFLAGS", COVERAGE.join(" "));
    crate::command::run(&mut build)?;
    for target in targets {
        let corpus = root().join("target/fuzz/corpus").join(target);
        std::fs::create_dir_all(&corpus)?;
        let mut fuzz =
            std::process::Command::new(root().join("target/fuzz").join(&host).join("release").join(target));
        fuzz.current_dir(root().join("target/fuzz")).arg(&corpus).arg(folder.join("seeds").join(target));
        fuzz.arg(format!("-max_total_time={}", options.seconds)).arg(format!("-max_len={MAX_INPUT_BYTES}"));
        fuzz.args(["-timeout=5", "-rss_limit_mb=2048", "-verbosity=0", "-print_final_stats=1"]);
        crate::command::run(&mut fuzz)?;
    }
    Ok(())
}

fn host_triple() -> anyhow::Result<String> {
    let version = crate::command::output(std::process::Command::new("rustc").arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| anyhow::anyhow!("`rustc -vV` names no host"))
}
