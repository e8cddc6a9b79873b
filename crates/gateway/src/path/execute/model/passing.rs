//! A whole answer that is passed on as it comes, with the flight that ends with it.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use mainstay_base::Class;
use mainstay_net::{Body, BodyError};

use crate::{
    path::stream::Broken,
    targets::{Flight, Used},
};

/// A body that was committed to.
pub(super) struct Passing {
    pub(super) start: Option<Bytes>,
    pub(super) rest: Body,
    pub(super) flight: Option<Flight>,
}

impl Passing {
    fn end(&mut self, end: Result<Used, Class>) {
        if let Some(flight) = self.flight.take() {
            flight.end(end);
        }
    }
}

impl HttpBody for Passing {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(start) = self.start.take() {
            return Poll::Ready(Some(Ok(Frame::data(start))));
        }
        let frame = ready!(Pin::new(&mut self.rest).poll_frame(context));
        match &frame {
            // Whoever knows that it was the last does not ask again.
            Some(Ok(_)) if self.rest.is_end_stream() => self.end(Ok(Used::default())),
            Some(Ok(_)) => {}
            Some(Err(error)) => self.end(Err(Broken::by(error).class)),
            None => self.end(Ok(Used::default())),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.start.is_none() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let start = self.start.as_ref().map_or(0, |start| start.len() as u64);
        let rest = self.rest.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(start));
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(start));
        }
        hint
    }
}
