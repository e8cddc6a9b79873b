//! Budgets of virtual keys, leased in slices: what gateways may spend together is decided here, in one row a window.

use mainstay_base::{Micros, Usd};

use crate::{
    StoreError,
    db::{Db, Row, Tx, values},
    model::Allowance,
};

/// The most rows one list gives.
const MAX_ALLOWANCES: i64 = 1000;

pub struct Allowances {
    pub(crate) db: Db,
}

impl Allowances {
    /// Takes up to `wanted` and gives what was granted: less, or nothing, where `limit` would be passed. However many
    /// gateways take at once, together they never get more than the limit.
    pub async fn take(
        &self,
        key: &str,
        window_start: Micros,
        limit: Usd,
        wanted: Usd,
    ) -> Result<Usd, StoreError> {
        let key = key.to_owned();
        self.db.write(move |tx| take(tx, &key, window_start, limit, wanted)).await
    }

    /// Gives back what was granted and not used. What was never taken is not given.
    pub async fn give_back(&self, key: &str, window_start: Micros, unused: Usd) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE allowances SET taken = CASE WHEN taken > $3 THEN taken - $3 ELSE 0 END, updated_at = $4 \
             WHERE key_name = $1 AND window_start = $2";
        let (key, unused) = (key.to_owned(), unused.0.max(0));
        let given = self.db.write(move |tx| tx.execute(SQL, values![&key, window_start, unused, tx.now()]));
        given.await.map(drop)
    }

    /// Writes down what was spent without having been granted, while the store was away: beyond the limit if need be.
    pub async fn book(&self, key: &str, window_start: Micros, spent: Usd) -> Result<(), StoreError> {
        let (key, spent) = (key.to_owned(), spent.0.max(0));
        let booked = self.db.write(move |tx| {
            let taken = taken(tx, &key, window_start)?;
            put(tx, &key, window_start, taken.saturating_add(spent))
        });
        booked.await
    }

    /// Windows that began at `since` or later, the newest first; of one time by key.
    pub async fn list(&self, since: Micros) -> Result<Vec<Allowance>, StoreError> {
        const SQL: &str = "SELECT key_name, window_start, taken, updated_at FROM allowances WHERE window_start >= $1 \
             ORDER BY window_start DESC, key_name LIMIT $2";
        let read = |mut row: Row| {
            Ok(Allowance {
                key: row.text()?,
                window_start: row.micros()?,
                taken: Usd(row.int()?),
                updated_at: row.micros()?,
            })
        };
        self.db
            .read(move |tx| tx.query(SQL, values![since, MAX_ALLOWANCES])?.into_iter().map(read).collect())
            .await
    }
}

fn take(
    tx: &mut Tx<'_>,
    key: &str,
    window_start: Micros,
    limit: Usd,
    wanted: Usd,
) -> Result<Usd, StoreError> {
    let taken = taken(tx, key, window_start)?;
    let granted = limit.0.saturating_sub(taken).clamp(0, wanted.0.max(0));
    if granted > 0 {
        put(tx, key, window_start, taken.saturating_add(granted))?;
    }
    Ok(Usd(granted))
}

/// What is taken already. The row is there afterwards, and locked, so that those who take at once come one by one.
fn taken(tx: &mut Tx<'_>, key: &str, window_start: Micros) -> Result<i64, StoreError> {
    const MAKE: &str = "INSERT INTO allowances (key_name, window_start, taken, updated_at) VALUES ($1,$2,0,$3) \
         ON CONFLICT (key_name, window_start) DO NOTHING";
    const LOOK: &str = "SELECT taken FROM allowances WHERE key_name = $1 AND window_start = $2 FOR UPDATE";
    tx.execute(MAKE, values![key, window_start, tx.now()])?;
    let row = tx.one(LOOK, values![key, window_start])?;
    row.ok_or_else(|| StoreError::unreadable("allowance", "it is gone"))?.int()
}

fn put(tx: &mut Tx<'_>, key: &str, window_start: Micros, taken: i64) -> Result<(), StoreError> {
    const SQL: &str =
        "UPDATE allowances SET taken = $3, updated_at = $4 WHERE key_name = $1 AND window_start = $2";
    tx.execute(SQL, values![key, window_start, taken, tx.now()]).map(drop)
}
