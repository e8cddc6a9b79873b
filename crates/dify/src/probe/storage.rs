//! Dify's storage where this process sees it: a marker is written, read and taken away; and the private keys.
//!
//! A frozen disk (NFS) holds a thread: it keeps the flag that the component is looked at, so that no second one follows.

use std::{
    io::{ErrorKind, Write},
    path::Path,
    time::Duration,
};

use mainstay_base::Severity;
use tokio::time::Instant;

use super::{
    Component, UnderWay,
    report::{Problem, Report, State},
};
use crate::{
    db::{Bound, Reader},
    deployment::Storage,
};

/// Its name says whose it is, should it ever stay behind.
const MARKER: &str = ".mainstay-probe";
const LOW: f64 = 0.10;
const VERY_LOW: f64 = 0.03;
/// Workspaces whose key is looked for, by id.
const MAX_TENANTS: usize = 1_000;
const TENANTS: &str = "SELECT id FROM tenants WHERE status = 'normal' ORDER BY id LIMIT 1000";
/// Workspaces that a finding names.
const MAX_NAMED: usize = 5;

pub(super) async fn look(storage: &Storage, under_way: UnderWay) -> Report {
    let report = Report::of(Component::Storage);
    match storage {
        Storage::Elsewhere(kind) => {
            report.with(State::NotConfigured, format!("{kind}: not looked at, only a local folder is"))
        }
        Storage::Folder(folder) => {
            let folder = folder.clone();
            let looked = tokio::task::spawn_blocking(move || {
                let _under_way = under_way;
                folder_in(report, &folder)
            });
            looked.await.unwrap_or_else(|_| {
                Report::of(Component::Storage).with(State::Unknown, "the look at the folder broke off")
            })
        }
    }
}

fn folder_in(mut report: Report, folder: &Path) -> Report {
    let began = Instant::now();
    match std::fs::metadata(folder) {
        Ok(metadata) if metadata.is_dir() => owner(&mut report, &metadata),
        Ok(_) => return report.failed(failing(folder, "it is not a folder")),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => return unseen(report, folder),
        Err(error) => return report.failed(failing(folder, &error.to_string())),
    }
    disk(&mut report, folder);
    let marker = folder.join(format!("{MARKER}-{}", std::process::id()));
    match write_read_delete(&marker) {
        Ok(()) => {
            report.took(began.elapsed());
            if report.state == State::Ok {
                let free = report.facts.get("free").cloned().unwrap_or_default();
                report.reason = format!("written, read and deleted; {free}");
            }
            report
        }
        Err((_, error)) if error.kind() == ErrorKind::PermissionDenied => {
            report.leaves_open = "whether anything can be written: this process may not".to_owned();
            report.with(State::Unknown, "this process may not write there; nothing was tried")
        }
        Err((step, error)) => report.failed(failing(folder, &format!("{step} a marker: {error}"))),
    }
}

fn write_read_delete(marker: &Path) -> Result<(), (&'static str, std::io::Error)> {
    const WORDS: &[u8] = b"written by mainstay to see that it can be; may be deleted\n";
    let write = || {
        let mut file = std::fs::File::create(marker)?;
        file.write_all(WORDS)?;
        file.sync_all()
    };
    let written = write().map_err(|error| ("writing", error));
    let read = written.and_then(|()| std::fs::read(marker).map_err(|error| ("reading", error)));
    let deleted = std::fs::remove_file(marker).map_err(|error| ("deleting", error));
    match read {
        Ok(bytes) if bytes == WORDS => deleted,
        Ok(_) => Err(("reading", std::io::Error::other("it holds other bytes than were written"))),
        Err(failed) => Err(failed),
    }
}

#[cfg(unix)]
fn owner(report: &mut Report, metadata: &std::fs::Metadata) {
    use std::os::unix::fs::MetadataExt as _;
    report.fact(
        "owner",
        format!("uid {} gid {} mode {:o}", metadata.uid(), metadata.gid(), metadata.mode() & 0o7777),
    );
}

#[cfg(not(unix))]
fn owner(_: &mut Report, _: &std::fs::Metadata) {}

fn disk(report: &mut Report, folder: &Path) {
    let Ok(disk) = rustix::fs::statvfs(folder) else { return };
    let (free, all) =
        (disk.f_bavail.saturating_mul(disk.f_frsize), disk.f_blocks.saturating_mul(disk.f_frsize));
    let part = free as f64 / (all.max(1)) as f64;
    let gigabytes = |bytes: u64| bytes as f64 / 1e9;
    let words = format!("{:.1} GB free of {:.1} GB ({:.0} %)", gigabytes(free), gigabytes(all), part * 100.0);
    report.fact("free", &words);
    if part >= LOW {
        return;
    }
    report.problem(Problem {
        id: "disk-low",
        severity: if part < VERY_LOW { Severity::Critical } else { Severity::Warning },
        what: format!("the disk of storage has {words}"),
        cause: "Uploads, tool files and logs grow without end by default; weaviate stops writing at 90 % of its own disk.",
        remedy: "Grow the disk, or clean: `flask clear-orphaned-file-records`, then `flask remove-orphaned-files-on-storage`.",
        asked: format!("df {}", folder.display()),
        answered: words,
    });
}

fn failing(folder: &Path, why: &str) -> Problem<'static> {
    Problem {
        id: "storage-failing",
        severity: Severity::Critical,
        what: format!("Dify's storage does not work: {why}"),
        cause: "",
        remedy: "",
        asked: format!("write, read and delete {MARKER} in {}", folder.display()),
        answered: why.to_owned(),
    }
}

fn unseen(report: Report, folder: &Path) -> Report {
    report.with(State::Unknown, format!("this process may not look into {}", folder.display()))
}

/// `privkeys/<tenant>/private.pem` of every workspace: without it no credential of that workspace can be read.
pub(super) async fn keys(storage: &Storage, reader: &Reader, under_way: UnderWay) -> Report {
    let report = Report::of(Component::Keys);
    let Storage::Folder(folder) = storage else {
        return report.with(State::NotConfigured, "storage is not a folder that is seen from here");
    };
    let bound = Bound::new(MAX_TENANTS, Duration::from_secs(2));
    let tenants = match reader.rows(TENANTS, &[], bound).await {
        Ok(rows) => rows.iter().filter_map(|row| row.id(0).ok().flatten()).map(|id| id.to_string()).collect(),
        Err(failure) => {
            return report.with(State::Unknown, format!("the workspaces are not known: {failure}"));
        }
    };
    let folder = folder.join("privkeys");
    let looked = tokio::task::spawn_blocking(move || {
        let _under_way = under_way;
        keys_in(report, &folder, tenants)
    });
    looked.await.unwrap_or_else(|_| Report::of(Component::Keys).with(State::Unknown, "the look broke off"))
}

pub(super) fn keys_in(mut report: Report, folder: &Path, tenants: Vec<String>) -> Report {
    report.fact("workspaces", tenants.len());
    let mut missing = Vec::new();
    for tenant in &tenants {
        let path = folder.join(tenant).join("private.pem");
        match std::fs::metadata(&path) {
            Ok(file) if file.is_file() && file.len() > 0 => {}
            Err(error) if error.kind() == ErrorKind::PermissionDenied => return unseen(report, folder),
            _ => missing.push(tenant.as_str()),
        }
    }
    if missing.is_empty() {
        return report.with(State::Ok, format!("{} workspaces have theirs", tenants.len()));
    }
    let named = missing.iter().take(MAX_NAMED).copied().collect::<Vec<_>>().join(", ");
    report.failed(Problem {
        id: "key-file-missing",
        severity: Severity::Critical,
        what: format!("{} of {} workspaces have no private key: {named}", missing.len(), tenants.len()),
        cause: "",
        remedy: "",
        asked: format!("ls {}/<workspace>/private.pem for each of: {TENANTS}", folder.display()),
        answered: format!("missing or empty for {named}"),
    })
}
