//! How often somebody may fail to log in.

use std::{collections::HashMap, net::IpAddr, time::Duration};

use mainstay_base::Micros;
use parking_lot::Mutex;

/// Failed logins allowed from one address within [`LOGIN_WINDOW`].
pub(crate) const LOGIN_FAILURES_MAX: u32 = 10;
pub(crate) const LOGIN_WINDOW: Duration = Duration::from_secs(60);
/// Addresses remembered at once; beyond it all new ones share one count.
pub(crate) const LOGIN_ADDRESSES_MAX: usize = 1_024;

/// Failed logins by address, in fixed windows.
#[derive(Default)]
pub(crate) struct Attempts(Mutex<HashMap<Option<IpAddr>, Window>>);

#[derive(Clone, Copy)]
struct Window {
    since: Micros,
    failures: u32,
}

impl Attempts {
    /// `Err` with the seconds to wait when the address has failed too often.
    pub(crate) fn check(&self, address: Option<IpAddr>, now: Micros) -> Result<(), u64> {
        let windows = self.0.lock();
        // An address that found no room of its own is judged by the shared count.
        let window = windows.get(&address).or_else(|| windows.get(&None));
        match window {
            Some(window)
                if window.failures >= LOGIN_FAILURES_MAX && now.since(window.since) < LOGIN_WINDOW =>
            {
                Err((LOGIN_WINDOW - now.since(window.since)).as_secs() + 1)
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn failed(&self, address: Option<IpAddr>, now: Micros) {
        let mut windows = self.0.lock();
        if windows.len() >= LOGIN_ADDRESSES_MAX {
            windows.retain(|_, window| now.since(window.since) < LOGIN_WINDOW);
        }
        let room = windows.len() < LOGIN_ADDRESSES_MAX || windows.contains_key(&address);
        let window = windows.entry(address.filter(|_| room)).or_insert(Window { since: now, failures: 0 });
        if now.since(window.since) >= LOGIN_WINDOW {
            *window = Window { since: now, failures: 0 };
        }
        window.failures = window.failures.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const NOW: Micros = Micros(1_000_000_000);

    fn address(number: u32) -> Option<IpAddr> {
        Some(IpAddr::V4(Ipv4Addr::from_bits(number)))
    }

    #[test]
    fn an_address_that_failed_too_often_waits_for_the_window_to_end() {
        let attempts = Attempts::default();
        for _ in 0..LOGIN_FAILURES_MAX {
            assert_eq!(attempts.check(address(1), NOW), Ok(()));
            attempts.failed(address(1), NOW);
        }
        assert_eq!(attempts.check(address(1), NOW), Err(61));
        assert_eq!(attempts.check(address(2), NOW), Ok(()), "another address is not held back");
        assert_eq!(attempts.check(address(1), NOW + LOGIN_WINDOW), Ok(()));
    }

    #[test]
    fn very_many_addresses_share_a_count_and_bounded_memory() {
        let attempts = Attempts::default();
        for number in 0..20_000 {
            attempts.failed(address(number), NOW);
        }
        assert!(attempts.0.lock().len() <= LOGIN_ADDRESSES_MAX + 1);
        assert!(attempts.check(address(19_999), NOW).is_err());
    }
}
