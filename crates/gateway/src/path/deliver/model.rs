//! A committed stream of the model path on its way to the caller. The [`Relay`] moves it; here its end is booked: the
//! breaker learns how it ended, the permit and the record what was used.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame};
use mainstay_base::{
    Class, Kind, Usd,
    record::{Outcome, Path},
    snapshot::Price,
};
use mainstay_net::{Body, BodyError};
use mainstay_wire::llm::Usage;

use crate::{
    path::{
        drain::{self, Drains, Room},
        policy::Permit,
        price,
        stream::{Broken, Committed, ContinueWith, Relay, Step, Streaming},
        telemetry::{Attempted, Open},
        watch::kind_of_status,
    },
    ports::BoxFuture,
    targets::{Flight, Used},
};

type Continuing = BoxFuture<'static, (Open, Result<Committed, crate::path::failure::Failure>)>;

/// The body of an answer that streams.
pub(crate) fn deliver(streaming: Streaming, permit: Permit, record: Open) -> Body {
    mainstay_net::boxed(Delivery(Some(Box::new(Exchange::new(streaming, permit, record)))))
}

/// Holds the exchange until it is over or its caller leaves.
struct Delivery(Option<Box<Exchange>>);

/// Everything of one stream that its end settles.
pub(crate) struct Exchange {
    relay: Relay,
    booked: Booked,
    permit: Option<Permit>,
    /// `None` while a continuation has it.
    record: Option<Open>,
    drain: mainstay_base::snapshot::Drain,
    drains: std::sync::Arc<Drains>,
    continue_with: Option<ContinueWith>,
    continuing: Option<(Continuing, Broken)>,
}

/// Ten thousand streams are relayed at a time.
const _: () = assert!(size_of::<Exchange>() <= 1536);

/// The attempt whose stream is relayed now.
struct Booked {
    /// `None` once its end was told.
    flight: Option<Flight>,
    attempted: Attempted,
    price: Option<Price>,
    has_first_token: bool,
}

impl HttpBody for Delivery {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(exchange) = &mut self.0 else { return Poll::Ready(None) };
        let frame = ready!(exchange.poll(context));
        if exchange.is_over() {
            self.0 = None;
        }
        Poll::Ready(frame.map(|bytes| bytes.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }
}

impl Drop for Delivery {
    /// Many callers close as soon as they have read the last event: they had everything.
    fn drop(&mut self) {
        let Some(mut exchange) = self.0.take().filter(|_| !std::thread::panicking()) else { return };
        if exchange.relay.has_all() {
            exchange.complete();
        } else if let Some(room) = exchange.room_to_drain() {
            let drains = exchange.drains.clone();
            drains.spawn(room, drain::read_on(exchange));
        }
    }
}

impl Drop for Exchange {
    /// Whoever let go of it early pays for what was said so far; the target is not blamed.
    fn drop(&mut self) {
        if self.record.is_some() && !std::thread::panicking() {
            self.book(Some(Class::CallerGone));
        }
    }
}

impl Exchange {
    fn new(streaming: Streaming, permit: Permit, record: Open) -> Exchange {
        let Streaming { committed, terms, drain, drains, continue_with } = streaming;
        let Committed { reading, proved, flight, attempted, price, target: _ } = committed;
        let mut exchange = Exchange {
            relay: Relay::new(reading, proved, terms),
            booked: Booked { flight: Some(flight), attempted, price, has_first_token: false },
            permit: Some(permit),
            record: Some(record),
            drain,
            drains,
            continue_with,
            continuing: None,
        };
        exchange.note_first_token();
        exchange
    }

    fn is_over(&self) -> bool {
        self.record.is_none() && self.continuing.is_none()
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        loop {
            if let Some((continuing, _)) = &mut self.continuing {
                let (record, result) = ready!(continuing.as_mut().poll(context));
                self.record = Some(record);
                let broken = self.continuing.take().map(|(_, broken)| broken);
                match (result, broken) {
                    (Ok(committed), _) => self.go_on(committed),
                    (Err(_), Some(broken)) => return Poll::Ready(Some(self.end_in_band(&broken))),
                    (Err(_), None) => return Poll::Ready(None),
                }
            }
            match ready!(self.relay.poll(context)) {
                Step::Bytes(bytes) => {
                    self.note_first_token();
                    self.handed_over(bytes.len());
                    return Poll::Ready(Some(Ok(bytes)));
                }
                Step::Broken(broken) => {
                    self.book(Some(broken.class));
                    if let Err(broken) = self.try_to_continue(broken) {
                        return Poll::Ready(Some(self.end_in_band(&broken)));
                    }
                }
                Step::Over => {
                    self.complete();
                    return Poll::Ready(None);
                }
            }
        }
    }

    /// One continuation at most, and only of plain text: half a tool call cannot be gone on with.
    fn try_to_continue(&mut self, broken: Broken) -> Result<(), Broken> {
        let tally = &self.relay.tally;
        let is_plain = tally.has_content && !tally.has_more_than_text && !self.relay.is_inside_event();
        // What came to its end and failed then has no more to say.
        if !is_plain || tally.finish.is_some() || broken.class.fault() == mainstay_base::Fault::Caller {
            return Err(broken);
        }
        match (self.continue_with.take(), self.record.take()) {
            (Some(continue_with), Some(record)) => {
                self.continuing = Some((continue_with(self.relay.said(), record), broken));
                Ok(())
            }
            (_, record) => {
                self.record = record;
                Err(broken)
            }
        }
    }

    fn go_on(&mut self, committed: Committed) {
        let Committed { reading, proved, flight, attempted, price, target } = committed;
        self.booked = Booked { flight: Some(flight), attempted, price, has_first_token: false };
        self.relay.continue_on(&target, reading, proved);
        self.note_first_token();
    }

    /// The last event: it tells the caller. Inside an event of which a part went out nothing can be told; then the
    /// connection breaks, which tells it too.
    fn end_in_band(&mut self, broken: &Broken) -> Result<Bytes, BodyError> {
        let last = match self.relay.is_inside_event() {
            true => Err(BodyError::other("the provider's stream broke inside an event")),
            false => Ok(self.relay.told(broken.class)),
        };
        self.handed_over(last.as_ref().map_or(0, Bytes::len));
        if let Some(record) = self.record.as_mut().and_then(Open::known) {
            record.kind = Some(kind_of(broken.class));
            record.error = Some(broken.internal.clone());
        }
        self.close(Outcome::Cut);
        last
    }

    /// Everything was handed over.
    fn complete(&mut self) {
        self.book(None);
        self.close(Outcome::Ok);
    }

    fn close(&mut self, outcome: Outcome) {
        if let (Some(permit), Outcome::Ok) = (self.permit.take(), outcome) {
            permit.settle(None, self.relay.used_in_all().total());
        }
        if let Some(mut record) = self.record.take() {
            record.close(outcome);
        }
    }

    /// Tells the breaker, the permit and the record how the attempt ended. The first time counts.
    fn book(&mut self, class: Option<Class>) {
        let Some(flight) = self.booked.flight.take() else { return };
        let used = self.relay.used();
        let is_callers_haste = class.is_some_and(|class| flight.is_callers_haste(class));
        match class {
            // Dropped, it says nothing about the target.
            Some(Class::CallerGone) => drop(flight),
            Some(class) => flight.end(Err(class)),
            None => flight.end(Ok(Used { tokens: (!used.is_estimated).then(|| used.total()) })),
        }
        let cost = self.booked.price.map(|price| price::cost(&price, &used));
        if let (Some(permit), Some(cost)) = (&self.permit, cost) {
            permit.note(cost);
        }
        self.write_down(&used, cost, class, is_callers_haste);
    }

    fn write_down(&mut self, used: &Usage, cost: Option<Usd>, class: Option<Class>, is_callers_haste: bool) {
        let Some(open) = &mut self.record else { return };
        if let Some(attempt) = open.end_attempt(self.booked.attempted, class) {
            attempt.input_tokens = Some(used.input);
            attempt.output_tokens = Some(used.output);
            attempt.cost = cost;
            attempt.is_cost_estimated = used.is_estimated;
            attempt.is_callers_haste = is_callers_haste;
        }
        let Some(record) = open.known() else { return };
        let all = self.relay.used_in_all();
        record.events = self.relay.events_in_all();
        record.input_tokens = Some(all.input);
        record.output_tokens = Some(all.output);
        record.total_tokens = Some(all.total());
        record.cached_tokens = all.cached_input.or(record.cached_tokens);
    }

    fn note_first_token(&mut self) {
        if self.booked.has_first_token || !self.relay.tally.has_content {
            return;
        }
        self.booked.has_first_token = true;
        if let Some(flight) = &mut self.booked.flight {
            flight.first_token();
        }
        let Some(open) = &mut self.record else { return };
        let (at_us, since_us) = (open.elapsed_us(), open.since_begun_us(self.booked.attempted));
        if let Some(attempt) = open.attempted(self.booked.attempted) {
            attempt.first_token_us.get_or_insert(since_us);
        }
        if let Some(record) = open.known() {
            record.first_token_us.get_or_insert(at_us);
        }
    }

    fn handed_over(&mut self, bytes: usize) {
        let Some(open) = &mut self.record else { return };
        let at_us = open.elapsed_us();
        if let Some(record) = open.known() {
            record.bytes_out += bytes as u64;
            record.first_byte_us.get_or_insert(at_us);
        }
    }
}

/// The caller left.
impl Exchange {
    fn room_to_drain(&self) -> Option<Room> {
        let is_worth_it = !self.drain.max_wait.is_zero() && self.booked.flight.is_some();
        is_worth_it.then(|| self.drains.room(self.drain.max_at_once)).flatten()
    }

    pub(crate) fn drain(&self) -> mainstay_base::snapshot::Drain {
        self.drain
    }

    /// Reads on without a caller. `None`: there is no more; what was used is booked as the stream's end tells.
    pub(crate) fn poll_drained(&mut self, context: &mut Context<'_>) -> Poll<Option<usize>> {
        Poll::Ready(match ready!(self.relay.poll(context)) {
            Step::Bytes(bytes) => Some(bytes.len()),
            Step::Broken(broken) => {
                self.book(Some(broken.class));
                None
            }
            Step::Over => {
                self.book(None);
                // All of it is known, so nothing is left to be estimated.
                self.close(Outcome::CallerGone);
                None
            }
        })
    }
}

fn kind_of(class: Class) -> Kind {
    let status = match class {
        Class::Stall | Class::TotalTimeout | Class::FirstTokenTimeout => 504,
        Class::RateLimited | Class::QuotaExhausted => 429,
        Class::ContentFilter | Class::ContextOverflow => 400,
        _ => 502,
    };
    kind_of_status(Path::Model, status).unwrap_or(Kind::Upstream)
}
