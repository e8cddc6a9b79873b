//! Reads what a Dify has done, a page at a time, by indexed columns only.
//!
//! Promises: every query names its columns and its `LIMIT`, and the server ends it after [`WITHIN`]; a cell that cannot
//! be read, a text that is no JSON and a column that a version does not have cost that value and never the page; the
//! page grows and shrinks so that a query stays far below its limit. Refuses to know: what was read before, and what is
//! counted.

mod documents;
mod names;
mod nodes;
mod page;
pub mod plugins;
mod running;
mod schedules;
mod usage;

use std::time::Duration;

use mainstay_base::Micros;

pub use documents::{DatasetRow, DocumentRow, DocumentState};
pub use names::AppRow;
pub use nodes::{MAX_NODES, NodeRow, Nodes};
pub use page::{FeedbackRow, MessageRow, RunRow, Timed, TriggerRow};
pub use schedules::PlanRow;
pub use usage::{Model, Usage};

use crate::{
    db::{Bound, Failure, Id, Reader, Row, Value},
    schema::Schema,
};

/// No query takes longer: the server ends it.
pub const WITHIN: Duration = Duration::from_millis(250);
/// What a page should take.
const AIM: Duration = Duration::from_millis(50);
/// Of an error's text so many characters are read.
pub const MAX_ERROR: usize = 2000;

/// One position in a table that is ordered by time and id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    pub at: Micros,
    pub id: Id,
}

/// How many rows the next page asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    rows: usize,
    most: usize,
}

impl Pace {
    pub const LEAST: usize = 10;

    pub const fn new(most: usize) -> Pace {
        Pace { rows: if most < 200 { most } else { 200 }, most }
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    /// After a page that took so long. A page that was not full says nothing about larger ones.
    pub fn took(&mut self, took: Duration, was_full: bool) {
        if took > AIM * 3 / 2 {
            self.rows = (self.rows / 2).max(Pace::LEAST);
        } else if took < AIM && was_full {
            self.rows = (self.rows + self.rows / 2).min(self.most);
        }
    }

    /// After a page that the server ended. `false`: it cannot be smaller.
    pub fn too_slow(&mut self) -> bool {
        let can = self.rows > Pace::LEAST;
        self.rows = (self.rows / 4).max(Pace::LEAST);
        can
    }
}

/// A database and what it can be asked.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    pub reader: &'a Reader,
    pub schema: &'a Schema,
}

impl Source<'_> {
    /// The database's own time, which all of Dify's rows are compared with.
    pub async fn now(&self) -> Result<Micros, Failure> {
        let row = self.reader.one("SELECT now()", &[], WITHIN).await?;
        Ok(row.map(|row| row.time(0)).transpose()?.flatten().unwrap_or_default())
    }

    async fn rows(&self, sql: &str, values: &[Value<'_>], rows: usize) -> Result<Vec<Row>, Failure> {
        self.reader.rows(sql, values, Bound::new(rows, WITHIN)).await
    }
}

fn time(row: &Row, column: usize) -> Result<Micros, Failure> {
    Ok(row.time(column)?.unwrap_or_default())
}

fn id(row: &Row, column: usize) -> Result<Id, Failure> {
    Ok(row.id(column)?.unwrap_or_default())
}

/// Seconds as Dify keeps them, in microseconds; nonsense is nothing.
fn seconds(row: &Row, column: usize) -> Result<i64, Failure> {
    let seconds = row.float(column)?.unwrap_or(0.0);
    let micros = (seconds * 1e6).round();
    #[expect(clippy::cast_possible_truncation, reason = "bounded by the condition")]
    let micros = if (0.0..1e15).contains(&micros) { micros as i64 } else { 0 };
    Ok(micros)
}

fn limit(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_shrinks_when_it_is_slow_and_grows_when_there_is_room() {
        let mut pace = Pace::new(2000);
        for _ in 0..20 {
            pace.took(Duration::from_millis(10), true);
        }
        assert_eq!(pace.rows(), 2000);
        pace.took(Duration::from_millis(10), false);
        assert_eq!(pace.rows(), 2000);
        pace.took(Duration::from_millis(200), true);
        assert_eq!(pace.rows(), 1000);
        while pace.too_slow() {}
        assert_eq!(pace.rows(), Pace::LEAST);
    }
}
