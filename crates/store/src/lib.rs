//! Mainstay's own data, on SQLite or PostgreSQL.
//!
//! Promises: one facade per use, the same behaviour on both databases; whatever belongs together is written in one
//! transaction; a call returns when its data is durable; every list, batch and wait has a named limit.
//! Refuses to know: HTTP, configuration, what a run does, and the tables of Dify.

mod alerts;
mod apps;
mod chats;
mod error;
mod files;
mod jobs;
mod leases;
pub mod model;
mod outbox;
mod records;
mod retention;
mod runbooks;
mod runs;
mod settings;
mod timeline;
mod workers;

use std::time::Duration;

use mainstay_base::Clock;

pub use alerts::Alerts;
pub use apps::Apps;
pub use chats::Chats;
pub use error::{OpenError, StoreError};
pub use files::{Files, MAX_FILE_BYTES};
pub use jobs::{CRASH, Jobs, MAX_CLAIM, MAX_CRASHES};
pub use leases::Leases;
pub use outbox::Outbox;
pub use records::Records;
pub use retention::Retention;
pub use runbooks::Runbooks;
pub use runs::{MAX_LIST, Runs};
pub use settings::Settings;
pub use timeline::Timeline;
pub use workers::Workers;

/// Where the data is, and where time comes from.
#[derive(Clone, Debug)]
pub struct Options {
    /// `sqlite:PATH` or `postgres://…`.
    pub url: String,
    /// With [`Clock::System`], PostgreSQL's own clock times leases; a manual clock is used on both databases.
    pub clock: Clock,
}

/// The open store. Clones share its connections.
#[derive(Clone)]
pub struct Store {}

impl Store {
    /// Opens a database that has this version's schema.
    pub async fn open(options: Options) -> Result<Store, OpenError> {
        let _ = options;
        Ok(Store {})
    }

    /// Brings the schema of the database to this version, making the database file when there is none.
    /// Gives the version before and after.
    pub async fn migrate(options: &Options) -> Result<(i64, i64), OpenError> {
        let _ = options;
        Ok((0, 0))
    }

    /// How long one round trip takes.
    pub async fn ping(&self) -> Result<Duration, StoreError> {
        Err(StoreError::Bug("this part of the store is being written".to_owned()))
    }

    pub fn apps(&self) -> Apps {
        Apps {}
    }

    pub fn runs(&self) -> Runs {
        Runs {}
    }

    pub fn jobs(&self) -> Jobs {
        Jobs {}
    }

    pub fn workers(&self) -> Workers {
        Workers {}
    }

    pub fn chats(&self) -> Chats {
        Chats {}
    }

    pub fn files(&self) -> Files {
        Files {}
    }

    pub fn records(&self) -> Records {
        Records {}
    }

    pub fn outbox(&self) -> Outbox {
        Outbox {}
    }

    pub fn alerts(&self) -> Alerts {
        Alerts {}
    }

    pub fn timeline(&self) -> Timeline {
        Timeline {}
    }

    pub fn runbooks(&self) -> Runbooks {
        Runbooks {}
    }

    pub fn leases(&self) -> Leases {
        Leases {}
    }

    pub fn settings(&self) -> Settings {
        Settings {}
    }

    pub fn retention(&self) -> Retention {
        Retention {}
    }
}
