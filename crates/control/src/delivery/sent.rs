//! What came of the tries of this process, by receiver.

use std::{collections::BTreeMap, sync::Arc};

use mainstay_store::Waiting;
use parking_lot::Mutex;

use crate::facade::Facade;

/// Distinct receivers that are counted; they are configured, and a reload may bring others.
const MAX_RECEIVERS: usize = 200;

/// Since the start of this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tries {
    pub delivered: u64,
    /// Not taken, and tried again later.
    pub again: u64,
    /// Not taken, and not tried again.
    pub given_up: u64,
}

/// Cheap to clone; clones count together.
#[derive(Clone, Default)]
pub(crate) struct Sent(Arc<Mutex<BTreeMap<String, Tries>>>);

impl Sent {
    pub(super) fn count(&self, receiver: &str, add: impl FnOnce(&mut Tries)) {
        let mut all = self.0.lock();
        if let Some(tries) = all.get_mut(receiver) {
            add(tries);
        } else if all.len() < MAX_RECEIVERS {
            add(all.entry(receiver.to_owned()).or_default());
        }
    }
}

impl Facade {
    /// What came of the tries of this process, by receiver.
    pub fn tries(&self) -> BTreeMap<String, Tries> {
        self.shared.sent.0.lock().clone()
    }

    /// Receivers with notices that wait or were given up, of any process; `None`: not known yet.
    pub fn waiting(&self) -> Option<Arc<Vec<Waiting>>> {
        self.shared.waiting.borrow().as_ref().map(|(_, waiting)| waiting.clone())
    }
}
