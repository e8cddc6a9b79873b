//! The keeper of a gateway that stands alone: in memory, for as long as the process lives.

use std::collections::{HashMap, VecDeque};

use mainstay_base::{Micros, Usd};
use parking_lot::Mutex;

use crate::ports::{Allowance, BoxFuture, Gone};

/// Windows of a key that are remembered: the running one, those whose calls still end, and what a reload or a clock that
/// was set wrong left behind.
const MAX_WINDOWS: usize = 8;

/// What is taken of each key's windows, the newest last.
#[derive(Default)]
pub(crate) struct Local {
    taken: Mutex<HashMap<String, VecDeque<(Micros, Usd)>>>,
}

impl Local {
    fn change<T>(&self, key: &str, window: Micros, change: impl FnOnce(&mut Usd) -> T) -> T {
        let mut taken = self.taken.lock();
        if !taken.contains_key(key) {
            taken.insert(key.to_owned(), VecDeque::new());
        }
        let mut none = Usd::ZERO;
        let Some(windows) = taken.get_mut(key) else { return change(&mut none) };
        if let Some((_, amount)) = windows.iter_mut().find(|(known, _)| *known == window) {
            return change(amount);
        }
        if windows.len() == MAX_WINDOWS {
            windows.pop_front();
        }
        let changed = change(&mut none);
        windows.push_back((window, none));
        changed
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
        Box::pin(std::future::ready(Ok(granted)))
    }

    fn book(&self, key: &str, window_start: Micros, spent: Usd) -> BoxFuture<'static, Result<(), Gone>> {
        self.change(key, window_start, |taken| *taken += spent);
        Box::pin(std::future::ready(Ok(())))
    }

    fn give_back(&self, key: &str, window_start: Micros, unused: Usd) {
        self.change(key, window_start, |taken| *taken = (*taken - unused).max(Usd::ZERO));
    }
}
