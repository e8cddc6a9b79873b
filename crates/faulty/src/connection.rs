//! Bodies that come at their own pace, end as they should or should not, and notice when their reader leaves.

use std::{collections::VecDeque, io, time::Duration};

use bytes::Bytes;
use futures_util::stream;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody, combinators::UnsyncBoxBody};

use crate::server::Ended;

/// A silence on purpose ends some time, so that no task waits for ever.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(600);

pub(crate) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// What comes after the last piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Whole,
    Silence,
    Hangup,
}

/// Pieces, each after its wait.
pub(crate) fn paced(pieces: Vec<(Duration, Bytes)>, ending: Ending, ended: Ended) -> Body {
    let state = (VecDeque::from(pieces), ending, ended);
    let pieces = stream::unfold(state, |(mut pieces, ending, mut ended)| async move {
        if let Some((wait, piece)) = pieces.pop_front() {
            if !wait.is_zero() {
                tokio::time::sleep(wait.min(LONGEST_WAIT)).await;
            }
            return Some((Ok(Frame::data(piece)), (pieces, ending, ended)));
        }
        match ending {
            Ending::Whole => {
                ended.complete();
                None
            }
            Ending::Silence => {
                tokio::time::sleep(LONGEST_WAIT).await;
                None
            }
            Ending::Hangup => {
                // A body that has nothing to say for a moment lets the server flush what it said before.
                tokio::task::yield_now().await;
                ended.complete();
                let hangup = Err(io::Error::other("hangs up on purpose"));
                // Once more after this nobody asks: the connection is closed.
                Some((hangup, (pieces, Ending::Whole, ended)))
            }
        }
    });
    StreamBody::new(pieces).boxed_unsync()
}
