//! What goes on of one read, copied only where it must be.

use bytes::{Bytes, BytesMut};

/// Events of one read that go on together. As long as they stand side by side in it, they are one slice of it.
pub(super) struct Run {
    chunk: Bytes,
    /// Where in `chunk` the slice stands.
    from: usize,
    to: usize,
    mixed: BytesMut,
}

impl Run {
    pub(super) fn of(chunk: Bytes) -> Run {
        Run { chunk, from: 0, to: 0, mixed: BytesMut::new() }
    }

    pub(super) fn keep(&mut self, raw: &[u8]) {
        match self.place(raw) {
            Some(at) if self.mixed.is_empty() && (at == self.to || self.from == self.to) => {
                if self.from == self.to {
                    self.from = at;
                }
                self.to = at + raw.len();
            }
            _ => self.put(raw),
        }
    }

    /// Where in the chunk these bytes stand; `None` when they are a copy.
    fn place(&self, raw: &[u8]) -> Option<usize> {
        let at = (raw.as_ptr() as usize).checked_sub(self.chunk.as_ptr() as usize)?;
        (at + raw.len() <= self.chunk.len()).then_some(at)
    }

    pub(super) fn put(&mut self, bytes: &[u8]) {
        if self.mixed.is_empty() && self.from < self.to {
            self.mixed.extend_from_slice(&self.chunk[self.from..self.to]);
        }
        self.mixed.extend_from_slice(bytes);
    }

    pub(super) fn into_bytes(self) -> Bytes {
        match self.mixed.is_empty() {
            true => self.chunk.slice(self.from..self.to),
            false => self.mixed.freeze(),
        }
    }
}
