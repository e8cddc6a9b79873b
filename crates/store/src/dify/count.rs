//! Minutes of series, and hours of them: what is counted in one is counted in the other.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use mainstay_base::Micros;

use super::tuples;
use crate::{
    StoreError,
    db::{Row, Tx, Value, numbers, values},
    model::{DifyCounted, DifyItem, DifySeries, DifyTotal, Sketch},
};

const MINUTE_US: i64 = 60_000_000;
const MINUTES_AN_HOUR: i64 = 60;
/// Sums of one statement.
const TOGETHER: usize = 25;
const COLUMNS: usize = 13;
/// The most different times that are read by one statement.
const TIMES: usize = 100;

/// A table of sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Grain {
    table: &'static str,
    /// The column with the time, in units of its own length.
    time: &'static str,
}

const MINUTES: Grain = Grain { table: "dify_minutes", time: "minute" };
const HOURS: Grain = Grain { table: "dify_hours", time: "hour" };

#[derive(Clone, Default)]
struct Sum {
    count: i64,
    took_us: i64,
    waits: i64,
    wait_us: i64,
    tokens: i64,
    input_tokens: i64,
    output_tokens: i64,
    price_nanos: i64,
    sketch: Sketch,
    wait_sketch: Sketch,
}

/// By time and series.
type Sums = BTreeMap<(i64, i64), Sum>;

/// Adds what the items add. What is there is read and written again: the cursor keeps others away meanwhile.
pub(super) fn add(tx: &mut Tx<'_>, source: &str, items: &[&DifyItem]) -> Result<(), StoreError> {
    let mut minutes = Sums::new();
    for add in items.iter().flat_map(|item| &item.adds) {
        let sum = minutes.entry((add.at.0.div_euclid(MINUTE_US), add.series.id)).or_default();
        sum.count += 1;
        sum.waits += i64::from(add.wait_us.is_some());
        sum.wait_us = sum.wait_us.saturating_add(add.wait_us.unwrap_or(0));
        sum.took_us = sum.took_us.saturating_add(add.took_us.unwrap_or(0));
        sum.tokens = sum.tokens.saturating_add(add.tokens);
        sum.input_tokens = sum.input_tokens.saturating_add(add.input_tokens);
        sum.output_tokens = sum.output_tokens.saturating_add(add.output_tokens);
        sum.price_nanos = sum.price_nanos.saturating_add(add.price_nanos);
        if let Some(took_us) = add.took_us {
            sum.sketch.add(took_us);
        }
        if let Some(wait_us) = add.wait_us {
            sum.wait_sketch.add(wait_us);
        }
    }
    let mut hours = Sums::new();
    for ((minute, series), sum) in &minutes {
        hours.entry((minute.div_euclid(MINUTES_AN_HOUR), *series)).or_default().join(sum);
    }
    for (grain, sums) in [(MINUTES, &mut minutes), (HOURS, &mut hours)] {
        join(tx, source, grain, sums)?;
        write(tx, source, grain, sums)?;
    }
    Ok(())
}

/// Adds what the database has.
fn join(tx: &mut Tx<'_>, source: &str, grain: Grain, sums: &mut Sums) -> Result<(), StoreError> {
    let Grain { table, time } = grain;
    let wanted: BTreeSet<i64> = sums.keys().map(|(at, _)| *at).collect();
    let wanted: Vec<i64> = wanted.into_iter().collect();
    for some in wanted.chunks(TIMES) {
        // A full statement or one for each, so that there are few to prepare.
        let size = if some.len() == TIMES { TIMES } else { 1 };
        let sql = format!(
            "SELECT {time}, series, count, took_us, waits, wait_us, tokens, input_tokens, output_tokens, price_nanos, \
             sketch, wait_sketch FROM {table} WHERE source = $1 AND {time} IN ({})",
            numbers(2, size)
        );
        for some in some.chunks(size) {
            let mut values = vec![Value::from(source)];
            values.extend(some.iter().map(|at| Value::from(*at)));
            for mut row in tx.query(&sql, &values)? {
                let key = (row.int()?, row.int()?);
                if let Some(sum) = sums.get_mut(&key) {
                    sum.join(&Sum::read(&mut row)?);
                }
            }
        }
    }
    Ok(())
}

impl Sum {
    /// The next ten columns of a row.
    fn read(row: &mut Row) -> Result<Sum, StoreError> {
        let mut sum = Sum {
            count: row.int()?,
            took_us: row.int()?,
            waits: row.int()?,
            wait_us: row.int()?,
            tokens: row.int()?,
            input_tokens: row.int()?,
            output_tokens: row.int()?,
            price_nanos: row.int()?,
            sketch: Sketch::default(),
            wait_sketch: Sketch::default(),
        };
        for sketch in [&mut sum.sketch, &mut sum.wait_sketch] {
            let text = row.text()?;
            *sketch = Sketch::parse(&text).ok_or_else(|| StoreError::unreadable("sketch", &text))?;
        }
        Ok(sum)
    }

    fn join(&mut self, other: &Sum) {
        let Sum {
            count,
            took_us,
            waits,
            wait_us,
            tokens,
            input_tokens,
            output_tokens,
            price_nanos,
            sketch,
            wait_sketch,
        } = other;
        self.count += count;
        self.took_us = self.took_us.saturating_add(*took_us);
        self.waits += waits;
        self.wait_us = self.wait_us.saturating_add(*wait_us);
        self.tokens = self.tokens.saturating_add(*tokens);
        self.input_tokens = self.input_tokens.saturating_add(*input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(*output_tokens);
        self.price_nanos = self.price_nanos.saturating_add(*price_nanos);
        self.sketch.merge(sketch);
        self.wait_sketch.merge(wait_sketch);
    }
}

fn write(tx: &mut Tx<'_>, source: &str, grain: Grain, sums: &Sums) -> Result<(), StoreError> {
    let Grain { table, time } = grain;
    let rows: Vec<(&(i64, i64), &Sum, [String; 2])> =
        sums.iter().map(|(key, sum)| (key, sum, [sum.sketch.text(), sum.wait_sketch.text()])).collect();
    for some in rows.chunks(TOGETHER) {
        let size = if some.len() == TOGETHER { TOGETHER } else { 1 };
        let sql = format!(
            "INSERT INTO {table} (source, {time}, series, count, took_us, waits, wait_us, tokens, input_tokens, \
             output_tokens, price_nanos, sketch, wait_sketch) VALUES {} ON CONFLICT (source, {time}, series) DO UPDATE SET \
             count = excluded.count, took_us = excluded.took_us, waits = excluded.waits, wait_us = excluded.wait_us, \
             tokens = excluded.tokens, input_tokens = excluded.input_tokens, output_tokens = excluded.output_tokens, \
             price_nanos = excluded.price_nanos, sketch = excluded.sketch, wait_sketch = excluded.wait_sketch",
            tuples(size, COLUMNS)
        );
        for some in some.chunks(size) {
            let mut values: Vec<Value<'_>> = Vec::with_capacity(size * COLUMNS);
            for ((at, series), sum, [sketch, wait_sketch]) in some {
                values.extend_from_slice(values![
                    source,
                    *at,
                    *series,
                    sum.count,
                    sum.took_us,
                    sum.waits,
                    sum.wait_us,
                    sum.tokens,
                    sum.input_tokens,
                    sum.output_tokens,
                    sum.price_nanos,
                    sketch,
                    wait_sketch
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

/// Sums over whole minutes: hours where an hour is wanted whole. More rows than `limit` are refused, not left out.
pub(super) fn totals(
    tx: &mut Tx<'_>,
    source: &str,
    kind: &str,
    since: Micros,
    until: Micros,
    limit: u32,
) -> Result<Vec<DifyTotal>, StoreError> {
    let all = series(tx, source, super::MAX_DIFY_SERIES)?;
    let all: BTreeMap<i64, DifySeries> =
        all.into_iter().filter(|series| series.kind == kind).map(|series| (series.id, series)).collect();
    let mut sums: BTreeMap<i64, Sum> = BTreeMap::new();
    let mut left = limit;
    for (grain, from, to) in spans(since.0.div_euclid(MINUTE_US), until.0.div_euclid(MINUTE_US) + 1) {
        let Grain { table, time } = grain;
        let sql = format!(
            "SELECT series, count, took_us, waits, wait_us, tokens, input_tokens, output_tokens, price_nanos, sketch, \
             wait_sketch FROM {table} WHERE source = $1 AND {time} >= $2 AND {time} < $3 AND series IN \
             (SELECT id FROM dify_series WHERE source = $1 AND kind = $4) LIMIT $5"
        );
        let rows = tx.query(&sql, values![source, from, to, kind, left.saturating_add(1)])?;
        left = left.checked_sub(u32::try_from(rows.len()).unwrap_or(u32::MAX)).ok_or_else(|| {
            StoreError::TooMuch(format!("more than {limit} sums of `{kind}`; ask for a shorter time"))
        })?;
        for mut row in rows {
            let series = row.int()?;
            sums.entry(series).or_default().join(&Sum::read(&mut row)?);
        }
    }
    let total = |(id, sum): (i64, Sum)| {
        let Sum {
            count,
            took_us,
            waits,
            wait_us,
            tokens,
            input_tokens,
            output_tokens,
            price_nanos,
            sketch,
            wait_sketch: _,
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

/// Rows of minutes, or of hours, from `first` to before `end`, by time; nodes only where `nodes` are wanted. More than
/// `limit` are refused, not left out.
pub(super) fn rows(
    tx: &mut Tx<'_>,
    source: &str,
    is_hours: bool,
    (first, end): (i64, i64),
    kinds: &[&str],
    limit: u32,
) -> Result<Vec<DifyCounted>, StoreError> {
    let Grain { table, time } = if is_hours { HOURS } else { MINUTES };
    let sql = format!(
        "SELECT {time}, series, count, took_us, waits, wait_us, tokens, input_tokens, output_tokens, price_nanos, \
         sketch, wait_sketch FROM {table} WHERE source = $1 AND {time} >= $2 AND {time} < $3 AND series IN \
         (SELECT id FROM dify_series WHERE source = $1 AND kind IN ({})) ORDER BY {time}, series LIMIT $4",
        numbers(5, kinds.len())
    );
    let mut values = vec![Value::from(source), first.into(), end.into(), limit.saturating_add(1).into()];
    values.extend(kinds.iter().map(|kind| Value::from(*kind)));
    let rows = tx.query(&sql, &values)?;
    if rows.len() > limit as usize {
        return Err(StoreError::TooMuch(format!("more than {limit} sums; ask for a shorter time")));
    }
    let counted = |mut row: Row| {
        let (time, series) = (row.int()?, row.int()?);
        let Sum { count, sketch, wait_sketch, .. } = Sum::read(&mut row)?;
        Ok(DifyCounted { time, series, count, took: sketch, wait: wait_sketch })
    };
    rows.into_iter().map(counted).collect()
}

/// The tables and times that make up the minutes from `first` to before `end`.
fn spans(first: i64, end: i64) -> Vec<(Grain, i64, i64)> {
    let first_hour = first.div_euclid(MINUTES_AN_HOUR) + i64::from(first.rem_euclid(MINUTES_AN_HOUR) > 0);
    let end_hour = end.div_euclid(MINUTES_AN_HOUR);
    if first_hour >= end_hour {
        return vec![(MINUTES, first, end)];
    }
    let spans = [
        (MINUTES, first, first_hour * MINUTES_AN_HOUR),
        (HOURS, first_hour, end_hour),
        (MINUTES, end_hour * MINUTES_AN_HOUR, end),
    ];
    spans.into_iter().filter(|(_, from, to)| from < to).collect()
}

/// Removes the oldest minutes of whole hours, and the hours that have none any more.
pub(super) fn sweep(tx: &mut Tx<'_>, source: &str, before: Micros, limit: u32) -> Result<u64, StoreError> {
    let minute = before.0.div_euclid(MINUTE_US * MINUTES_AN_HOUR) * MINUTES_AN_HOUR;
    let row = tx.one(
        "SELECT max(minute) FROM (SELECT minute FROM dify_minutes WHERE source = $1 AND minute < $2 \
         ORDER BY minute LIMIT $3) AS oldest",
        values![source, minute, limit],
    )?;
    let Some(last) = row.map(|mut row| row.opt_int()).transpose()?.flatten() else { return Ok(0) };
    let hour = (last + 1).div_euclid(MINUTES_AN_HOUR);
    tx.execute("DELETE FROM dify_hours WHERE source = $1 AND hour < $2", values![source, hour])?;
    tx.execute("DELETE FROM dify_minutes WHERE source = $1 AND minute <= $2", values![source, last])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The minutes that spans stand for, in order.
    fn minutes(spans: &[(Grain, i64, i64)]) -> Vec<i64> {
        let whole = |(grain, from, to): &(Grain, i64, i64)| {
            let each = if *grain == HOURS { MINUTES_AN_HOUR } else { 1 };
            from * each..to * each
        };
        spans.iter().flat_map(whole).collect()
    }

    #[test]
    fn spans_hold_each_minute_once_and_no_other() {
        for first in -70..130 {
            for end in first..first + 260 {
                let spans = spans(first, end);
                assert_eq!(minutes(&spans), (first..end).collect::<Vec<i64>>(), "{first}..{end}: {spans:?}");
                let single: i64 =
                    spans.iter().filter(|span| span.0 == MINUTES).map(|span| span.2 - span.1).sum();
                assert!(single < 2 * MINUTES_AN_HOUR, "{first}..{end}: {spans:?}");
            }
        }
    }
}
