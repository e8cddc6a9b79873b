//! The money that a virtual key may spend in a window of time, leased from the keeper of allowances in slices.
//!
//! A call reserves what it may cost at most before anything is sent, and pays what it did cost at its end. Reserving
//! costs no wait as long as the slice lasts: the next one is fetched in the background when half of it is gone. Law: what
//! is reserved was taken from the keeper before, so gateways never spend more together than the limit, whatever
//! happens to them; a gateway that dies leaves at most its slice unspent. What a call costs beyond its reservation, or
//! without one because the keeper was gone and the key is open then, is owed, and written down when the keeper is
//! there.

use std::{
    panic::AssertUnwindSafe,
    sync::{
        Arc, Weak,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt;
use mainstay_base::{Clock, Micros, Usd, snapshot::KeyBudget};
use parking_lot::Mutex;
use tokio::{
    sync::watch,
    time::{Instant, timeout, timeout_at},
};

use crate::ports::{Allowance, Gone};

mod books;
mod local;
#[cfg(test)]
mod tests;

#[cfg(test)]
pub(crate) use books::SLICES;
pub(crate) use books::{ASK_AGAIN_AFTER, Refused};
use books::{Books, Fill, Step};
pub(crate) use local::Local;

/// How long a call waits for the keeper when the slice is used up.
pub(crate) const STORE_WAIT: Duration = Duration::from_secs(2);
/// How long an answer of the keeper's is still taken; a grant that comes later stays taken and unspent.
pub(crate) const STORE_PATIENCE: Duration = Duration::from_secs(30);

/// One key's money in this process.
pub(crate) struct Purse {
    key: String,
    keeper: Arc<dyn Allowance>,
    clock: Clock,
    books: Mutex<Books>,
    /// Changes whenever the keeper has answered.
    filled: watch::Sender<()>,
}

impl Purse {
    pub(crate) fn new(key: &str, keeper: Arc<dyn Allowance>, clock: Clock) -> Purse {
        let (books, filled) = (Mutex::default(), watch::Sender::new(()));
        Purse { key: key.to_owned(), keeper, clock, books, filled }
    }

    /// The name under which its money is written down.
    pub(crate) fn account(&self) -> &str {
        &self.key
    }

    /// Puts aside what a call may cost at most.
    pub(crate) async fn reserve(
        self: &Arc<Purse>,
        budget: &KeyBudget,
        worst: Usd,
    ) -> Result<Reservation, Refused> {
        let wait_until = Instant::now() + STORE_WAIT;
        let mut waiting = None;
        loop {
            // Before the look, so that an answer between look and wait is not missed.
            let mut filled = self.filled.subscribe();
            match self.step(budget, worst) {
                Step::Reserved { window, leased } => {
                    let (purse, budget) = (self.clone(), *budget);
                    let (is_open, leased) = (leased < worst, AtomicI64::new(leased.0));
                    let spent = AtomicI64::new(0);
                    return Ok(Reservation { purse, budget, window, leased, is_open, spent });
                }
                Step::Refused(why) => return Err(why),
                Step::Wait => {
                    waiting.get_or_insert_with(|| Waiting::new(self, worst));
                }
            }
            if timeout_at(wait_until, filled.changed()).await.is_err() {
                // From here on nobody waits until the keeper has answered.
                self.books.lock().gone(self.clock.now());
            }
        }
    }

    fn step(self: &Arc<Purse>, budget: &KeyBudget, worst: Usd) -> Step {
        let (step, to_do) = {
            let mut books = self.books.lock();
            let step = books.reserve(self.clock.now(), budget, worst);
            (step, books.take_to_do())
        };
        self.perform(to_do);
        step
    }

    fn perform(self: &Arc<Purse>, to_do: books::ToDo) {
        for (window, unused) in to_do.give_back {
            self.keeper.give_back(&self.key, window, unused);
        }
        if let Some(fill) = to_do.fill {
            tokio::spawn(self.clone().fill(fill));
        }
        if to_do.wake_later {
            tokio::spawn(wake(Arc::downgrade(self)));
        }
    }

    /// Outside of a runtime (a process that ends) nothing can be asked any more.
    fn perform_if_possible(self: &Arc<Purse>, to_do: books::ToDo) {
        if tokio::runtime::Handle::try_current().is_ok() {
            self.perform(to_do);
        }
    }

    async fn fill(self: Arc<Purse>, fill: Fill) {
        // A keeper that panics has not answered; it will be asked again like one that is gone.
        let asked = AssertUnwindSafe(self.ask(&fill)).catch_unwind().await;
        let (paid, granted) = asked.unwrap_or((0, Err(Gone)));
        let to_do = {
            let mut books = self.books.lock();
            books.filled(self.clock.now(), fill, paid, granted);
            books.take_to_do()
        };
        self.filled.send_replace(());
        self.perform(to_do);
    }

    /// Writes down what is owed, then takes the next slice: how many debts are paid, and what was granted.
    async fn ask(&self, fill: &Fill) -> (usize, Result<Usd, Gone>) {
        for (paid, (window, owed)) in fill.owed.iter().enumerate() {
            let booked = self.keeper.book(&self.key, *window, *owed);
            if !matches!(timeout(STORE_PATIENCE, booked).await, Ok(Ok(()))) {
                return (paid, Err(Gone));
            }
        }
        if fill.wanted == Usd::ZERO {
            return (fill.owed.len(), Ok(Usd::ZERO));
        }
        let taken = self.keeper.take(&self.key, fill.window, fill.limit, fill.wanted);
        (fill.owed.len(), timeout(STORE_PATIENCE, taken).await.unwrap_or(Err(Gone)))
    }
}

/// A call that waits for the keeper, told to the books until it waits no more.
struct Waiting<'a> {
    purse: &'a Arc<Purse>,
    worst: Usd,
}

impl Waiting<'_> {
    fn new(purse: &Arc<Purse>, worst: Usd) -> Waiting<'_> {
        purse.books.lock().wait_for(worst);
        Waiting { purse, worst }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let to_do = {
            let mut books = self.purse.books.lock();
            books.wait_over(self.worst);
            books.take_to_do()
        };
        self.purse.perform_if_possible(to_do);
    }
}

/// Looks again at what is owed, unless the key is gone by then.
async fn wake(purse: Weak<Purse>) {
    tokio::time::sleep(ASK_AGAIN_AFTER).await;
    let Some(purse) = purse.upgrade() else { return };
    let to_do = {
        let mut books = purse.books.lock();
        books.wake(purse.clock.now());
        books.take_to_do()
    };
    purse.perform(to_do);
}

impl Drop for Purse {
    /// What was leased and not spent goes back. What is owed while the keeper is gone dies with the process.
    fn drop(&mut self) {
        if let Some((window, unused)) = self.books.get_mut().close() {
            self.keeper.give_back(&self.key, window, unused);
        }
    }
}

/// What one call may spend. Dropped, it charges what was spent so far and gives the rest back.
pub(crate) struct Reservation {
    purse: Arc<Purse>,
    budget: KeyBudget,
    window: Micros,
    leased: AtomicI64,
    /// Let pass without a lease, because the keeper was gone.
    is_open: bool,
    spent: AtomicI64,
}

impl Reservation {
    /// Adds to what the call has spent; less than nothing takes an estimate back.
    pub(crate) fn note(&self, spent: Usd) {
        self.spent.fetch_add(spent.0, Ordering::Relaxed);
    }

    /// What the whole call cost, in place of what was noted.
    pub(crate) fn settle(self, spent: Usd) {
        self.spent.store(spent.0, Ordering::Relaxed);
    }

    /// Until the budget's next window.
    pub(crate) fn turns_in(&self) -> Duration {
        let now = self.purse.clock.now();
        books::window_end(now, &self.budget).since(now)
    }

    /// Whether the call may cost `worst` in all; reserves the difference if it is there, and waits for nobody.
    pub(crate) fn covers(&self, worst: Usd) -> bool {
        if self.is_open {
            return true;
        }
        let (is_covered, to_do) = {
            let mut books = self.purse.books.lock();
            let leased = Usd(self.leased.load(Ordering::Relaxed));
            let now = self.purse.clock.now();
            let more = books.widen(now, &self.budget, self.window, leased, worst);
            if let Some(more) = more {
                self.leased.fetch_add(more.0, Ordering::Relaxed);
            }
            (more.is_some(), books.take_to_do())
        };
        self.purse.perform(to_do);
        is_covered
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let (leased, spent) = (Usd(*self.leased.get_mut()), Usd(*self.spent.get_mut()).max(Usd::ZERO));
        let to_do = {
            let mut books = self.purse.books.lock();
            books.settle(self.purse.clock.now(), self.window, self.budget.limit, leased, spent);
            books.take_to_do()
        };
        self.purse.perform_if_possible(to_do);
    }
}
