//! Stage 4: candidates in order until one answers. Nobody else is tried once a byte may have reached the caller,
//! and nobody at all without a [`Permit`].

use std::borrow::Cow;

use http::{
    Response,
    header::{CONTENT_ENCODING, CONTENT_TYPE},
};
use mainstay_base::{Record, record::Path};
use mainstay_net::Body;

use super::{
    bootstrap::Context,
    failure::Failure,
    headers::{self, Account},
    normalize::Call,
    policy::Permit,
    stream::Streaming,
    telemetry,
};
use crate::limits::Limits;

mod app;
pub(crate) mod model;

/// What somebody answered: a head, and a body that may still be coming.
pub(crate) struct Answer {
    pub(crate) response: Response<Body>,
    pub(crate) path: Path,
    pub(crate) is_event_stream: bool,
    pub(crate) limits: Limits,
    /// What a call of a model went through, for the answer's headers.
    pub(crate) account: Option<Box<Account>>,
    /// The stream that is the answer's body; the response's own is empty then.
    pub(crate) streaming: Option<Box<Streaming>>,
    /// Who answered.
    from: Cow<'static, str>,
}

pub(crate) async fn dispatch(
    context: &Context,
    call: Call,
    permit: &Permit,
    record: &mut telemetry::Open,
) -> Result<Answer, Failure> {
    match call {
        Call::App(call) => app::dispatch(context, *call, permit, record).await,
        Call::Model(call) => model::dispatch(context, *call, permit, record).await,
    }
}

impl Answer {
    fn new(
        context: &Context,
        path: Path,
        from: impl Into<Cow<'static, str>>,
        mut response: Response<Body>,
    ) -> Answer {
        headers::strip_hop_by_hop(response.headers_mut());
        *response.version_mut() = http::Version::HTTP_11;
        let is_event_stream = is_event_stream(&response);
        Answer {
            response,
            path,
            is_event_stream,
            limits: context.gateway.ports().limits,
            account: None,
            streaming: None,
            from: from.into(),
        }
    }

    pub(crate) fn is_event_stream(&self) -> bool {
        self.is_event_stream
    }
}

const EVENT_STREAM: &[u8] = b"text/event-stream";

/// Compressed events cannot be told apart; they pass as bytes.
fn is_event_stream(response: &Response<Body>) -> bool {
    let content_type = headers::text(response.headers(), &CONTENT_TYPE).unwrap_or_default();
    let is_plain =
        headers::text(response.headers(), &CONTENT_ENCODING).is_none_or(|coding| coding == "identity");
    let start = content_type.trim_start().as_bytes().get(..EVENT_STREAM.len());
    is_plain && start.is_some_and(|start| start.eq_ignore_ascii_case(EVENT_STREAM))
}

impl telemetry::Told for Answer {
    fn told(&self, record: &mut Record) -> Cow<'static, str> {
        record.upstream = Some(self.from.clone().into_owned());
        if self.account.is_some() {
            return Cow::Borrowed("a target answered; the attempts tell which, and at what cost");
        }
        Cow::Owned(format!("{} answered {}", self.from, self.response.status().as_u16()))
    }
}

/// The URL of a candidate: its base, then the rest.
fn join(base_url: &str, path: &str, query: Option<&str>) -> String {
    let base = base_url.trim_end_matches('/');
    let mut url = String::with_capacity(base.len() + path.len() + query.map_or(0, |query| query.len() + 1));
    url.push_str(base);
    url.push_str(path);
    if let Some(query) = query {
        url.push('?');
        url.push_str(query);
    }
    url
}
