//! The two databases behind one door: [`Db::write`] and [`Db::read`] run a closure over a [`Tx`] on a thread of
//! its own kind, with one SQL text for both.
//!
//! Promises: each closure is atomic; `write` answers after the commit is durable; closures that wait together are
//! committed together; a closure may be run again when its transaction was rolled back for a passing reason, so it is
//! `FnMut` and keeps no state of its own. The differences between the databases end here.

mod connection;
mod dialect;
mod failure;
mod filter;
mod pool;
mod postgres;
mod sqlite;
mod target;
mod value;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use mainstay_base::{Clock, Micros};
use tokio::sync::oneshot;

pub(crate) use self::filter::Filter;
pub(crate) use self::target::without_password;
pub(crate) use self::value::{Row, Value, numbers, values};
use self::{connection::Live, failure::Failure, pool::Pool, target::Target};
use crate::{OpenError, StoreError};

/// An open database. Clones share its threads.
#[derive(Clone)]
pub(crate) struct Db {
    writers: Pool,
    readers: Pool,
    /// Shut while nobody has looked at the schema of a database that was away.
    is_shut: Arc<AtomicBool>,
}

/// How a transaction begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Write,
    Read,
}

impl Db {
    /// Starts the threads; each connects when it is first used. `create` makes a missing SQLite file.
    pub(crate) fn start(url: &str, clock: &Clock, create: bool) -> Result<Db, OpenError> {
        let target = Target::parse(url, clock, create)?;
        let pool = |mode| {
            Pool::start(&target, mode)
                .map_err(|source| OpenError::Open { url: target::without_password(url), source })
        };
        Ok(Db { writers: pool(Mode::Write)?, readers: pool(Mode::Read)?, is_shut: Arc::default() })
    }

    /// Refuses all work, but that of [`Db::unguarded`], until it is opened.
    pub(crate) fn shut(&self) {
        self.is_shut.store(true, Ordering::Release);
    }

    pub(crate) fn open(&self) {
        self.is_shut.store(false, Ordering::Release);
    }

    /// The same database for whoever looks whether it may be used.
    pub(crate) fn unguarded(&self) -> Db {
        Db { is_shut: Arc::default(), ..self.clone() }
    }

    fn ask(&self) -> Result<(), StoreError> {
        match self.is_shut.load(Ordering::Acquire) {
            true => Err(StoreError::Unavailable("its schema has not been looked at yet".to_owned())),
            false => Ok(()),
        }
    }

    /// Runs `work` in a transaction and answers when it is durable.
    pub(crate) async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&mut Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        self.ask()?;
        call(&self.writers, work).await
    }

    /// Runs `work` over one consistent view. It must not write.
    pub(crate) async fn read<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&mut Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        self.ask()?;
        call(&self.readers, work).await
    }
}

/// Hands the work to a thread and waits. The wait ends: the threads bound each statement (see `sqlite`, `postgres`)
/// and the queue before them is bounded too.
async fn call<T, F>(pool: &Pool, work: F) -> Result<T, StoreError>
where
    T: Send + 'static,
    F: FnMut(&mut Tx<'_>) -> Result<T, StoreError> + Send + 'static,
{
    let (reply, answer) = oneshot::channel();
    pool.send(Box::new(Call { work, value: None, reply })).await?;
    answer.await.unwrap_or_else(|_| Err(StoreError::Unavailable("the store is closing".to_owned())))
}

/// What a thread of the pool does for a caller.
trait Work: Send {
    /// May be called again after a rollback.
    fn run(&mut self, tx: &mut Tx<'_>) -> Result<(), StoreError>;
    fn reply(self: Box<Self>, outcome: Result<(), StoreError>);
}

struct Call<T, F> {
    work: F,
    value: Option<T>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Work for Call<T, F>
where
    T: Send,
    F: FnMut(&mut Tx<'_>) -> Result<T, StoreError> + Send,
{
    fn run(&mut self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        self.value = Some((self.work)(tx)?);
        Ok(())
    }

    fn reply(self: Box<Self>, outcome: Result<(), StoreError>) {
        let Call { value, reply, .. } = *self;
        let nothing = || StoreError::Bug("a transaction was committed without its work".to_owned());
        // A caller that left is normal; what it asked for is done all the same.
        let _ = reply.send(outcome.and_then(|()| value.ok_or_else(nothing)));
    }
}

/// An open transaction.
pub(crate) struct Tx<'a> {
    live: &'a mut Live,
    now: Micros,
    /// The first statement that failed; after it the transaction can only be rolled back.
    failure: Option<Failure>,
}

impl Tx<'_> {
    /// When the transaction began, by the clock all holders of leases share: the database's own.
    pub(crate) fn now(&self) -> Micros {
        self.now
    }

    /// Runs a statement and says how many rows it changed.
    pub(crate) fn execute(&mut self, sql: &str, values: &[Value<'_>]) -> Result<u64, StoreError> {
        let outcome = self.live.execute(sql, values);
        outcome.map_err(|failure| self.fail(failure))
    }

    pub(crate) fn query(&mut self, sql: &str, values: &[Value<'_>]) -> Result<Vec<Row>, StoreError> {
        let outcome = self.live.query(sql, values);
        outcome.map_err(|failure| self.fail(failure))
    }

    /// The first row, if any.
    pub(crate) fn one(&mut self, sql: &str, values: &[Value<'_>]) -> Result<Option<Row>, StoreError> {
        Ok(self.query(sql, values)?.into_iter().next())
    }

    /// Runs statements of a migration, without values.
    pub(crate) fn batch(&mut self, sql: &str) -> Result<(), StoreError> {
        let outcome = self.live.batch(sql);
        outcome.map_err(|failure| self.fail(failure))
    }

    /// Keeps other processes from migrating until the end of the transaction.
    pub(crate) fn lock_schema(&mut self) -> Result<(), StoreError> {
        let outcome = self.live.lock_schema();
        outcome.map_err(|failure| self.fail(failure))
    }

    pub(crate) fn has_table(&mut self, name: &str) -> Result<bool, StoreError> {
        let sql = self.live.has_table_sql();
        Ok(self.one(sql, values![name])?.is_some())
    }

    fn fail(&mut self, failure: Failure) -> StoreError {
        let error = failure.error.clone();
        self.failure.get_or_insert(failure);
        error
    }
}
