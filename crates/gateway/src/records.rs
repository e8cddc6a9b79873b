//! The bounded way by which records leave the data plane. Sending never waits; what does not fit is counted.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use mainstay_base::Record;
use tokio::sync::mpsc;

/// Records that may wait for their reader.
pub const QUEUE: usize = 8192;

/// Made once for a process; the receiver goes to whoever stores and counts records.
pub fn channel(capacity: usize) -> (RecordSender, RecordReceiver) {
    let (sender, receiver) = mpsc::channel(capacity.max(1));
    let lost = Arc::new(AtomicU64::new(0));
    (RecordSender { sender, lost: lost.clone() }, RecordReceiver { receiver, lost })
}

#[derive(Clone, Debug)]
pub struct RecordSender {
    sender: mpsc::Sender<Record>,
    lost: Arc<AtomicU64>,
}

impl RecordSender {
    /// Hands a record over, or counts it as lost when the queue is full or its reader gone.
    pub fn send(&self, record: Record) {
        if self.sender.try_send(record).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

#[derive(Debug)]
pub struct RecordReceiver {
    receiver: mpsc::Receiver<Record>,
    lost: Arc<AtomicU64>,
}

impl RecordReceiver {
    /// The next record; `None` when every sender is gone.
    pub async fn recv(&mut self) -> Option<Record> {
        self.receiver.recv().await
    }

    /// Waits for a record, then takes up to `limit` that are there. 0 when every sender is gone.
    pub async fn recv_many(&mut self, into: &mut Vec<Record>, limit: usize) -> usize {
        self.receiver.recv_many(into, limit).await
    }

    /// Whether every sender is gone; records may still be there.
    pub fn is_closed(&self) -> bool {
        self.receiver.is_closed()
    }

    pub fn try_recv(&mut self) -> Option<Record> {
        self.receiver.try_recv().ok()
    }

    /// How many records found no room since the start.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}
