//! Who is woken when something happens on a connection.

use std::{
    sync::Arc,
    task::{Wake, Waker},
};

use parking_lot::Mutex;

/// Wakes the task that drives a connection, but not for what this task does to it itself while it drives.
pub(super) struct Alarm(Mutex<State>);

struct State {
    task: Waker,
    is_muted: bool,
    /// It rang while it was muted.
    rang: bool,
}

impl Default for Alarm {
    fn default() -> Alarm {
        Alarm(Mutex::new(State { task: Waker::noop().clone(), is_muted: false, rang: false }))
    }
}

impl Alarm {
    /// From here on `task` drives.
    pub(super) fn mute(&self, task: &Waker) {
        let mut state = self.0.lock();
        state.task.clone_from(task);
        (state.is_muted, state.rang) = (true, false);
    }

    /// Gives whether it rang meanwhile.
    pub(super) fn unmute(&self) -> bool {
        let mut state = self.0.lock();
        state.is_muted = false;
        state.rang
    }
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut state = self.0.lock();
        if state.is_muted {
            state.rang = true;
        } else {
            state.task.wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[derive(Default)]
    struct Count(AtomicU32);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn what_rings_while_it_is_muted_is_told_and_what_rings_later_wakes() {
        let (alarm, count) = (Arc::new(Alarm::default()), Arc::new(Count::default()));
        let (bell, task) = (Waker::from(alarm.clone()), Waker::from(count.clone()));
        bell.wake_by_ref();
        alarm.mute(&task);
        assert!(!alarm.unmute());
        alarm.mute(&task);
        bell.wake_by_ref();
        assert_eq!((alarm.unmute(), count.0.load(Ordering::Relaxed)), (true, 0));
        bell.wake_by_ref();
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        alarm.mute(Waker::noop());
        alarm.unmute();
        bell.wake_by_ref();
        assert_eq!(count.0.load(Ordering::Relaxed), 1, "a connection at rest wakes nobody");
    }
}
