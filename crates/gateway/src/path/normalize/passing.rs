//! A body that passes through: never held, counted against a limit, and still whole as long as nobody began to read
//! it, so that a candidate that could not be connected to does not cost it.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use mainstay_net::{Body, BodyError};
use parking_lot::Mutex;
use tokio::time::{Sleep, sleep};

use super::{too_large, too_slow};
use crate::path::failure::Failure;

/// The caller's body and what is known of its passage.
#[derive(Clone)]
pub(crate) struct Passing {
    shared: Arc<Shared>,
}

struct Shared {
    /// Taken by the first poll of an attempt.
    body: Mutex<Option<Body>>,
    hint: SizeHint,
    limit_bytes: u64,
    piece_wait: Duration,
    passed_bytes: AtomicU64,
    is_over: AtomicBool,
    is_stalled: AtomicBool,
}

impl Passing {
    pub(crate) fn new(body: Body, limit_bytes: u64, piece_wait: Duration) -> Passing {
        let hint = body.size_hint();
        let shared = Shared {
            body: Mutex::new(Some(body)),
            hint,
            limit_bytes,
            piece_wait,
            passed_bytes: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
            is_stalled: AtomicBool::new(false),
        };
        Passing { shared: Arc::new(shared) }
    }

    /// The body for one attempt.
    pub(crate) fn attempt(&self) -> Body {
        mainstay_net::boxed(Attempt { shared: self.shared.clone(), body: None, stalled: None })
    }

    /// Whether no attempt has read a byte.
    pub(crate) fn is_untouched(&self) -> bool {
        self.shared.body.lock().is_some()
    }

    /// What the caller did wrong, when the body was given up for it.
    pub(crate) fn failure(&self) -> Option<Failure> {
        let shared = &self.shared;
        match () {
            () if shared.is_over.load(Ordering::Relaxed) => Some(too_large(shared.limit_bytes)),
            () if shared.is_stalled.load(Ordering::Relaxed) => Some(too_slow(shared.piece_wait)),
            () => None,
        }
    }

    pub(crate) fn passed_bytes(&self) -> u64 {
        self.shared.passed_bytes.load(Ordering::Relaxed)
    }
}

struct Attempt {
    shared: Arc<Shared>,
    body: Option<Body>,
    /// Exists only while a piece is waited for: an upload that flows has no timer.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl HttpBody for Attempt {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.body.is_none() {
            let taken = self.shared.body.lock().take();
            self.body = taken;
        }
        let Some(body) = self.body.as_mut() else {
            return Poll::Ready(Some(Err(BodyError::other(
                "the body was sent to another candidate already",
            ))));
        };
        let Poll::Ready(frame) = Pin::new(body).poll_frame(context) else {
            let wait = self.shared.piece_wait;
            let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(wait)));
            ready!(stalled.as_mut().poll(context));
            self.shared.is_stalled.store(true, Ordering::Relaxed);
            return Poll::Ready(Some(Err(BodyError::other("the body stopped coming"))));
        };
        self.stalled = None;
        if let Some(Ok(frame)) = &frame {
            let length = frame.data_ref().map_or(0, Bytes::len) as u64;
            let passed = self.shared.passed_bytes.fetch_add(length, Ordering::Relaxed) + length;
            if passed > self.shared.limit_bytes {
                self.shared.is_over.store(true, Ordering::Relaxed);
                return Poll::Ready(Some(Err(BodyError::other("the body is larger than its limit"))));
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.body {
            Some(body) => body.is_end_stream(),
            None => self.shared.hint.exact() == Some(0),
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| self.shared.hint, |body| body.size_hint())
    }
}
