//! Where a run's events go.

use tokio::sync::mpsc;

use crate::Event;

/// Nobody, or one listener behind a bounded channel. A slow listener slows its own run and nothing else; a listener
/// that went away is forgotten and the run goes on, as in Dify.
#[derive(Debug, Default)]
pub enum Sink {
    #[default]
    Nobody,
    Channel(mpsc::Sender<Event>),
}

impl Sink {
    /// A sink and its listening end, holding at most `capacity` events (at least one).
    pub fn channel(capacity: usize) -> (Sink, mpsc::Receiver<Event>) {
        let (sender, receiver) = mpsc::channel(capacity.max(1));
        (Sink::Channel(sender), receiver)
    }
}
