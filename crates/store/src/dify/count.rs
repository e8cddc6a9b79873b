//! Minutes of series.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use mainstay_base::Micros;

use super::tuples;
use crate::{
    StoreError,
    db::{Row, Tx, Value, numbers, values},
    model::{DifyItem, DifySeries, DifyTotal, Sketch},
};

const MINUTE_US: i64 = 60_000_000;
/// Minutes of one statement.
const TOGETHER: usize = 25;
const COLUMNS: usize = 12;
/// The most different minutes that are read by one statement.
const MINUTES: usize = 100;

#[derive(Default)]
struct Minute {
    count: i64,
    took_us: i64,
    waits: i64,
    wait_us: i64,
    tokens: i64,
    input_tokens: i64,
    output_tokens: i64,
    price_nanos: i64,
    sketch: Sketch,
}

/// By minute and series.
type Minutes = BTreeMap<(i64, i64), Minute>;

/// Adds what the items add. What is there is read and written again: the cursor keeps others away meanwhile.
pub(super) fn add(tx: &mut Tx<'_>, source: &str, items: &[&DifyItem]) -> Result<(), StoreError> {
    let mut minutes = Minutes::new();
    for add in items.iter().flat_map(|item| &item.adds) {
        let minute = minutes.entry((add.at.0.div_euclid(MINUTE_US), add.series.id)).or_default();
        minute.count += 1;
        minute.waits += i64::from(add.wait_us.is_some());
        minute.wait_us = minute.wait_us.saturating_add(add.wait_us.unwrap_or(0));
        minute.took_us = minute.took_us.saturating_add(add.took_us.unwrap_or(0));
        minute.tokens = minute.tokens.saturating_add(add.tokens);
        minute.input_tokens = minute.input_tokens.saturating_add(add.input_tokens);
        minute.output_tokens = minute.output_tokens.saturating_add(add.output_tokens);
        minute.price_nanos = minute.price_nanos.saturating_add(add.price_nanos);
        if let Some(took_us) = add.took_us {
            minute.sketch.add(took_us);
        }
    }
    join(tx, source, &mut minutes)?;
    write(tx, source, &minutes)
}

/// Adds what the database has.
fn join(tx: &mut Tx<'_>, source: &str, minutes: &mut Minutes) -> Result<(), StoreError> {
    let wanted: BTreeSet<i64> = minutes.keys().map(|(minute, _)| *minute).collect();
    let wanted: Vec<i64> = wanted.into_iter().collect();
    for some in wanted.chunks(MINUTES) {
        // A full statement or one for each, so that there are few to prepare.
        let size = if some.len() == MINUTES { MINUTES } else { 1 };
        let sql = format!(
            "SELECT minute, series, count, took_us, waits, wait_us, tokens, input_tokens, output_tokens, price_nanos, \
             sketch FROM dify_minutes WHERE source = $1 AND minute IN ({})",
            numbers(2, size)
        );
        for some in some.chunks(size) {
            let mut values = vec![Value::from(source)];
            values.extend(some.iter().map(|minute| Value::from(*minute)));
            for mut row in tx.query(&sql, &values)? {
                let key = (row.int()?, row.int()?);
                if let Some(minute) = minutes.get_mut(&key) {
                    minute.join(&mut row)?;
                }
            }
        }
    }
    Ok(())
}

impl Minute {
    /// The next nine columns of a row.
    fn join(&mut self, row: &mut Row) -> Result<(), StoreError> {
        self.count += row.int()?;
        self.took_us = self.took_us.saturating_add(row.int()?);
        self.waits += row.int()?;
        self.wait_us = self.wait_us.saturating_add(row.int()?);
        self.tokens = self.tokens.saturating_add(row.int()?);
        self.input_tokens = self.input_tokens.saturating_add(row.int()?);
        self.output_tokens = self.output_tokens.saturating_add(row.int()?);
        self.price_nanos = self.price_nanos.saturating_add(row.int()?);
        let text = row.text()?;
        let sketch = Sketch::parse(&text).ok_or_else(|| StoreError::unreadable("sketch", &text))?;
        self.sketch.merge(&sketch);
        Ok(())
    }
}

fn write(tx: &mut Tx<'_>, source: &str, minutes: &Minutes) -> Result<(), StoreError> {
    let rows: Vec<(&(i64, i64), &Minute, String)> =
        minutes.iter().map(|(key, minute)| (key, minute, minute.sketch.text())).collect();
    for some in rows.chunks(TOGETHER) {
        let size = if some.len() == TOGETHER { TOGETHER } else { 1 };
        let sql = format!(
            "INSERT INTO dify_minutes (source, minute, series, count, took_us, waits, wait_us, tokens, input_tokens, \
             output_tokens, price_nanos, sketch) VALUES {} ON CONFLICT (source, minute, series) DO UPDATE SET \
             count = excluded.count, took_us = excluded.took_us, waits = excluded.waits, wait_us = excluded.wait_us, \
             tokens = excluded.tokens, input_tokens = excluded.input_tokens, output_tokens = excluded.output_tokens, \
             price_nanos = excluded.price_nanos, sketch = excluded.sketch",
            tuples(size, COLUMNS)
        );
        for some in some.chunks(size) {
            let mut values: Vec<Value<'_>> = Vec::with_capacity(size * COLUMNS);
            for ((minute, series), at, sketch) in some {
                values.extend_from_slice(values![
                    source,
                    *minute,
                    *series,
                    at.count,
                    at.took_us,
                    at.waits,
                    at.wait_us,
                    at.tokens,
                    at.input_tokens,
                    at.output_tokens,
                    at.price_nanos,
                    sketch
                ]);
            }
            tx.execute(&sql, &values)?;
        }
    }
    Ok(())
}

pub(super) fn add_series(
    tx: &mut Tx<'_>,
    source: &str,
    series: &[Arc<DifySeries>],
) -> Result<(), StoreError> {
    const SQL: &str = "INSERT INTO dify_series (source, id, kind, app_id, mode, origin, version, node_type, provider, \
         model, status, class, currency) VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13) \
         ON CONFLICT (source, id) DO NOTHING";
    for one in series {
        let DifySeries {
            id,
            kind,
            app_id,
            mode,
            origin,
            version,
            node_type,
            provider,
            model,
            status,
            class,
            currency,
        } = &**one;
        let values = values![
            source, *id, kind, app_id, mode, origin, version, node_type, provider, model, status, class,
            currency
        ];
        tx.execute(SQL, values)?;
    }
    Ok(())
}

pub(super) fn series(tx: &mut Tx<'_>, source: &str, limit: u32) -> Result<Vec<DifySeries>, StoreError> {
    const SQL: &str = "SELECT id, kind, app_id, mode, origin, version, node_type, provider, model, status, class, \
         currency FROM dify_series WHERE source = $1 ORDER BY id LIMIT $2";
    tx.query(SQL, values![source, limit])?.iter_mut().map(read_series).collect()
}

fn read_series(row: &mut Row) -> Result<DifySeries, StoreError> {
    Ok(DifySeries {
        id: row.int()?,
        kind: row.text()?,
        app_id: row.text()?,
        mode: row.text()?,
        origin: row.text()?,
        version: row.text()?,
        node_type: row.text()?,
        provider: row.text()?,
        model: row.text()?,
        status: row.text()?,
        class: row.text()?,
        currency: row.text()?,
    })
}

pub(super) fn totals(
    tx: &mut Tx<'_>,
    source: &str,
    kind: &str,
    since: Micros,
    until: Micros,
    limit: u32,
) -> Result<Vec<DifyTotal>, StoreError> {
    const SQL: &str = "SELECT series, count, took_us, waits, wait_us, tokens, input_tokens, output_tokens, \
         price_nanos, sketch FROM dify_minutes WHERE source = $1 AND minute >= $2 AND minute < $3 LIMIT $4";
    let all = series(tx, source, super::MAX_DIFY_SERIES)?;
    let all: BTreeMap<i64, DifySeries> =
        all.into_iter().filter(|series| series.kind == kind).map(|series| (series.id, series)).collect();
    let (first, last) = (since.0.div_euclid(MINUTE_US), until.0.div_euclid(MINUTE_US) + 1);
    let mut sums: BTreeMap<i64, Minute> = BTreeMap::new();
    for mut row in tx.query(SQL, values![source, first, last, limit])? {
        let series = row.int()?;
        if all.contains_key(&series) {
            sums.entry(series).or_default().join(&mut row)?;
        }
    }
    let total = |(id, sum): (i64, Minute)| {
        let Minute {
            count,
            took_us,
            waits,
            wait_us,
            tokens,
            input_tokens,
            output_tokens,
            price_nanos,
            sketch,
        } = sum;
        Some(DifyTotal {
            series: all.get(&id)?.clone(),
            count,
            took_us,
            waits,
            wait_us,
            tokens,
            input_tokens,
            output_tokens,
            price_nanos,
            sketch,
        })
    };
    Ok(sums.into_iter().filter_map(total).collect())
}

pub(super) fn sweep(tx: &mut Tx<'_>, source: &str, before: Micros, limit: u32) -> Result<u64, StoreError> {
    let minute = before.0.div_euclid(MINUTE_US);
    let row = tx.one(
        "SELECT max(minute) FROM (SELECT minute FROM dify_minutes WHERE source = $1 AND minute < $2 \
         ORDER BY minute LIMIT $3) AS oldest",
        values![source, minute, limit],
    )?;
    let Some(last) = row.map(|mut row| row.opt_int()).transpose()?.flatten() else { return Ok(0) };
    tx.execute("DELETE FROM dify_minutes WHERE source = $1 AND minute <= $2", values![source, last])
}
