//! Faults that the demo injects, and how it decides that the loop closed.

/// What can be injected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Name {
    /// A worker process is stopped (SIGSTOP): alive, but it does nothing.
    WorkerWedged,
    /// A worker process is killed (SIGKILL).
    WorkerKilled,
    /// The first model provider answers every call with 503.
    ProviderDown,
}
