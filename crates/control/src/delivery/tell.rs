//! One attempt to tell one receiver of one notice, over HTTP or by mail.

use std::time::Duration;

use http::{
    Request,
    header::{CONTENT_TYPE, RETRY_AFTER, USER_AGENT},
};
use mainstay_base::{Micros, snapshot::Timeouts};
use mainstay_net::{AddressRule, Client};
use mainstay_wire::notify::{Answer, Call, Channel, Notice, call, judge};

use super::{Receiver, email, schedule::retry_after};

/// So much of an answer is read; what it says may decide.
const MAX_ANSWER_BYTES: usize = 64 * 1024;
pub(super) const AGENT: &str = concat!("mainstay/", env!("CARGO_PKG_VERSION"));

/// Which notice this is a try of.
#[derive(Clone, Copy)]
pub(crate) struct Try<'a> {
    /// The delivery's, the same for every try.
    pub(crate) id: &'a str,
    /// An earlier try may have arrived.
    pub(crate) may_repeat: bool,
}

/// What came of a try. Nothing in it tells a secret.
pub(crate) struct Told {
    /// Of HTTP, or SMTP's reply code.
    pub(crate) status: Option<u16>,
    pub(crate) answer: Answer,
    /// It was sent, and no answer came: nobody knows.
    pub(crate) is_lost: bool,
}

impl Told {
    fn new(status: Option<u16>, answer: Answer) -> Told {
        Told { status, answer, is_lost: false }
    }
}

pub(crate) async fn tell(
    client: &Client,
    receiver: &Receiver,
    notice: &Notice,
    Try { id, may_repeat }: Try<'_>,
    now: Micros,
    timeouts: &Timeouts,
) -> Told {
    let channel = &receiver.channel;
    let mut words = receiver.words(notice);
    if may_repeat && !channel.kind().knows_repeats() {
        words = words.maybe_again();
    }
    if let Channel::Email(mailbox) = channel {
        let (code, answer) =
            email::send(mailbox, receiver.trust.as_ref(), notice, words, id, timeouts.total).await;
        return Told::new(code, redacted(channel, answer));
    }
    let Some(call) = call(channel, notice, &words, id, now) else {
        return Told::new(None, failed("it cannot be told by HTTP".to_owned(), None));
    };
    let client = receiver.trust.as_ref().map_or(client, |trust| &trust.client);
    let told = post(client, channel, call, now, timeouts).await;
    Told { answer: redacted(channel, told.answer), ..told }
}

async fn post(client: &Client, channel: &Channel, call: Call, now: Micros, timeouts: &Timeouts) -> Told {
    let mut request =
        Request::post(call.url.expose()).header(CONTENT_TYPE, "application/json").header(USER_AGENT, AGENT);
    for (name, value) in call.headers {
        request = request.header(name, value);
    }
    let request = match request.body(mainstay_net::full(call.body)) {
        Ok(request) => request,
        Err(error) => {
            let refused = Answer::Refused(format!("the address cannot be called: {error}"));
            return Told::new(None, refused);
        }
    };
    let response = match client.send(request, timeouts, AddressRule::Any).await {
        Ok(response) => response,
        Err(error) => {
            let is_lost = !error.is_before_send();
            return Told { is_lost, ..Told::new(None, failed(error.to_string(), None)) };
        }
    };
    let status = response.status().as_u16();
    let rest = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let rest = rest.and_then(|value| retry_after(value, now));
    // An answer whose end does not come is judged by what is known: nothing.
    let body = mainstay_net::collect(response.into_body(), MAX_ANSWER_BYTES).await.unwrap_or_default();
    Told::new(Some(status), judge(channel.kind(), status, rest, &body))
}

pub(super) fn failed(error: String, rest: Option<Duration>) -> Answer {
    Answer::Failed { error, rest }
}

fn redacted(channel: &Channel, answer: Answer) -> Answer {
    match answer {
        Answer::Delivered => Answer::Delivered,
        Answer::Refused(error) => Answer::Refused(channel.redact(&error)),
        Answer::Failed { error, rest } => Answer::Failed { error: channel.redact(&error), rest },
    }
}
