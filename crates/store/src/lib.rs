//! Mainstay's own data, on SQLite or PostgreSQL.
//!
//! Promises: one facade per use, the same behaviour on both databases; whatever belongs together is written in one
//! transaction; a call returns when its data is durable; every list, batch and wait has a named limit.
//! Refuses to know: HTTP, configuration, what a run does, and the tables of Dify. What others read of them it keeps.

mod alerts;
mod allowances;
mod apps;
mod chats;
mod db;
mod dify;
mod error;
mod files;
mod jobs;
mod lasting;
mod leases;
pub mod model;
mod notices;
mod oncall;
mod outbox;
mod records;
mod retention;
mod runbooks;
mod runs;
mod schema;
mod settings;
mod silences;
mod slo;
mod standings;
mod timeline;
mod workers;

use std::{
    path::Path,
    time::{Duration, Instant},
};

use mainstay_base::Clock;

pub use alerts::{Alerts, MAX_OPEN_ALERTS};
pub use allowances::Allowances;
pub use apps::Apps;
pub use chats::Chats;
pub use dify::{Dify, MAX_DIFY_LIST, MAX_DIFY_POSITIONS};
pub use error::{OpenError, StoreError};
pub use files::{Files, MAX_FILE_BYTES};
pub use jobs::{CRASH, Jobs, MAX_CLAIM, MAX_CRASHES};
pub use leases::Leases;
pub use notices::{NoticeFilter, Standing, Waiting};
pub use oncall::OnCall;
pub use outbox::{Lane, Outbox};
pub use records::{MAX_CALLS, Records};
pub use retention::Retention;
pub use runbooks::Runbooks;
pub use runs::{MAX_LIST, Runs};
pub use settings::Settings;
pub use silences::Silences;
pub use slo::{MAX_SLI_ROWS, Slis, Slos};
pub use standings::Standings;
pub use timeline::Timeline;
pub use workers::Workers;

use crate::db::{Db, values};

/// Where the data is, and where time comes from.
#[derive(Clone, Debug)]
pub struct Options {
    /// `sqlite:PATH` or `postgres://…`.
    pub url: String,
    /// With [`Clock::System`], PostgreSQL's own clock times leases; a manual clock is used on both databases.
    pub clock: Clock,
}

/// The open store. Clones share its connections, which close when the last clone is dropped.
#[derive(Clone)]
pub struct Store {
    db: Db,
}

impl Store {
    /// Opens a database that has this version's schema.
    pub async fn open(options: Options) -> Result<Store, OpenError> {
        let Options { url, clock } = options;
        refuse_missing_file(&url)?;
        let db = Db::start(&url, &clock, false)?;
        schema::check(&db, &url).await?;
        Ok(Store { db })
    }

    /// Opens a database that may be away: every call fails, and nothing is written, until [`Store::verify`] has found
    /// it back with this version's schema.
    pub fn attach(options: Options) -> Result<Store, OpenError> {
        let db = Db::start(&options.url, &options.clock, false)?;
        db.shut();
        Ok(Store { db })
    }

    /// Whether the database answers and has this version's schema.
    pub async fn verify(&self, url: &str) -> Result<(), OpenError> {
        schema::check(&self.db.unguarded(), url).await?;
        self.db.open();
        Ok(())
    }

    /// Brings the schema of the database to this version, making the database file when there is none.
    /// Gives the version before and after.
    pub async fn migrate(options: &Options) -> Result<(i64, i64), OpenError> {
        let db = Db::start(&options.url, &options.clock, true)?;
        schema::migrate(&db, &options.url).await
    }

    /// Brings the schema to an older version and not further: for tests of what an update finds.
    #[doc(hidden)]
    pub async fn migrate_to(options: &Options, version: i64) -> Result<(i64, i64), OpenError> {
        let db = Db::start(&options.url, &options.clock, true)?;
        schema::migrate_to(&db, &options.url, version).await
    }

    /// How long one round trip takes.
    pub async fn ping(&self) -> Result<Duration, StoreError> {
        let asked = Instant::now();
        self.db.read(|tx| tx.one("SELECT 1", values![]).map(drop)).await?;
        Ok(asked.elapsed())
    }

    pub fn apps(&self) -> Apps {
        Apps { db: self.db.clone() }
    }

    pub fn runs(&self) -> Runs {
        Runs { db: self.db.clone() }
    }

    pub fn jobs(&self) -> Jobs {
        Jobs { db: self.db.clone() }
    }

    pub fn workers(&self) -> Workers {
        Workers { db: self.db.clone() }
    }

    pub fn chats(&self) -> Chats {
        Chats { db: self.db.clone() }
    }

    pub fn files(&self) -> Files {
        Files { db: self.db.clone() }
    }

    pub fn records(&self) -> Records {
        Records { db: self.db.clone() }
    }

    pub fn outbox(&self) -> Outbox {
        Outbox { db: self.db.clone() }
    }

    pub fn alerts(&self) -> Alerts {
        Alerts { db: self.db.clone() }
    }

    pub fn silences(&self) -> Silences {
        Silences { db: self.db.clone() }
    }

    pub fn on_call(&self) -> OnCall {
        OnCall { db: self.db.clone() }
    }

    pub fn timeline(&self) -> Timeline {
        Timeline { db: self.db.clone() }
    }

    pub fn runbooks(&self) -> Runbooks {
        Runbooks { db: self.db.clone() }
    }

    pub fn leases(&self) -> Leases {
        Leases { db: self.db.clone() }
    }

    pub fn settings(&self) -> Settings {
        Settings { db: self.db.clone() }
    }

    /// Documents of service levels, and how they stand.
    pub fn slos(&self) -> Slos {
        Slos { db: self.db.clone() }
    }

    /// What is counted for service levels.
    pub fn slis(&self) -> Slis {
        Slis { db: self.db.clone() }
    }

    pub fn allowances(&self) -> Allowances {
        Allowances { db: self.db.clone() }
    }

    pub fn standings(&self) -> Standings {
        Standings { db: self.db.clone() }
    }

    pub fn dify(&self) -> Dify {
        Dify { db: self.db.clone() }
    }

    pub fn retention(&self) -> Retention {
        Retention { db: self.db.clone() }
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Store")
    }
}

/// SQLite alone would say "unable to open database file"; the reader needs to know what to run.
fn refuse_missing_file(url: &str) -> Result<(), OpenError> {
    let missing = url.strip_prefix("sqlite:").is_some_and(|path| {
        let path = path.strip_prefix("//").unwrap_or(path);
        !path.is_empty() && path != ":memory:" && !Path::new(path).exists()
    });
    if missing {
        return Err(OpenError::Older { url: url.to_owned(), found: 0, needed: schema::CURRENT });
    }
    Ok(())
}
