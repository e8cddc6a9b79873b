//! The body type that the crates hand to each other, and how bodies are made and collected.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt, stream::unfold};
use http_body::Frame;
use http_body_util::{BodyExt, Empty, Full, StreamBody, combinators::UnsyncBoxBody};
use tokio::sync::mpsc;

type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// A body of unknown make: `Send`, not `Sync`, polled by one reader.
pub type Body = UnsyncBoxBody<Bytes, BodyError>;

/// Why a body ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    #[error("nothing came for {} ms (idle timeout)", .0.as_millis())]
    Idle(Duration),
    #[error("the exchange took longer than {} ms (total timeout)", .0.as_millis())]
    Total(Duration),
    #[error("the peer closed the connection before the end of the body")]
    Closed(#[source] AnyError),
    #[error("the body could not be produced")]
    Other(#[source] AnyError),
}

impl BodyError {
    /// For bodies that are not read from a peer.
    pub fn other(error: impl Into<AnyError>) -> BodyError {
        BodyError::Other(error.into())
    }
}

impl From<hyper::Error> for BodyError {
    fn from(error: hyper::Error) -> BodyError {
        BodyError::Closed(error.into())
    }
}

impl From<std::convert::Infallible> for BodyError {
    fn from(never: std::convert::Infallible) -> BodyError {
        match never {}
    }
}

/// A body that is there already, all of it.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(BodyError::from).boxed_unsync()
}

pub fn empty() -> Body {
    Empty::new().map_err(BodyError::from).boxed_unsync()
}

/// A body made piece by piece.
pub fn stream<S, E>(pieces: S) -> Body
where
    S: Stream<Item = Result<Bytes, E>> + Send + 'static,
    E: Into<BodyError> + 'static,
{
    StreamBody::new(pieces.map(|piece| piece.map(Frame::data).map_err(Into::into))).boxed_unsync()
}

/// A body fed by whoever holds the sender. At most `pieces` wait in between, so a slow reader slows its own sender
/// and nobody else. Dropping the sender ends the body; a send that fails means that the reader has left.
pub fn channel(pieces: usize) -> (mpsc::Sender<Result<Bytes, BodyError>>, Body) {
    let (sender, receiver) = mpsc::channel(pieces);
    let pieces = unfold(receiver, |mut receiver: mpsc::Receiver<Result<Bytes, BodyError>>| async move {
        receiver.recv().await.map(|piece| (piece, receiver))
    });
    (sender, stream(pieces))
}

/// Any body as [`Body`]; what a server receives (`hyper::body::Incoming`) included.
pub fn boxed<B>(body: B) -> Body
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BodyError>,
{
    body.map_err(Into::into).boxed_unsync()
}

#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    #[error("the body is larger than {limit_bytes} bytes")]
    TooLarge { limit_bytes: usize },
    #[error(transparent)]
    Body(BodyError),
}

/// The whole body in one piece, refused as soon as it is known to be larger than `limit_bytes`.
pub async fn collect<B>(body: B, limit_bytes: usize) -> Result<Bytes, CollectError>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<BodyError>,
{
    let mut body = std::pin::pin!(body);
    if http_body::Body::size_hint(&*body).lower() > limit_bytes as u64 {
        return Err(CollectError::TooLarge { limit_bytes });
    }
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while let Some(frame) = body.as_mut().frame().await {
        let Ok(piece) = frame.map_err(|error| CollectError::Body(error.into()))?.into_data() else {
            continue;
        };
        if first.len() + rest.len() + piece.len() > limit_bytes {
            return Err(CollectError::TooLarge { limit_bytes });
        }
        match (first.is_empty(), rest.is_empty()) {
            (true, _) => first = piece,
            (false, true) => {
                rest.extend_from_slice(&std::mem::take(&mut first));
                rest.extend_from_slice(&piece);
                first = rest.split().freeze();
            }
            (false, false) => rest.extend_from_slice(&piece),
        }
    }
    Ok(first)
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    fn pieces(pieces: &[&'static str]) -> Body {
        let pieces: Vec<Result<Bytes, BodyError>> =
            pieces.iter().map(|piece| Ok(Bytes::from(*piece))).collect();
        super::stream(stream::iter(pieces))
    }

    #[tokio::test]
    async fn pieces_are_collected_in_order_up_to_the_limit() {
        for (given, limit_bytes, expected) in [
            (&["ab", "cd", "e"][..], 5, Some("abcde")),
            (&["ab", "", "cd"][..], 4, Some("abcd")),
            (&[][..], 0, Some("")),
            (&["ab", "cd", "e"][..], 4, None),
            (&["abcdef"][..], 5, None),
        ] {
            let collected = collect(pieces(given), limit_bytes).await.ok();
            assert_eq!(collected.as_deref(), expected.map(str::as_bytes), "{given:?} within {limit_bytes}");
        }
    }

    #[tokio::test]
    async fn a_body_that_says_it_is_too_large_is_refused_unread() {
        let refused = collect(full("abcdef"), 5).await;
        assert!(matches!(refused, Err(CollectError::TooLarge { limit_bytes: 5 })));
    }

    #[tokio::test]
    async fn a_body_that_breaks_is_an_error_not_a_short_body() {
        let broken = stream::iter([Ok(Bytes::from("ab")), Err(BodyError::other("the source is gone"))]);
        assert!(matches!(
            collect(super::stream(broken), 10).await,
            Err(CollectError::Body(BodyError::Other(_)))
        ));
    }

    #[tokio::test]
    async fn a_channel_makes_its_sender_wait_and_tells_it_when_the_reader_has_left() {
        let (sender, body) = channel(1);
        sender.try_send(Ok(Bytes::from("a"))).unwrap();
        assert!(sender.try_send(Ok(Bytes::from("b"))).is_err(), "one piece waits, the next has no room");
        drop(body);
        assert!(sender.send(Ok(Bytes::from("c"))).await.is_err());

        let (sender, body) = channel(4);
        sender.try_send(Ok(Bytes::from("x"))).unwrap();
        drop(sender);
        assert_eq!(collect(body, 10).await.unwrap(), "x", "a dropped sender is the end of the body");
    }
}
