//! One call that several callers share: the work itself, what it gave so far, and who reads it.

use std::{
    collections::VecDeque,
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker, ready},
};

use bytes::Bytes;
use http::{Response, header::CONTENT_TYPE, response::Parts};
use http_body::{Body as HttpBody, Frame};
use mainstay_net::{Body, BodyError};
use parking_lot::Mutex;

use super::{Key, MAX_READERS, MAX_REPLAY_BYTES, Shares};
use crate::path::stream;

type Answering = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;

pub(crate) struct Shared {
    shares: Arc<Shares>,
    pub(super) key: Key,
    /// The first caller's, under which the costs are booked.
    pub(super) leader_id: String,
    work: Mutex<Work>,
    given: Mutex<Given>,
    /// Apart from the work: what the work waits for holds it, and must not keep the work alive.
    waiting: Arc<Waiting>,
}

/// The call itself. Dropping it cancels it.
enum Work {
    NotBegun,
    Answering(Answering),
    Body(Body),
    Over,
}

/// What came so far, for readers at different places in it.
#[derive(Default)]
struct Given {
    head: Option<Parts>,
    /// Pieces from `first` on; those before it are gone.
    pieces: VecDeque<Bytes>,
    first: usize,
    bytes: usize,
    is_over: bool,
    is_broken: bool,
    /// Where each reader is; `None`: the place is free.
    places: Vec<Option<usize>>,
}

/// Wakes all who wait, whoever of them was the last to drive the work.
#[derive(Default)]
struct Waiting(Mutex<Vec<Option<Waker>>>);

impl Wake for Waiting {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.wake_others(usize::MAX);
    }
}

impl Waiting {
    /// Who drives looks for himself.
    fn wake_others(&self, place: usize) {
        let mut wakers = self.0.lock();
        let others = wakers.iter_mut().enumerate().filter(|(other, _)| *other != place);
        let woken: Vec<Waker> = others.filter_map(|(_, waker)| waker.take()).collect();
        drop(wakers);
        woken.into_iter().for_each(Waker::wake);
    }

    fn put(&self, place: usize, waker: &Waker) {
        let mut wakers = self.0.lock();
        if wakers.len() <= place {
            wakers.resize(place + 1, None);
        }
        match &mut wakers[place] {
            Some(known) => known.clone_from(waker),
            empty => *empty = Some(waker.clone()),
        }
    }
}

impl Shared {
    /// With the first caller's place in it.
    pub(super) fn begin(shares: Arc<Shares>, key: Key, leader_id: &str) -> (Arc<Shared>, Reader) {
        let given = Given { places: vec![Some(0)], ..Given::default() };
        let shared = Arc::new(Shared {
            shares,
            key,
            leader_id: leader_id.to_owned(),
            work: Mutex::new(Work::NotBegun),
            given: Mutex::new(given),
            waiting: Arc::default(),
        });
        (shared.clone(), Reader { shared, place: 0 })
    }

    #[cfg(test)]
    pub(super) fn kept_bytes(&self) -> usize {
        self.given.lock().pieces.iter().map(Bytes::len).sum()
    }

    /// Moves the work on by one step, unless another reader is doing so: it wakes everybody when it is through.
    fn drive(&self, place: usize) {
        let Some(mut work) = self.work.try_lock() else { return };
        let waker = Waker::from(self.waiting.clone());
        let mut context = Context::from_waker(&waker);
        let moved = match &mut *work {
            Work::NotBegun | Work::Over => false,
            Work::Answering(answering) => match answering.as_mut().poll(&mut context) {
                Poll::Pending => false,
                Poll::Ready(response) => {
                    let (head, body) = response.into_parts();
                    *work = Work::Body(body);
                    self.given.lock().head = Some(head);
                    true
                }
            },
            Work::Body(body) => match Pin::new(body).poll_frame(&mut context) {
                Poll::Pending => false,
                Poll::Ready(frame) => {
                    if !self.given.lock().take(frame) {
                        *work = Work::Over;
                    }
                    true
                }
            },
        };
        drop(work);
        if moved {
            self.waiting.wake_others(place);
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.shares.forget(&self.key);
    }
}

impl Given {
    /// Whether a newcomer would get everything, and the call is under way.
    fn is_joinable(&self) -> bool {
        self.first == 0 && !self.is_over
    }

    /// Whether there may be more.
    fn take(&mut self, frame: Option<Result<Frame<Bytes>, BodyError>>) -> bool {
        match frame {
            Some(Ok(frame)) => {
                if let Ok(piece) = frame.into_data() {
                    self.push(piece);
                }
                true
            }
            end => {
                self.is_over = true;
                self.is_broken = end.is_some();
                false
            }
        }
    }

    fn push(&mut self, piece: Bytes) {
        if piece.is_empty() {
            return;
        }
        self.bytes += piece.len();
        self.pieces.push_back(piece);
        while self.bytes > MAX_REPLAY_BYTES && self.pieces.len() > 1 {
            self.bytes -= self.pieces.pop_front().map_or(0, |piece| piece.len());
            self.first += 1;
        }
    }

    /// What a reader gets next; `None`: it has to wait.
    fn next(&mut self, place: usize) -> Option<Next> {
        let at = (*self.places.get(place)?)?;
        let Some(index) = at.checked_sub(self.first) else { return Some(Next::Lost) };
        match self.pieces.get(index) {
            Some(piece) => {
                self.places[place] = Some(at + 1);
                Some(Next::Piece(piece.clone()))
            }
            None if self.is_broken => Some(Next::Broken),
            None if self.is_over => Some(Next::End),
            None => None,
        }
    }
}

/// What a reader gets.
#[derive(Debug, PartialEq)]
pub(super) enum Next {
    Piece(Bytes),
    End,
    /// The shared answer's body broke without a word.
    Broken,
    /// The reader was too slow: what it needs next is not kept any more.
    Lost,
}

/// One caller's place in a shared answer.
pub(super) struct Reader {
    pub(super) shared: Arc<Shared>,
    place: usize,
}

impl Reader {
    /// `None`: too late, or too many.
    pub(super) fn join(shared: &Arc<Shared>) -> Option<Reader> {
        let mut given = shared.given.lock();
        if !given.is_joinable() {
            return None;
        }
        let free = given.places.iter().position(Option::is_none);
        let place = free.unwrap_or(given.places.len());
        if place >= MAX_READERS {
            return None;
        }
        match given.places.get_mut(place) {
            Some(free) => *free = Some(0),
            None => given.places.push(Some(0)),
        }
        drop(given);
        Some(Reader { shared: shared.clone(), place })
    }

    /// The head of the answer, once it is there.
    pub(super) async fn head(&self) -> Parts {
        poll_fn(|context| self.poll(context, |given| given.head.clone())).await
    }

    pub(super) fn poll_next(&self, context: &mut Context<'_>) -> Poll<Next> {
        self.poll(context, |given| given.next(self.place))
    }

    /// Looks, drives the work one step if there is nothing to see, and looks again.
    fn poll<T>(&self, context: &mut Context<'_>, mut look: impl FnMut(&mut Given) -> Option<T>) -> Poll<T> {
        if let Some(seen) = look(&mut self.shared.given.lock()) {
            return Poll::Ready(seen);
        }
        // Before driving: what another reader brings meanwhile wakes this one.
        self.shared.waiting.put(self.place, context.waker());
        self.shared.drive(self.place);
        match look(&mut self.shared.given.lock()) {
            Some(seen) => Poll::Ready(seen),
            None => Poll::Pending,
        }
    }
}

impl Drop for Reader {
    /// Whoever is left drives the work from now on.
    fn drop(&mut self) {
        if let Some(place) = self.shared.given.lock().places.get_mut(self.place) {
            *place = None;
        }
        self.shared.waiting.wake_others(self.place);
    }
}

/// The first caller: brings the work.
pub(crate) struct Leader {
    reader: Reader,
}

impl Leader {
    pub(super) fn new(reader: Reader) -> Leader {
        Leader { reader }
    }

    /// Makes the call. Its answer is the first caller's as it is; the body is read together with those who follow.
    pub(crate) async fn answer(
        self,
        answering: impl Future<Output = Response<Body>> + Send + 'static,
    ) -> Response<Body> {
        let Leader { reader } = self;
        *reader.shared.work.lock() = Work::Answering(Box::pin(answering));
        let head = reader.head().await;
        let streams = is_event_stream(&head);
        Response::from_parts(
            head,
            mainstay_net::boxed(Leading { reader: Some(reader), streams, is_between_events: true }),
        )
    }
}

pub(super) fn is_event_stream(head: &Parts) -> bool {
    let content_type = head.headers.get(CONTENT_TYPE);
    content_type.is_some_and(|value| value.as_bytes().starts_with(b"text/event-stream"))
}

/// Whether an event of ours can follow this piece of a stream.
pub(super) fn is_between_events(piece: &[u8]) -> bool {
    piece.ends_with(b"\n\n")
}

/// The first caller's body. Its record and permit go with the shared call.
struct Leading {
    reader: Option<Reader>,
    streams: bool,
    /// The last piece ended between two events.
    is_between_events: bool,
}

impl HttpBody for Leading {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(reader) = &self.reader else { return Poll::Ready(None) };
        let last = match ready!(reader.poll_next(context)) {
            Next::Piece(piece) => {
                self.is_between_events = is_between_events(&piece);
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
            Next::End => None,
            Next::Lost if self.streams && self.is_between_events => {
                Some(Ok(Frame::data(stream::fell_behind(reader.shared.key.form))))
            }
            Next::Lost | Next::Broken => Some(Err(BodyError::other("the shared answer broke off"))),
        };
        self.reader = None;
        Poll::Ready(last)
    }
}
