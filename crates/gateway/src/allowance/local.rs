//! The keeper of a gateway that stands alone: in memory, for as long as the process lives.

use std::collections::HashMap;

use mainstay_base::{Micros, Usd};
use parking_lot::Mutex;

use crate::ports::{Allowance, BoxFuture, Gone};

/// What is taken of each key's newest window.
#[derive(Default)]
pub(crate) struct Local {
    taken: Mutex<HashMap<String, (Micros, Usd)>>,
}

impl Local {
    fn change<T>(&self, key: &str, window: Micros, change: impl FnOnce(&mut Usd) -> T) -> Option<T> {
        let mut taken = self.taken.lock();
        if !taken.contains_key(key) {
            taken.insert(key.to_owned(), (window, Usd::ZERO));
        }
        let (newest, amount) = taken.get_mut(key)?;
        if window > *newest {
            (*newest, *amount) = (window, Usd::ZERO);
        }
        (window == *newest).then(|| change(amount))
    }
}

impl Allowance for Local {
    fn take(
        &self,
        key: &str,
        window_start: Micros,
        limit: Usd,
        wanted: Usd,
    ) -> BoxFuture<'static, Result<Usd, Gone>> {
        let granted = self.change(key, window_start, |taken| {
            let granted = wanted.min(limit - *taken).max(Usd::ZERO);
            *taken += granted;
            granted
        });
        Box::pin(std::future::ready(Ok(granted.unwrap_or_default())))
    }

    fn book(&self, key: &str, window_start: Micros, spent: Usd) -> BoxFuture<'static, Result<(), Gone>> {
        self.change(key, window_start, |taken| *taken += spent);
        Box::pin(std::future::ready(Ok(())))
    }

    fn give_back(&self, key: &str, window_start: Micros, unused: Usd) {
        self.change(key, window_start, |taken| *taken = (*taken - unused).max(Usd::ZERO));
    }
}
