//! What came of the start and of each reload: what is in force, or why it is not.

use std::{path::PathBuf, sync::Arc};

use mainstay_base::Micros;

use crate::{
    config::{LoadError, Problem},
    failure::chain,
};

/// Where the configuration came from.
#[derive(Clone, Debug)]
pub(crate) enum Origin {
    /// Made in this process: it cannot be loaded again.
    BuiltIn,
    File {
        path: PathBuf,
        text: String,
    },
    /// The file at `path` could not be used; the last accepted text is in force instead.
    LastGood {
        path: PathBuf,
        refused: Refused,
    },
}

impl Origin {
    pub(super) fn path(&self) -> Option<PathBuf> {
        match self {
            Origin::BuiltIn => None,
            Origin::File { path, .. } | Origin::LastGood { path, .. } => Some(path.clone()),
        }
    }
}

/// The configuration in force.
#[derive(Clone, Debug)]
pub(crate) struct Applied {
    pub(crate) revision: String,
    /// 1 at the start; grows with each that is applied.
    pub(crate) generation: u64,
    pub(crate) at: Micros,
    pub(crate) by: String,
    /// Sections whose change waits for a restart.
    pub(crate) restart_needed: Vec<&'static str>,
    pub(crate) secrets: SecretsNow,
    pub(crate) warnings: Vec<Problem>,
}

/// Which values of secrets are in force, without telling any: a revision knows references only.
#[derive(Clone, Debug)]
pub(crate) struct SecretsNow {
    /// 1 at the start; grows with each reload that found another value behind a reference.
    pub(crate) generation: u64,
    pub(crate) changed_at: Micros,
    /// The references with another value than before the last reload.
    pub(crate) changed: Vec<String>,
}

/// A configuration that was not put in force.
#[derive(Clone, Debug)]
pub(crate) struct Refused {
    pub(crate) at: Micros,
    pub(crate) by: String,
    /// In one line.
    pub(crate) reason: String,
    pub(crate) problems: Vec<Problem>,
}

impl Refused {
    pub(crate) fn new(error: &LoadError, by: &str, at: Micros) -> Refused {
        Refused { at, by: by.to_owned(), reason: chain(error), problems: Refused::problems(error) }
    }

    pub(super) fn problems(error: &LoadError) -> Vec<Problem> {
        match error {
            LoadError::Problems(problems) => problems.clone(),
            LoadError::Read { .. }
            | LoadError::TooLarge { .. }
            | LoadError::Syntax { .. }
            | LoadError::Empty { .. }
            | LoadError::Changing { .. }
            | LoadError::Silent { .. } => Vec::new(),
        }
    }
}

/// Why nothing was loaded.
#[derive(Clone, Debug)]
pub(crate) enum NotReloaded {
    /// This process was not started from a file.
    NoFile,
    /// The process is ending.
    Ending,
    Refused(Arc<Refused>),
}
