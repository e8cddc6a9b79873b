//! What can go wrong with our own database, as callers can act on it.

use mainstay_base::Kind;

/// A statement did not do its work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The database is away, locked or out of space. The same call may work later.
    #[error("the database cannot be used now: {0}")]
    Unavailable(String),
    /// The caller gave more than is kept.
    #[error("{what} has {bytes} bytes; at most {limit} are stored")]
    TooLarge { what: &'static str, bytes: usize, limit: usize },
    /// The caller asked for more than is read at once.
    #[error("{0}")]
    TooMuch(String),
    /// Our own mistake, or a database somebody else wrote into.
    #[error("the database refused a statement: {0}")]
    Bug(String),
}

impl StoreError {
    pub fn kind(&self) -> Kind {
        match self {
            StoreError::Unavailable(_) => Kind::Unavailable,
            StoreError::TooLarge { .. } | StoreError::TooMuch(_) => Kind::Caller,
            StoreError::Bug(_) => Kind::Bug,
        }
    }

    /// A stored value this version cannot read.
    pub(crate) fn unreadable(what: &str, value: impl std::fmt::Display) -> StoreError {
        StoreError::Bug(format!("the stored {what} cannot be read: {value}"))
    }
}

/// The store cannot be opened or migrated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    #[error(
        "the database URL is not understood: {0}; give sqlite:PATH or postgres://USER:PASSWORD@HOST/NAME"
    )]
    Url(String),
    #[error(
        "the database {url} has schema version {found} and this mainstay needs {needed}; \
         run `mainstay migrate` with it first"
    )]
    Older { url: String, found: i64, needed: i64 },
    #[error(
        "the database {url} has schema version {found}, made by a newer mainstay; this one knows up to {needed}: \
         run the newer version, or restore the backup that was made before it ran `mainstay migrate`"
    )]
    Newer { url: String, found: i64, needed: i64 },
    #[error("the database {url} cannot be opened")]
    Open {
        url: String,
        #[source]
        source: StoreError,
    },
    #[error("migration {number} ({name}) failed on {url}; nothing of it was kept")]
    Migration {
        url: String,
        number: i64,
        name: &'static str,
        #[source]
        source: StoreError,
    },
}
