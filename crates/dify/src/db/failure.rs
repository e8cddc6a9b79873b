//! What can be wrong with a database of Dify, as callers can act on it. Each says the thing and the cause; the next
//! step is [`Failure::remedy`].

use std::{error::Error, time::Duration};

use tokio_postgres::error::SqlState;

use crate::deployment::Database;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// No such name, nobody listens, or no way there.
    #[error("the database {at} cannot be reached: {cause}")]
    Unreachable { at: String, cause: String },
    /// Accepted, and then nothing.
    #[error("the database {at} said nothing for {after:?} while {doing}")]
    Silent { at: String, doing: &'static str, after: Duration },
    #[error("the database {at} and we do not agree on TLS: {cause}")]
    Encryption { at: String, cause: String },
    /// Wrong password, no such role, or no line for us in `pg_hba.conf`.
    #[error("the database {at} refuses the role `{user}`: {cause}")]
    Refused { at: String, user: String, cause: String },
    #[error("there is no database {at}")]
    NoDatabase { at: String },
    #[error("the database {at} takes no more connections: {cause}")]
    Full { at: String, cause: String },
    /// It starts, stops or recovers.
    #[error("the database {at} is not ready: {cause}")]
    NotReady { at: String, cause: String },
    /// A table, column, function or schema that this version does not have.
    #[error("the database {at} does not have what was asked: {cause}")]
    Missing { at: String, cause: String },
    #[error("the role `{user}` may not do this on {at}: {cause}")]
    Forbidden { at: String, user: String, cause: String },
    /// The server ended the query at its limit.
    #[error("a query on {at} took longer than {after:?}")]
    TooSlow { at: String, after: Duration },
    #[error("a query gave more than {rows} rows")]
    TooMany { rows: usize },
    #[error("the connection to the database {at} broke: {cause}")]
    Lost { at: String, cause: String },
    #[error("the connection to the database {at} was in use for {after:?}")]
    Busy { at: String, after: Duration },
    /// A cell that is not what its column should hold.
    #[error("column {column} of an answer cannot be read: {cause}")]
    Unreadable { column: usize, cause: String },
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
    /// Our own mistake, or something new.
    #[error("the database {at} refused a query: {cause}")]
    Other { at: String, cause: String },
}

/// How the client says that an answer is none of PostgreSQL's.
const NOT_POSTGRES: [&str; 3] =
    ["bytes remaining on stream", "unexpected message from server", "error parsing response from server"];

impl Failure {
    /// One line that can be done.
    pub fn remedy(&self) -> String {
        match self {
            Failure::Unreachable { at, .. } => {
                format!("Check that PostgreSQL runs and that {at} can be reached from here (`nc -vz`); fix the host and port.")
            }
            Failure::Silent { at, .. } => {
                format!("Check what answers at {at}: a firewall that drops packets, a frozen server, or a proxy without one behind it.")
            }
            Failure::Encryption { .. } | Failure::Tls(_) => {
                "Set `tls` of the database to what the server offers: off, unchecked or checked.".to_owned()
            }
            Failure::Refused { user, .. } => {
                format!("Set the right password for `{user}`, or run the GRANTs that `mainstay init` prints; see `pg_hba.conf` when it names no entry.")
            }
            Failure::NoDatabase { .. } => "Set the database's name (DB_DATABASE in Dify's .env).".to_owned(),
            Failure::Full { .. } => {
                "Raise max_connections, or lower Dify's pools (SQLALCHEMY_POOL_SIZE, SQLALCHEMY_MAX_OVERFLOW, workers).".to_owned()
            }
            Failure::NotReady { .. } => "Wait until PostgreSQL has started, and read its log if it does not.".to_owned(),
            Failure::Missing { .. } => {
                "Check that this is Dify's own database, and that its migrations ran (`flask upgrade-db`).".to_owned()
            }
            Failure::Forbidden { user, .. } => {
                format!("Grant `{user}` SELECT on it; `mainstay init --dify-env` prints every GRANT that is needed.")
            }
            Failure::TooSlow { .. } => {
                "Look for a missing index, a bloated table or a busy disk; ask again when the database is quieter.".to_owned()
            }
            Failure::TooMany { .. } | Failure::Unreadable { .. } | Failure::Other { .. } => {
                "This is a mistake of Mainstay or a Dify it does not know; report it with the line above.".to_owned()
            }
            Failure::Lost { .. } => "Ask again; read PostgreSQL's log if it happens often.".to_owned(),
            Failure::Busy { .. } => "Ask again; another part of Mainstay reads the same database.".to_owned(),
        }
    }

    /// Whether nothing else can be asked either.
    pub fn is_about_the_connection(&self) -> bool {
        use Failure::*;
        matches!(
            self,
            Unreachable { .. }
                | Silent { .. }
                | Encryption { .. }
                | Refused { .. }
                | NoDatabase { .. }
                | Full { .. }
                | NotReady { .. }
                | Lost { .. }
                | Tls(_)
        )
    }

    pub(super) fn spoils_the_connection(&self) -> bool {
        self.is_about_the_connection() || matches!(self, Failure::TooMany { .. })
    }

    /// A failure while connecting.
    pub(super) fn connect(error: &tokio_postgres::Error) -> Failure {
        let cause = in_words(error);
        let at = String::new();
        match error.code() {
            Some(_) => Failure::read(error),
            None if cause.contains("TLS") => Failure::Encryption { at, cause },
            None if cause.contains("timed out") => {
                Failure::Silent { at, doing: "opening a connection", after: Duration::ZERO }
            }
            None if cause.contains("authentication") || cause.contains("password") => {
                Failure::Refused { at, user: String::new(), cause }
            }
            None if NOT_POSTGRES.iter().any(|words| cause.contains(words)) => Failure::Unreachable {
                at,
                cause: format!("what answers there does not speak as PostgreSQL does ({cause})"),
            },
            None => Failure::Unreachable { at, cause },
        }
    }

    /// A failure of a statement, or one that the server said while connecting.
    pub(super) fn read(error: &tokio_postgres::Error) -> Failure {
        let (at, user, cause) = (String::new(), String::new(), in_words(error));
        let Some(state) = error.code() else {
            let lost =
                error.is_closed() || error.source().is_some_and(|source| source.is::<std::io::Error>());
            return if lost { Failure::Lost { at, cause } } else { Failure::Other { at, cause } };
        };
        match *state {
            SqlState::QUERY_CANCELED | SqlState::LOCK_NOT_AVAILABLE => {
                Failure::TooSlow { at, after: Duration::ZERO }
            }
            SqlState::INVALID_CATALOG_NAME => Failure::NoDatabase { at },
            SqlState::TOO_MANY_CONNECTIONS => Failure::Full { at, cause },
            SqlState::UNDEFINED_TABLE
            | SqlState::UNDEFINED_COLUMN
            | SqlState::UNDEFINED_FUNCTION
            | SqlState::INVALID_SCHEMA_NAME
            | SqlState::UNDEFINED_OBJECT => Failure::Missing { at, cause },
            SqlState::INSUFFICIENT_PRIVILEGE | SqlState::READ_ONLY_SQL_TRANSACTION => {
                Failure::Forbidden { at, user, cause }
            }
            SqlState::CANNOT_CONNECT_NOW => Failure::NotReady { at, cause },
            _ => match &state.code()[..2] {
                "28" => Failure::Refused { at, user, cause },
                "57" | "08" => Failure::Lost { at, cause },
                "53" | "58" => Failure::NotReady { at, cause },
                _ => Failure::Other { at, cause },
            },
        }
    }

    /// Fills in what only the reader knows.
    pub(super) fn at(mut self, database: &Database, within: Duration) -> Failure {
        use Failure::*;
        let place = super::at(database);
        match &mut self {
            Refused { at, user, .. } | Forbidden { at, user, .. } => {
                (*at, *user) = (place, database.user.clone());
            }
            TooSlow { at, after } => (*at, *after) = (place, within),
            Silent { at, after, .. } if after.is_zero() => (*at, *after) = (place, within),
            Unreachable { at, .. }
            | Encryption { at, .. }
            | NoDatabase { at }
            | Full { at, .. }
            | NotReady { at, .. }
            | Missing { at, .. }
            | Lost { at, .. }
            | Other { at, .. } => *at = place,
            Silent { .. } | TooMany { .. } | Busy { .. } | Unreadable { .. } | Tls(_) => {}
        }
        self
    }
}

/// The client's own `Display` says only "db error".
fn in_words(error: &tokio_postgres::Error) -> String {
    match (error.as_db_error(), error.source()) {
        (Some(said), _) => format!("{} (SQLSTATE {})", said.message(), said.code().code()),
        (None, Some(source)) => format!("{error}: {source}"),
        (None, None) => error.to_string(),
    }
}
