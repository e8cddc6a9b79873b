//! Minutes and hours of series, as each process counted them.

use std::time::Duration;

use mainstay_base::{Blame, Micros};

use crate::{
    StoreError,
    db::{Db, Row, Tx, Value, numbers, values},
    model::{SLI_SLOTS, Sketch, SliBatch, SliCounts, SliRow, SliSeries},
};

/// The most series that are told of.
const MAX_SERIES: i64 = 20_000;
/// The most rows of one answer. Who asks for more is refused: an answer that is cut would be read as less traffic.
pub const MAX_SLI_ROWS: u32 = 200_000;
/// The most minutes that one look finds changed.
const MAX_CHANGED: i64 = 2_000;
/// Rows of one statement.
const TOGETHER: usize = 20;
/// Rows that one sweep removes.
const SWEEP: i64 = 5_000;

pub struct Slis {
    pub(crate) db: Db,
}

impl Slis {
    /// Each row takes the place of what the same process wrote for the same time: writing twice changes nothing.
    pub async fn put(&self, batch: SliBatch) -> Result<(), StoreError> {
        self.db.write(move |tx| put(tx, &batch)).await
    }

    pub async fn series(&self) -> Result<Vec<SliSeries>, StoreError> {
        const SQL: &str = "SELECT id, path, app_id, app, mode, endpoint, model, provider, version FROM sli_series \
             ORDER BY id LIMIT $1";
        let read = |mut row: Row| {
            Ok(SliSeries {
                id: row.int()?,
                path: row.text()?,
                app_id: row.text()?,
                app: row.text()?,
                mode: row.text()?,
                endpoint: row.text()?,
                model: row.text()?,
                provider: row.text()?,
                version: row.text()?,
            })
        };
        self.db.read(move |tx| tx.query(SQL, values![MAX_SERIES])?.into_iter().map(read).collect()).await
    }

    /// The minutes of which a row was written in the last `within`, ascending, and the time of the look.
    pub async fn changed(&self, within: Duration) -> Result<(Micros, Vec<i64>), StoreError> {
        const SQL: &str =
            "SELECT DISTINCT minute FROM sli_minutes WHERE updated_at >= $1 ORDER BY minute DESC LIMIT $2";
        self.db
            .read(move |tx| {
                let rows = tx.query(SQL, values![tx.now() - within, MAX_CHANGED])?;
                let mut minutes = rows.into_iter().map(|mut row| row.int()).collect::<Result<Vec<_>, _>>()?;
                minutes.reverse();
                Ok((tx.now(), minutes))
            })
            .await
    }

    /// The rows of minutes from `first` to before `end`, of all processes, by time.
    pub async fn minutes(&self, first: i64, end: i64) -> Result<Vec<SliRow>, StoreError> {
        self.db.read(move |tx| read(tx, &MINUTES, first, end)).await
    }

    /// The same of hours since 1970.
    pub async fn hours(&self, first: i64, end: i64) -> Result<Vec<SliRow>, StoreError> {
        self.db.read(move |tx| read(tx, &HOURS, first, end)).await
    }

    /// Removes what is old enough, a bounded number. `true`: there is more.
    pub async fn sweep(&self, minutes_before: Micros, hours_before: Micros) -> Result<bool, StoreError> {
        self.db
            .write(move |tx| {
                let minutes = sweep(tx, &MINUTES, minutes_before.0.div_euclid(60_000_000))?;
                let hours = sweep(tx, &HOURS, hours_before.0.div_euclid(3_600_000_000))?;
                Ok(minutes || hours)
            })
            .await
    }
}

/// A table of counts.
struct Grain {
    table: &'static str,
    /// The column with the time, in units of its own length.
    time: &'static str,
    has_slots: bool,
}

const MINUTES: Grain = Grain { table: "sli_minutes", time: "minute", has_slots: true };
const HOURS: Grain = Grain { table: "sli_hours", time: "hour", has_slots: false };

const COUNTS: &str = "good, client, gateway, dify, worker, plugin, provider, vector, took, first_token";
const REPLACED: &str = "good = excluded.good, client = excluded.client, gateway = excluded.gateway, \
     dify = excluded.dify, worker = excluded.worker, plugin = excluded.plugin, provider = excluded.provider, \
     vector = excluded.vector, took = excluded.took, first_token = excluded.first_token";

pub(super) fn put(tx: &mut Tx<'_>, batch: &SliBatch) -> Result<(), StoreError> {
    let SliBatch { instance, series, minutes, hours } = batch;
    series.iter().try_for_each(|series| learn(tx, series))?;
    write(tx, instance, &MINUTES, minutes)?;
    write(tx, instance, &HOURS, hours)
}

fn learn(tx: &mut Tx<'_>, series: &SliSeries) -> Result<(), StoreError> {
    const SQL: &str = "INSERT INTO sli_series (id, path, app_id, app, mode, endpoint, model, provider, version) \
         VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9) ON CONFLICT (id) DO NOTHING";
    let SliSeries { id, path, app_id, app, mode, endpoint, model, provider, version } = series;
    tx.execute(SQL, values![*id, path, app_id, app, mode, endpoint, model, provider, version]).map(drop)
}

fn write(tx: &mut Tx<'_>, instance: &str, grain: &Grain, rows: &[SliRow]) -> Result<(), StoreError> {
    let Grain { table, time, has_slots } = grain;
    let texts: Vec<[String; 3]> = rows
        .iter()
        .map(|row| [row.counts.took.text(), row.counts.first_token.text(), slots_text(&row.slots)])
        .collect();
    let rows: Vec<(&SliRow, &[String; 3])> = rows.iter().zip(&texts).collect();
    let (columns, more, replaced) = match has_slots {
        true => (15, ", slots, updated_at", ", slots = excluded.slots, updated_at = excluded.updated_at"),
        false => (13, "", ""),
    };
    let now = tx.now();
    for some in rows.chunks(TOGETHER) {
        // A full statement or one for each, so that there are few to prepare.
        let size = if some.len() == TOGETHER { TOGETHER } else { 1 };
        let tuples: Vec<String> =
            (0..size).map(|row| format!("({})", numbers(row * columns + 1, columns))).collect();
        let sql = format!(
            "INSERT INTO {table} ({time}, series, instance, {COUNTS}{more}) VALUES {} \
             ON CONFLICT ({time}, series, instance) DO UPDATE SET {REPLACED}{replaced}",
            tuples.join(",")
        );
        for some in some.chunks(size) {
            let mut values: Vec<Value<'_>> = Vec::with_capacity(columns * size);
            for (row, [took, first_token, slots]) in some {
                let SliRow { time, series, counts, slots: _ } = row;
                values.extend([Value::Int(*time), Value::Int(*series), Value::Text(instance)]);
                values.push(Value::Int(counts.good));
                values.extend(counts.blamed.iter().map(|count| Value::Int(*count)));
                values.extend([Value::Text(took), Value::Text(first_token)]);
                if *has_slots {
                    values.extend([Value::Text(slots), Value::from(now)]);
                }
            }
            tx.execute(&sql, &values)?;
        }
    }
    Ok(())
}

fn read(tx: &mut Tx<'_>, grain: &Grain, first: i64, end: i64) -> Result<Vec<SliRow>, StoreError> {
    let Grain { table, time, has_slots } = grain;
    let slots = if *has_slots { ", slots" } else { "" };
    let sql = format!(
        "SELECT {time}, series, {COUNTS}{slots} FROM {table} WHERE {time} >= $1 AND {time} < $2 \
         ORDER BY {time}, series LIMIT $3"
    );
    let rows = tx.query(&sql, values![first, end, MAX_SLI_ROWS + 1])?;
    if rows.len() > MAX_SLI_ROWS as usize {
        return Err(StoreError::TooMuch(format!(
            "more than {MAX_SLI_ROWS} rows of what was counted; ask for a shorter time"
        )));
    }
    rows.into_iter().map(|row| read_row(row, *has_slots)).collect()
}

fn read_row(mut row: Row, has_slots: bool) -> Result<SliRow, StoreError> {
    let (time, series, good) = (row.int()?, row.int()?, row.int()?);
    let mut blamed = [0; Blame::ALL.len()];
    for count in &mut blamed {
        *count = row.int()?;
    }
    let sketch = |text: String| Sketch::parse(&text).ok_or_else(|| StoreError::unreadable("sketch", &text));
    let counts = SliCounts { good, blamed, took: sketch(row.text()?)?, first_token: sketch(row.text()?)? };
    let slots = match has_slots {
        true => {
            let text = row.text()?;
            slots(&text).ok_or_else(|| StoreError::unreadable("slots", &text))?
        }
        false => Default::default(),
    };
    Ok(SliRow { time, series, counts, slots })
}

/// `3:0,5:1,,,,`: what is empty is nothing.
fn slots_text(slots: &[(u32, u32); SLI_SLOTS]) -> String {
    let one = |(good, bad): &(u32, u32)| match (good, bad) {
        (0, 0) => String::new(),
        (good, bad) => format!("{good}:{bad}"),
    };
    slots.iter().map(one).collect::<Vec<_>>().join(",")
}

fn slots(text: &str) -> Option<[(u32, u32); SLI_SLOTS]> {
    let mut slots = [(0, 0); SLI_SLOTS];
    let mut parts = text.split(',');
    for slot in &mut slots {
        let part = parts.next()?;
        if !part.is_empty() {
            let (good, bad) = part.split_once(':')?;
            *slot = (good.parse().ok()?, bad.parse().ok()?);
        }
    }
    parts.next().is_none().then_some(slots)
}

/// Whole times at once, so that no time is there in part.
fn sweep(tx: &mut Tx<'_>, grain: &Grain, before: i64) -> Result<bool, StoreError> {
    let Grain { table, time, .. } = grain;
    let sql = format!(
        "SELECT max({time}) FROM (SELECT {time} FROM {table} WHERE {time} < $1 ORDER BY {time} LIMIT $2) AS oldest"
    );
    let row = tx.one(&sql, values![before, SWEEP])?;
    let Some(last) = row.map(|mut row| row.opt_int()).transpose()?.flatten() else { return Ok(false) };
    let removed = tx.execute(&format!("DELETE FROM {table} WHERE {time} <= $1"), values![last])?;
    Ok(removed >= SWEEP.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_written_and_read_back_and_nothing_else_is_read() {
        let mut mixed = [(0, 0); SLI_SLOTS];
        mixed[..3].copy_from_slice(&[(1, 2), (0, 0), (0, 4)]);
        mixed[SLI_SLOTS - 1] = (u32::MAX, 7);
        for case in [[(0, 0); SLI_SLOTS], mixed] {
            assert_eq!(slots(&slots_text(&case)), Some(case));
        }
        let rest = ",".repeat(SLI_SLOTS - 1);
        let wrong = ["1:1,", "1", "a:1", "1:-1"].map(|first| format!("{first}{rest}"));
        for text in wrong.iter().map(String::as_str).chain(["", "1:1"]) {
            assert_eq!(slots(text), None, "{text}");
        }
    }
}
