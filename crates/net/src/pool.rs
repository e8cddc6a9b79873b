//! Connections to peers: one exchange at a time on each, used again while they are fresh.
//!
//! Promises: a connection is driven by whoever reads its answer, in his own task, so that an exchange needs no task of
//! its own, no queue, and nobody on another thread; at most so many connections rest, for so long. Refuses to know
//! timeouts, and whether a request may be sent twice: one that was not sent comes back.

use std::{
    collections::HashMap,
    future::poll_fn,
    pin::{Pin, pin},
    sync::{Arc, Weak},
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::{
    body::Incoming,
    client::conn::http1::{self, SendRequest},
};
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::{net::TcpStream, time::Instant};
use tower_service::Service;

use crate::{
    body::{Body, BodyError},
    connect::Connector,
};

mod alarm;

use alarm::Alarm;

type AnyError = Box<dyn std::error::Error + Send + Sync>;
type Connection = http1::Connection<MaybeHttpsStream<TokioIo<TcpStream>>, Body>;

/// What resting connections may do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rest {
    /// So many rest for one peer; those beyond are closed.
    pub(crate) most: usize,
    pub(crate) at_most: Duration,
}

/// Cheap to clone; clones share the connections.
#[derive(Clone)]
pub(crate) struct Pool {
    inner: Arc<Inner>,
}

struct Inner {
    connector: HttpsConnector<Connector>,
    http: http1::Builder,
    rest: Rest,
    resting: Mutex<Resting>,
}

#[derive(Default)]
struct Resting {
    /// By authority, as URLs write it.
    by_peer: HashMap<Arc<str>, Vec<(Link, Instant)>>,
    /// Somebody closes those that rested for too long.
    is_swept: bool,
}

/// One connection.
pub(crate) struct Link {
    sender: SendRequest<Body>,
    /// `None` once it is over.
    connection: Option<Box<Connection>>,
    alarm: Arc<Alarm>,
    /// Rings the alarm.
    waker: Waker,
    /// `None`: it is closed after its exchange.
    home: Option<(Weak<Inner>, Arc<str>)>,
}

/// No answer came.
pub(crate) struct Unanswered {
    pub(crate) error: hyper::Error,
    /// The request, if nothing of it was sent.
    pub(crate) unsent: Option<Request<Body>>,
}

impl Pool {
    pub(crate) fn new(connector: HttpsConnector<Connector>, http: http1::Builder, rest: Rest) -> Pool {
        Pool { inner: Arc::new(Inner { connector, http, rest, resting: Mutex::default() }) }
    }

    /// The connection that came to rest last, of those that still live.
    pub(crate) fn rested(&self, peer: &str) -> Option<Link> {
        loop {
            let (mut link, since) = self.inner.resting.lock().by_peer.get_mut(peer)?.pop()?;
            // Looked at without the lock: others come and go meanwhile.
            if since.elapsed() < self.inner.rest.at_most && link.is_alive() {
                return Some(link);
            }
        }
    }

    pub(crate) async fn connect(&self, uri: &Uri) -> Result<Link, AnyError> {
        let mut connector = self.inner.connector.clone();
        poll_fn(|context| connector.poll_ready(context)).await?;
        let stream = connector.call(uri.clone()).await?;
        let (sender, connection) = self.inner.http.handshake(stream).await?;
        let alarm = Arc::new(Alarm::default());
        let home = uri.authority().filter(|_| self.inner.rest.most > 0);
        Ok(Link {
            sender,
            connection: Some(Box::new(connection)),
            waker: Waker::from(alarm.clone()),
            alarm,
            home: home.map(|peer| (Arc::downgrade(&self.inner), peer.as_str().into())),
        })
    }
}

impl Link {
    /// Sends a request in origin form and gives the head of its answer.
    pub(crate) async fn exchange(mut self, request: Request<Body>) -> Result<Response<Driven>, Unanswered> {
        let mut answer = pin!(self.sender.try_send_request(request));
        match poll_fn(|context| self.drive(context, |context| answer.as_mut().poll(context))).await {
            Ok(response) => Ok(response.map(|incoming| Driven::new(incoming, self))),
            Err(mut failed) => {
                let unsent = failed.take_message();
                Err(Unanswered { error: failed.into_error(), unsent })
            }
        }
    }

    /// Moves the connection on, then looks at what came of it. Only the socket wakes the task again: everything else
    /// that happens on the connection happens here.
    fn drive<T>(
        &mut self,
        context: &mut Context<'_>,
        look: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        self.alarm.mute(context.waker());
        if let Some(connection) = &mut self.connection
            && Pin::new(&mut **connection).poll(&mut Context::from_waker(&self.waker)).is_ready()
        {
            self.connection = None;
        }
        let seen = look(&mut Context::from_waker(Waker::noop()));
        if self.alarm.unmute() && seen.is_pending() {
            context.waker().wake_by_ref();
        }
        seen
    }

    /// Whether another request can be sent. Whoever drove it is not woken by it any more.
    fn is_alive(&mut self) -> bool {
        let _ = self.drive(&mut Context::from_waker(Waker::noop()), |_| Poll::Ready(()));
        !self.is_over() && self.sender.is_ready()
    }

    fn is_over(&self) -> bool {
        self.connection.is_none()
    }

    /// After a whole answer.
    fn go_home(mut self) {
        let Some((pool, peer)) = &self.home else { return };
        let (Some(pool), peer) = (pool.upgrade(), peer.clone()) else { return };
        if self.is_alive() {
            pool.keep(peer, self);
        }
    }
}

impl Inner {
    fn keep(self: &Arc<Self>, peer: Arc<str>, link: Link) {
        let mut resting = self.resting.lock();
        let links = resting.by_peer.entry(peer).or_default();
        if links.len() >= self.rest.most {
            return;
        }
        links.push((link, Instant::now()));
        if !resting.is_swept {
            resting.is_swept = true;
            tokio::spawn(sweep(Arc::downgrade(self), self.rest.at_most));
        }
    }

    /// Closes what rested for too long, or was closed by its peer. Gives whether anything is left.
    fn close_stale(&self) -> bool {
        let mut resting = self.resting.lock();
        resting.by_peer.retain(|_, links| {
            links.retain_mut(|(link, since)| since.elapsed() < self.rest.at_most && link.is_alive());
            !links.is_empty()
        });
        resting.is_swept = !resting.by_peer.is_empty();
        resting.is_swept
    }
}

/// Until nothing rests any more, or the pool is gone.
async fn sweep(pool: Weak<Inner>, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        if !pool.upgrade().is_some_and(|pool| pool.close_stale()) {
            return;
        }
    }
}

/// The body of an answer, which drives the connection that it comes from. Dropped before its end, it closes it.
pub(crate) struct Driven {
    incoming: Incoming,
    /// `None` once the answer, or the connection, came to its end.
    link: Option<Link>,
}

impl Driven {
    fn new(incoming: Incoming, link: Link) -> Driven {
        let mut driven = Driven { incoming, link: Some(link) };
        driven.let_go_at_end();
        driven
    }

    fn let_go_at_end(&mut self) {
        if self.incoming.is_end_stream()
            && let Some(link) = self.link.take()
        {
            link.go_home();
        }
    }
}

impl HttpBody for Driven {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Driven { incoming, link } = &mut *self;
        let mut frame = Pin::new(&mut *incoming).poll_frame(&mut Context::from_waker(Waker::noop()));
        if let (Poll::Pending, Some(link)) = (&frame, link) {
            frame = link.drive(context, |context| Pin::new(incoming).poll_frame(context));
        }
        match frame {
            Poll::Ready(Some(Ok(frame))) => {
                self.let_go_at_end();
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                self.link = None;
                Poll::Ready(Some(Err(error.into())))
            }
            Poll::Ready(None) => {
                if let Some(link) = self.link.take() {
                    link.go_home();
                }
                Poll::Ready(None)
            }
            Poll::Pending if self.link.as_ref().is_none_or(Link::is_over) => {
                Poll::Ready(Some(Err(BodyError::Closed("the connection is over".into()))))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
