//! Named leases with a fencing epoch, as of the control leader.

use std::time::Duration;

use crate::{
    StoreError,
    db::{Db, values},
    model::Lease,
};

pub struct Leases {
    pub(crate) db: Db,
}

impl Leases {
    /// The epoch, or `None` while another holder's lease runs. A holder whose lease still runs keeps its epoch.
    pub async fn acquire(
        &self,
        name: &str,
        holder: &str,
        lease: Duration,
    ) -> Result<Option<i64>, StoreError> {
        const SQL: &str = "INSERT INTO leases (name, holder, epoch, until) VALUES ($1, $2, 1, $3) \
             ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until, \
             epoch = leases.epoch + CASE WHEN leases.holder = excluded.holder AND leases.until > $4 THEN 0 ELSE 1 END \
             WHERE leases.holder = excluded.holder OR leases.until <= $4 RETURNING epoch";
        let (name, holder) = (name.to_owned(), holder.to_owned());
        self.db
            .write(move |tx| {
                let now = tx.now();
                let row = tx.one(SQL, values![&name, &holder, now + lease, now])?;
                row.map(|mut row| row.int()).transpose()
            })
            .await
    }

    /// False when the lease has run out or somebody else has it.
    pub async fn renew(
        &self,
        name: &str,
        holder: &str,
        epoch: i64,
        lease: Duration,
    ) -> Result<bool, StoreError> {
        const SQL: &str =
            "UPDATE leases SET until = $4 WHERE name = $1 AND holder = $2 AND epoch = $3 AND until > $5";
        let (name, holder) = (name.to_owned(), holder.to_owned());
        let changed = self.db.write(move |tx| {
            let now = tx.now();
            tx.execute(SQL, values![&name, &holder, epoch, now + lease, now])
        });
        Ok(changed.await? > 0)
    }

    /// Lets others have it at once.
    pub async fn release(&self, name: &str, holder: &str, epoch: i64) -> Result<bool, StoreError> {
        const SQL: &str =
            "UPDATE leases SET until = 0 WHERE name = $1 AND holder = $2 AND epoch = $3 AND until > 0";
        let (name, holder) = (name.to_owned(), holder.to_owned());
        Ok(self.db.write(move |tx| tx.execute(SQL, values![&name, &holder, epoch])).await? > 0)
    }

    pub async fn get(&self, name: &str) -> Result<Option<Lease>, StoreError> {
        const SQL: &str = "SELECT name, holder, epoch, until FROM leases WHERE name = $1";
        let name = name.to_owned();
        self.db
            .read(move |tx| {
                let Some(mut row) = tx.one(SQL, values![&name])? else { return Ok(None) };
                Ok(Some(Lease {
                    name: row.text()?,
                    holder: row.text()?,
                    epoch: row.int()?,
                    until: row.micros()?,
                }))
            })
            .await
    }
}
