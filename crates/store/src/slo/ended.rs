//! Runs that nobody waited for, counted when they end: added up from the runs themselves, so that counting again changes
//! nothing.

use mainstay_base::{Kind, Micros};

use super::{Slis, count};
use crate::{
    StoreError,
    db::{Row, Tx, values},
    model::{ENDED_US, EndedRuns, RunStatus, SliBatch},
};

/// The most combinations of one answer; who gets more asks for a shorter time.
const MAX_ENDED: i64 = 20_000;
/// Of an error's text, which is what failures are told apart by.
const ERROR_CHARS: i64 = 500;

impl Slis {
    /// Runs accepted to be answered later, and those given up because their process had died, that ended from `from` to
    /// before `to`. Without their errors there are fewer ways in which they ended.
    pub async fn ended(
        &self,
        from: Micros,
        to: Micros,
        with_errors: bool,
    ) -> Result<Vec<EndedRuns>, StoreError> {
        let error = if with_errors { format!("substr(error, 1, {ERROR_CHARS})") } else { "NULL".to_owned() };
        let sql = format!(
            "SELECT finished_at / {ENDED_US}, app_id, app_name, mode, kind, status, {error}, \
             error_kind, count(*) FROM runs WHERE answered_later = 1 AND finished_at >= $1 AND finished_at < $2 \
             GROUP BY 1, 2, 3, 4, 5, 6, 7, 8 ORDER BY 1 LIMIT $3"
        );
        self.db
            .read(move |tx| {
                let rows = tx.query(&sql, values![from, to, MAX_ENDED + 1])?;
                if rows.len() > usize::try_from(MAX_ENDED).unwrap_or(0) {
                    return Err(StoreError::TooMuch(format!(
                        "more than {MAX_ENDED} ways in which runs ended; ask for a shorter time"
                    )));
                }
                rows.into_iter().map(read).collect()
            })
            .await
    }

    /// Minutes of one instance, whole, and the hours that they are in, added up from its minutes.
    pub async fn put_ended(&self, batch: SliBatch) -> Result<(), StoreError> {
        self.db
            .write(move |tx| {
                let hours = batch.minutes.iter().map(|row| row.time.div_euclid(60));
                let hours: std::collections::BTreeSet<i64> = hours.collect();
                count::put(tx, &batch)?;
                hours.into_iter().try_for_each(|hour| add_up(tx, &batch.instance, hour))
            })
            .await
    }
}

fn add_up(tx: &mut Tx<'_>, instance: &str, hour: i64) -> Result<(), StoreError> {
    const FAULTS: [&str; 7] = ["client", "gateway", "dify", "worker", "plugin", "provider", "vector"];
    let each = |word: fn(&str) -> String| FAULTS.map(word).join(", ");
    let sql = format!(
        "INSERT INTO sli_hours (hour, series, instance, good, {}, took, first_token) \
         SELECT CAST($1 AS BIGINT), series, instance, sum(good), {}, '', '' FROM sli_minutes \
         WHERE minute >= $2 AND minute < $3 AND instance = $4 GROUP BY series, instance \
         ON CONFLICT (hour, series, instance) DO UPDATE SET good = excluded.good, {}",
        each(str::to_owned),
        each(|fault| format!("sum({fault})")),
        each(|fault| format!("{fault} = excluded.{fault}")),
    );
    tx.execute(&sql, values![hour, hour * 60, (hour + 1) * 60, instance]).map(drop)
}

fn read(mut row: Row) -> Result<EndedRuns, StoreError> {
    let (slot, app_id, app, mode) = (row.int()?, row.text()?, row.text()?, row.text()?);
    let (kind, status, error, error_kind) = (row.text()?, row.text()?, row.opt_text()?, row.opt_text()?);
    Ok(EndedRuns {
        at: Micros(slot * ENDED_US),
        app_id,
        app,
        mode,
        is_embedded: kind == "embedded",
        status: RunStatus::parse(&status).ok_or_else(|| StoreError::unreadable("status", &status))?,
        error,
        error_kind: error_kind.as_deref().and_then(Kind::parse),
        count: row.int()?,
    })
}
