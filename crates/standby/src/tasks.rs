//! Runs of this process that can be stopped by their task id.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// Clones share the registry.
#[derive(Clone, Default)]
pub(crate) struct Tasks {
    running: Arc<Mutex<HashMap<String, Entry>>>,
}

struct Entry {
    app_id: String,
    session_id: String,
    stop: CancellationToken,
}

/// Takes the task out of the registry when the run is over, however it ends.
pub(crate) struct Registered {
    tasks: Tasks,
    task_id: String,
}

/// What became of a request to stop a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stopped {
    Yes,
    /// It belongs to another app or (in a chat) to another user: nothing happens, and nobody is told.
    NotTheirs,
    NotHere,
}

impl Tasks {
    pub(crate) fn register(
        &self,
        task_id: &str,
        app_id: &str,
        session_id: &str,
        stop: CancellationToken,
    ) -> Registered {
        let entry = Entry { app_id: app_id.to_owned(), session_id: session_id.to_owned(), stop };
        self.running.lock().insert(task_id.to_owned(), entry);
        Registered { tasks: self.clone(), task_id: task_id.to_owned() }
    }

    /// `user`: who must have started it; `None` when that does not matter.
    pub(crate) fn stop(&self, task_id: &str, app_id: &str, user: Option<&str>) -> Stopped {
        let running = self.running.lock();
        let Some(entry) = running.get(task_id) else { return Stopped::NotHere };
        if entry.app_id != app_id || user.is_some_and(|user| user != entry.session_id) {
            return Stopped::NotTheirs;
        }
        entry.stop.cancel();
        Stopped::Yes
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.tasks.running.lock().remove(&self.task_id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_own_app_and_user_stop_a_task() {
        let tasks = Tasks::default();
        let stop = CancellationToken::new();
        let registered = tasks.register("task", "app", "ann", stop.clone());
        assert_eq!(tasks.stop("task", "other", None), Stopped::NotTheirs);
        assert_eq!(tasks.stop("task", "app", Some("bob")), Stopped::NotTheirs);
        assert!(!stop.is_cancelled());
        assert_eq!(tasks.stop("task", "app", Some("ann")), Stopped::Yes);
        assert!(stop.is_cancelled());
        drop(registered);
        assert_eq!(tasks.stop("task", "app", None), Stopped::NotHere);
    }
}
