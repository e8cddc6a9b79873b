//! An answer's body under its deadlines: none between two pieces longer than `idle`, nothing after `total`.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use mainstay_base::snapshot::Timeouts;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::body::{Body, BodyError};

/// Wraps what is received. One timer for both deadlines, made when something is waited for at first and re-armed only when
/// it fires: a stream of many small pieces costs a clock reading for each, not a timer operation, and what is there
/// already has none.
pub(crate) struct Timed<B> {
    inner: B,
    idle: Duration,
    total: Duration,
    total_at: Instant,
    last_piece_at: Instant,
    timer: Option<Pin<Box<Sleep>>>,
    over: bool,
}

/// A body made in this process, under the deadlines of one that comes from a peer.
pub fn timed(body: Body, timeouts: &Timeouts, started: Instant) -> Body {
    let total_at = started + timeouts.total;
    crate::boxed(Timed::new(body, timeouts.idle, timeouts.total, total_at))
}

impl<B> Timed<B> {
    pub(crate) fn new(inner: B, idle: Duration, total: Duration, total_at: Instant) -> Timed<B> {
        Timed { inner, idle, total, total_at, last_piece_at: Instant::now(), timer: None, over: false }
    }

    /// Which deadline has passed, or when the timer is to look again.
    fn deadline_passed(&self, now: Instant) -> Result<Instant, BodyError> {
        let idle_at = self.last_piece_at + self.idle;
        match () {
            () if now >= self.total_at => Err(BodyError::Total(self.total)),
            () if now >= idle_at => Err(BodyError::Idle(self.idle)),
            () => Ok(self.total_at.min(idle_at)),
        }
    }
}

impl<B> HttpBody for Timed<B>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: Into<BodyError>,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.over {
            return Poll::Ready(None);
        }
        if let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(context) {
            let Some(frame) = frame else {
                self.over = true;
                return Poll::Ready(None);
            };
            let now = Instant::now();
            self.last_piece_at = now;
            // A peer that never pauses must not outlive `total` either.
            if now >= self.total_at {
                self.over = true;
                return Poll::Ready(Some(Err(BodyError::Total(self.total))));
            }
            self.over = frame.is_err();
            return Poll::Ready(Some(frame.map_err(Into::into)));
        }
        let first = self.total_at.min(self.last_piece_at + self.idle);
        loop {
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(first)));
            ready!(timer.as_mut().poll(context));
            match self.deadline_passed(Instant::now()) {
                Ok(next) => {
                    if let Some(timer) = &mut self.timer {
                        timer.as_mut().reset(next);
                    }
                }
                Err(error) => {
                    self.over = true;
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.over || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
