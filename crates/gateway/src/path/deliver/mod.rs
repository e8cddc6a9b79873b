//! The body of an answer on its way to the caller. Pulls from upstream only when the caller's connection asks, so a
//! slow reader slows its own upstream and holds at most one event; carries the permit and the record to their end.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use mainstay_base::record::Outcome;
use mainstay_net::{Body, BodyError};
use mainstay_wire::sse::Decoder;

pub(crate) mod model;

use super::{
    policy::Permit,
    telemetry::Open,
    watch::{self, Cut, Watch},
};

pub(crate) struct Delivery {
    source: Source,
    /// `None` for what the gateway answers without having asked anyone, and after settlement.
    permit: Option<Permit>,
    record: Open,
}

pub(crate) enum Source {
    Events(Box<Events>),
    Plain(Plain),
    Over,
}

/// An app's stream that is relayed event by event.
pub(crate) struct Events {
    body: Body,
    decoder: Decoder,
    watch: Watch,
}

/// A body that is passed on as it comes.
pub(crate) struct Plain {
    body: Body,
    /// The pieces so far, while they are small enough to be looked at.
    seen: Option<Vec<Bytes>>,
    seen_bytes: usize,
    max_seen_bytes: usize,
    /// From `Content-Length`: a connection asks for no more once it has so much.
    announced_bytes: Option<u64>,
}

impl Source {
    pub(crate) fn events(body: Body, max_event_bytes: usize) -> Source {
        Source::Events(Box::new(Events {
            body,
            decoder: Decoder::new(max_event_bytes),
            watch: Watch::default(),
        }))
    }

    /// `max_seen_bytes` of 0: not looked at.
    pub(crate) fn plain(body: Body, max_seen_bytes: usize, announced_bytes: Option<u64>) -> Source {
        let seen = (max_seen_bytes > 0).then(Vec::new);
        Source::Plain(Plain { body, seen, seen_bytes: 0, max_seen_bytes, announced_bytes })
    }
}

impl Delivery {
    /// `never_read`: the protocol sends no body here, so the answer is delivered with its head.
    pub(crate) fn start(source: Source, permit: Option<Permit>, record: Open, never_read: bool) -> Body {
        let mut delivery = Delivery { source, permit, record };
        if never_read || delivery.is_at_end() {
            delivery.complete();
            return mainstay_net::empty();
        }
        mainstay_net::boxed(delivery)
    }

    fn is_at_end(&self) -> bool {
        match &self.source {
            Source::Plain(plain) => plain.body.is_end_stream(),
            Source::Events(_) => false,
            Source::Over => true,
        }
    }

    /// Everything was handed over.
    fn complete(&mut self) {
        if let Source::Plain(plain) = std::mem::replace(&mut self.source, Source::Over)
            && let Some(record) = self.record.known()
        {
            plain.look(record);
        }
        if let Some(permit) = self.permit.take() {
            let tokens = self.record.known().and_then(|record| record.total_tokens);
            permit.settle(None, tokens.unwrap_or(0));
        }
        let failed = self.record.known().is_some_and(|record| record.kind.is_some());
        self.record.close(if failed { Outcome::Failed } else { Outcome::Ok });
    }

    /// The answer began and does not come to its end. The permit settles by what was streamed.
    fn cut(&mut self, cut: &Cut) {
        self.source = Source::Over;
        self.permit = None;
        if let Some(record) = self.record.known() {
            record.kind = watch::kind_of_status(record.path, cut.status);
            record.error = Some(cut.internal.clone());
        }
        self.record.close(Outcome::Cut);
    }

    fn handed_over(&mut self, bytes: usize) {
        let at_us = self.record.elapsed_us();
        if let Some(record) = self.record.known() {
            record.bytes_out += bytes as u64;
            record.first_byte_us.get_or_insert(at_us);
        }
    }
}

impl Drop for Delivery {
    /// Many callers close as soon as they have read the last event: they had everything.
    fn drop(&mut self) {
        if let Source::Events(events) = &self.source
            && events.watch.has_all()
            && !std::thread::panicking()
        {
            self.complete();
        }
    }
}

impl HttpBody for Delivery {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.source {
            Source::Events(_) => {
                self.poll_event(context).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
            }
            Source::Plain(_) => self.poll_plain(context),
            Source::Over => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.source, Source::Over)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Plain(plain) => plain.body.size_hint(),
            // An error event may be added.
            Source::Events(_) => SizeHint::default(),
            Source::Over => SizeHint::with_exact(0),
        }
    }
}

impl Delivery {
    fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let Source::Events(events) = &mut self.source else { return Poll::Ready(None) };
        loop {
            if let Some(frame) = events.decoder.next_frame() {
                let at_us = self.record.elapsed_us();
                if let Some(record) = self.record.known() {
                    events.watch.event(&frame, at_us, record);
                }
                let bytes = frame.into_raw();
                self.handed_over(bytes.len());
                return Poll::Ready(Some(bytes));
            }
            match ready!(Pin::new(&mut events.body).poll_frame(context)) {
                Some(Ok(frame)) => {
                    if let Ok(piece) = frame.into_data() {
                        events.decoder.push(piece);
                    }
                }
                // After the last event it makes no difference how a peer ends its side.
                Some(Err(_)) if events.watch.has_all() && events.decoder.held_bytes() == 0 => {
                    self.complete();
                    return Poll::Ready(None);
                }
                Some(Err(error)) => return Poll::Ready(Some(self.end_in_band(&Cut::by(&error)))),
                None => {
                    let inside_pieces = events.decoder.is_inside_pieces();
                    let rest = events.decoder.finish();
                    if inside_pieces || !events.watch.may_end(&rest) {
                        return Poll::Ready(Some(self.end_in_band_after(&Cut::early(), inside_pieces)));
                    }
                    self.handed_over(rest.len());
                    self.complete();
                    return Poll::Ready((!rest.is_empty()).then_some(rest));
                }
            }
        }
    }

    fn end_in_band(&mut self, cut: &Cut) -> Bytes {
        let inside_pieces = match &self.source {
            Source::Events(events) => events.decoder.is_inside_pieces(),
            Source::Plain(_) | Source::Over => false,
        };
        self.end_in_band_after(cut, inside_pieces)
    }

    /// The last event: it tells the caller. What was held of an incomplete event is not sent; an event of which
    /// pieces went out already is ended first, so that the telling one stands alone.
    fn end_in_band_after(&mut self, cut: &Cut, inside_pieces: bool) -> Bytes {
        let Source::Events(events) = &self.source else { return Bytes::new() };
        let mut event = events.watch.cut(cut);
        if inside_pieces {
            event = Bytes::from([b"\n\n", event.as_ref()].concat());
        }
        self.handed_over(event.len());
        self.cut(cut);
        event
    }

    fn poll_plain(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Source::Plain(plain) = &mut self.source else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(&mut plain.body).poll_frame(context));
        match &frame {
            Some(Ok(frame)) => {
                let piece = frame.data_ref().cloned().unwrap_or_default();
                let length = piece.len();
                plain.keep(piece);
                let announced = plain.announced_bytes;
                let is_last = plain.body.is_end_stream();
                self.handed_over(length);
                let sent = self.record.known().map_or(0, |record| record.bytes_out);
                if is_last || announced.is_some_and(|announced| sent >= announced) {
                    self.complete();
                }
            }
            // There is no way to say it in band; the broken framing tells the caller.
            Some(Err(error)) => self.cut(&Cut::by(error)),
            None => self.complete(),
        }
        Poll::Ready(frame)
    }
}

impl Plain {
    fn keep(&mut self, piece: Bytes) {
        self.seen_bytes += piece.len();
        if self.seen_bytes > self.max_seen_bytes {
            self.seen = None;
        }
        if let Some(seen) = &mut self.seen {
            seen.push(piece);
        }
    }

    fn look(self, record: &mut mainstay_base::Record) {
        match self.seen.as_deref() {
            None | Some([]) => {}
            Some([whole]) => watch::answer(whole, record),
            Some(pieces) => watch::answer(&pieces.concat(), record),
        }
    }
}
