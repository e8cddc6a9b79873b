//! What the kernel says of a process: its resident memory and the processor time it used.

use anyhow::Context;

/// Resident memory in KiB (`VmRSS`).
pub fn resident_kib(pid: u32) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).context("cannot read /proc")?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("no VmRSS in /proc")?;
    line.split_whitespace().nth(1).context("VmRSS has no figure")?.parse().context("VmRSS is no number")
}

/// Processor seconds used so far, in user and system mode, with a clock of 100 ticks a second.
pub fn cpu_seconds(pid: u32) -> anyhow::Result<f64> {
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).context("cannot read /proc")?;
    // The command's name may hold spaces; the fields begin after its closing parenthesis.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok());
    let (user, system) = (ticks(11).context("no utime")?, ticks(12).context("no stime")?);
    Ok((user + system) / TICKS_PER_SECOND)
}

/// All processes below `pid`, itself included: nginx serves from children.
pub fn tree(pid: u32) -> Vec<u32> {
    let mut found = vec![pid];
    let path = format!("/proc/{pid}/task/{pid}/children");
    for child in std::fs::read_to_string(path).unwrap_or_default().split_whitespace() {
        found.extend(child.parse().map(tree).unwrap_or_default());
    }
    found
}
