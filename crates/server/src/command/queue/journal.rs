//! A file of lines that says what was done to queues from here, where no instance writes a timeline.

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
};

use mainstay_base::Micros;
use serde_json::{Value, json};

use crate::{env, failure::Failure};

const NAME: &str = "actions.jsonl";

/// Open for appending; private, as is its folder: messages and ids of users may be in it.
pub(super) struct Journal {
    file: File,
    path: PathBuf,
}

impl Journal {
    pub(super) fn open(folder: &Path) -> Result<Journal, Failure> {
        let mut builder = DirBuilder::new();
        builder.recursive(true);
        let mut options = OpenOptions::new();
        options.create(true).append(true);
        #[cfg(unix)]
        {
            std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        }
        let path = folder.join(NAME);
        let file = builder.create(folder).and_then(|()| options.open(&path));
        let file = file.map_err(|error| failure(&path, &error))?;
        Ok(Journal { file, path })
    }

    /// One line, on the disk when this returns.
    pub(super) fn write(&self, at: Micros, kind: &str, detail: Value) -> Result<(), Failure> {
        let actor = env::var("USER").unwrap_or_else(|| "(unknown)".to_owned());
        let line = json!({ "at": at, "kind": format!("queue.{kind}"), "actor": actor, "detail": detail });
        let written =
            (&self.file).write_all(format!("{line}\n").as_bytes()).and_then(|()| self.file.sync_data());
        written.map_err(|error| failure(&self.path, &error))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

fn failure(path: &Path, error: &std::io::Error) -> Failure {
    Failure::problem(
        format!("cannot write to {}", path.display()),
        error,
        "give a folder with --folder: what cannot be written down is not done",
    )
}
