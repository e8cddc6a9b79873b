//! A caller whose answer is another one's: its own head, record and permit around the shared body.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderValue, Response};
use http_body::{Body as HttpBody, Frame};
use mainstay_base::{
    Kind,
    record::{Outcome, Path, StageName},
};
use mainstay_net::{Body, BodyError};

use super::shared::{Next, Reader, is_between_events, is_event_stream};
use crate::path::{
    headers::{MAINSTAY_SHARED, MAINSTAY_TARGET, X_REQUEST_ID},
    policy::Permit,
    stream::{self, Form},
    telemetry::Open,
    watch::kind_of_status,
};

pub(crate) struct Follower {
    reader: Reader,
}

impl Follower {
    #[cfg(test)]
    pub(super) fn kept_bytes(&self) -> usize {
        self.reader.shared.kept_bytes()
    }

    pub(super) fn new(reader: Reader) -> Follower {
        Follower { reader }
    }

    /// Waits for the shared answer. A failure is everybody's, told to each.
    pub(crate) async fn answer(self, permit: Permit, mut record: Open) -> Response<Body> {
        if let Some(record) = record.known() {
            record.shared_with = Some(self.reader.shared.leader_id.clone());
        }
        let mut head = self.reader.head().await;
        head.headers.insert(MAINSTAY_SHARED, HeaderValue::from_static("1"));
        if let Ok(id) = HeaderValue::from_str(record.request_id()) {
            head.headers.insert(X_REQUEST_ID, id);
        }
        record.passed(StageName::Execute, "an identical call in flight is shared");
        record.passed(StageName::Check, "the shared answer was let out");
        record.passed(StageName::Compose, "the shared answer is passed on");
        let status = head.status.as_u16();
        let streams = is_event_stream(&head);
        if let Some(record) = record.known() {
            record.status = status;
            record.streamed = streams;
            record.upstream = upstream(&head);
            record.kind = kind_of_status(Path::Model, status);
            if record.kind.is_some() {
                record.error = Some("the shared call failed; its own record says why".to_owned());
            }
        }
        let following = Following {
            reader: Some(self.reader),
            permit: Some(permit),
            record,
            streams,
            is_between_events: true,
            has_all: false,
        };
        Response::from_parts(head, mainstay_net::boxed(following))
    }
}

/// Who answered, as the head says it: `provider/model`.
fn upstream(head: &http::response::Parts) -> Option<String> {
    let target = head.headers.get(MAINSTAY_TARGET)?.to_str().ok()?;
    Some(target.split_once('/').map_or(target, |(provider, _)| provider).to_owned())
}

struct Following {
    /// `None` once it is over.
    reader: Option<Reader>,
    permit: Option<Permit>,
    record: Open,
    streams: bool,
    /// The last piece ended between two events.
    is_between_events: bool,
    /// The end of the stream has passed.
    has_all: bool,
}

impl HttpBody for Following {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(reader) = &self.reader else { return Poll::Ready(None) };
        Poll::Ready(match ready!(reader.poll_next(context)) {
            Next::Piece(piece) => {
                self.handed_over(piece.len());
                if self.streams {
                    self.look(&piece);
                }
                Some(Ok(Frame::data(piece)))
            }
            Next::End => {
                self.end();
                None
            }
            Next::Broken => {
                self.cut("the shared answer broke off");
                Some(Err(BodyError::other("the shared answer broke off")))
            }
            Next::Lost => Some(self.lost()),
        })
    }
}

impl Following {
    fn handed_over(&mut self, bytes: usize) {
        let at_us = self.record.elapsed_us();
        if let Some(record) = self.record.known() {
            record.bytes_out += bytes as u64;
            record.first_byte_us.get_or_insert(at_us);
        }
    }

    fn end(&mut self) {
        self.reader = None;
        // What it cost is the first caller's.
        if let Some(permit) = self.permit.take() {
            permit.settle(None, 0);
        }
        let failed = self.record.known().is_some_and(|record| record.kind.is_some());
        self.record.close(if failed { Outcome::Failed } else { Outcome::Ok });
    }

    /// What a piece of a stream says. Its tokens are the first caller's.
    fn look(&mut self, piece: &Bytes) {
        self.is_between_events = is_between_events(piece);
        let form = self.reader.as_ref().map_or(Form::Chat, |reader| reader.shared.key.form);
        let at_us = self.record.elapsed_us();
        if let Some(record) = self.record.known() {
            let seen = stream::glance(piece, form, record.first_token_us.is_none());
            record.events += seen.events;
            if seen.has_content {
                record.first_token_us.get_or_insert(at_us);
            }
        }
        if stream::tells_of_a_cut(piece) {
            self.cut("the shared answer was cut; its own record says why");
        }
        self.has_all |= stream::tells_of_the_end(piece, form);
    }

    /// In a stream an event tells it; inside an event and in a whole answer there is no way to, so the connection breaks.
    fn lost(&mut self) -> Result<Frame<Bytes>, BodyError> {
        let why = "the caller fell too far behind the shared answer";
        let last = match &self.reader {
            Some(reader) if self.streams && self.is_between_events => {
                Ok(stream::fell_behind(reader.shared.key.form))
            }
            _ => Err(BodyError::other(why)),
        };
        self.handed_over(last.as_ref().map_or(0, Bytes::len));
        self.cut(why);
        last.map(Frame::data)
    }

    fn cut(&mut self, why: &str) {
        self.reader = None;
        self.permit = None;
        if let Some(record) = self.record.known() {
            record.kind = Some(Kind::Upstream);
            record.error = Some(why.to_owned());
        }
        self.record.close(Outcome::Cut);
    }
}

impl Drop for Following {
    /// Many callers close as soon as they have read the last event: they had everything.
    fn drop(&mut self) {
        if self.has_all && self.reader.is_some() && !std::thread::panicking() {
            self.end();
        }
    }
}
