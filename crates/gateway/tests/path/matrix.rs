//! The fault matrix: every failure × dialect × streamed or not × first target or last × one key or two. Each cell is a
//! call over real sockets; what is expected stands in [`faults`], one row a failure. [`network`] has the failures without
//! a provider, [`together`] several at once.

use std::{future::Future, sync::Arc, time::Duration};

use http::Method;
use mainstay_base::{
    Class, Record, Secret,
    record::Outcome,
    snapshot::{Dialect, Provider as Route, ProviderKey, Timeouts},
};
use mainstay_faulty::{Fault, Options, Plan, Provider};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::rig::{Got, Rig, Setup};

mod network;
mod responses;
mod together;

/// Short enough that a whole row of waits is over soon, long enough for a busy machine to answer within.
const TIMEOUTS: Timeouts = Timeouts {
    connect: Duration::from_secs(2),
    first_byte: Duration::from_millis(700),
    idle: Duration::from_millis(700),
    total: Duration::from_secs(20),
};
const FIRST_TOKEN: Duration = Duration::from_millis(700);
const LATE_MS: u64 = 30_000;

const DIALECTS: [fn() -> (Dialect, &'static str); 5] = [
    || (Dialect::OpenAi, "/v1"),
    || (Dialect::Azure { api_version: "2024-10-21".to_owned() }, ""),
    || (Dialect::Anthropic, "/v1"),
    || (Dialect::Gemini, "/v1beta"),
    || (Dialect::Bedrock { region: "eu-central-1".to_owned() }, ""),
];

/// When a failure can be seen.
#[derive(Clone, Copy, PartialEq)]
enum Shows {
    /// In both kinds of answers.
    Always,
    Streamed,
    Whole,
}

/// One failure and what must come of it.
struct Row {
    fault: Fault,
    shows: Shows,
    class: Class,
    /// Another target is asked.
    falls_over: bool,
    /// What the caller gets when there is no other target.
    status: u16,
    code: &'static str,
    /// Another key of the same provider is asked first.
    rotates_key: bool,
}

fn faults() -> Vec<Row> {
    let row = |fault, shows, class, falls_over, status, code| Row {
        fault,
        shows,
        class,
        falls_over,
        status,
        code,
        rotates_key: false,
    };
    let of_key = |fault, class, status, code| Row {
        rotates_key: true,
        ..row(fault, Shows::Always, class, true, status, code)
    };
    use Shows::{Always, Streamed, Whole};
    vec![
        row(Fault::Status { status: 500 }, Always, Class::ServerError, true, 502, "provider_error"),
        row(Fault::Overloaded, Always, Class::Overloaded, true, 503, "provider_overloaded"),
        of_key(Fault::RateLimited { retry_after_s: Some(2) }, Class::RateLimited, 429, "rate_limit_exceeded"),
        of_key(Fault::QuotaExhausted, Class::QuotaExhausted, 429, "provider_quota_exhausted"),
        of_key(Fault::BadKey, Class::BadKey, 502, "provider_key_refused"),
        row(Fault::ModelMissing, Always, Class::ModelMissing, true, 502, "provider_model_missing"),
        row(Fault::ContextOverflow, Always, Class::ContextOverflow, false, 400, "context_length_exceeded"),
        row(Fault::FilteredPrompt, Always, Class::ContentFilter, false, 400, "content_filter"),
        row(Fault::BadRequest, Always, Class::CallerError, false, 400, ""),
        row(Fault::Close, Always, Class::Closed, true, 502, "provider_broke_off"),
        row(Fault::Hang, Always, Class::FirstByteTimeout, true, 504, "provider_timeout"),
        row(
            Fault::SlowFirstByte { delay_ms: LATE_MS },
            Always,
            Class::FirstByteTimeout,
            true,
            504,
            "provider_timeout",
        ),
        row(
            Fault::SlowFirstToken { delay_ms: LATE_MS },
            Streamed,
            Class::FirstTokenTimeout,
            true,
            504,
            "provider_timeout",
        ),
        row(
            Fault::Stall { after_events: 0 },
            Streamed,
            Class::FirstTokenTimeout,
            true,
            504,
            "provider_timeout",
        ),
        row(Fault::Stall { after_events: 0 }, Whole, Class::Stall, true, 504, "provider_timeout"),
        row(
            Fault::Cut { after_events: 0, and_bytes: 5 },
            Always,
            Class::Cut,
            true,
            502,
            "provider_broke_off",
        ),
        row(Fault::EndEarly { after_events: 0 }, Streamed, Class::Cut, true, 502, "provider_broke_off"),
        row(
            Fault::ErrorInBand { after_events: 0 },
            Streamed,
            Class::Overloaded,
            true,
            503,
            "provider_overloaded",
        ),
        row(Fault::ErrorInside, Always, Class::Overloaded, true, 503, "provider_overloaded"),
        row(Fault::Empty, Always, Class::Empty, true, 502, "provider_bad_answer"),
        row(Fault::TruncatedJson, Whole, Class::TruncatedJson, true, 502, "provider_bad_answer"),
        row(Fault::Garbage, Always, Class::NotAnAnswer, true, 502, "provider_bad_answer"),
        row(Fault::Html { status: 200 }, Always, Class::NotAnAnswer, true, 502, "provider_bad_answer"),
    ]
}

impl Row {
    /// Gemini's streams have no opening: one without an event is an empty answer, and in the others one that was cut.
    /// Bedrock's errors are named in a header: inside a 200 nothing tells what they are.
    fn seen_in(self, dialect: usize) -> Row {
        let is_gemini = matches!(DIALECTS[dialect](), (Dialect::Gemini, _));
        let is_bedrock = matches!(DIALECTS[dialect](), (Dialect::Bedrock { .. }, _));
        match self.fault {
            Fault::ErrorInside if is_bedrock => {
                Row { class: Class::NotAnAnswer, status: 502, code: "provider_bad_answer", ..self }
            }
            Fault::EndEarly { after_events: 0 } if is_gemini => {
                Row { class: Class::Empty, code: "provider_bad_answer", ..self }
            }
            _ => self,
        }
    }

    fn streams(&self) -> Vec<bool> {
        match self.shows {
            Shows::Always => vec![false, true],
            Shows::Streamed => vec![true],
            Shows::Whole => vec![false],
        }
    }
}

fn route(name: &str, provider: &Provider, dialect: usize, keys: &[&str]) -> Arc<Route> {
    let (dialect, path) = DIALECTS[dialect]();
    Arc::new(Route {
        name: name.to_owned(),
        dialect,
        base_url: format!("{}{path}", provider.url()),
        keys: keys
            .iter()
            .map(|key| ProviderKey::token(*key, Secret::new(format!("sk-{name}-{key}"))))
            .collect(),
        timeouts: TIMEOUTS,
        first_token: FIRST_TOKEN,
        speaks_responses: true,
    })
}

async fn faulty() -> Provider {
    Provider::start(Options::default()).await.unwrap()
}

async fn call(rig: &Rig, streams: bool) -> Got {
    let mut body = json!({"model": "small", "messages": [{"role": "user", "content": "[[words:6]]"}]});
    if streams {
        body["stream"] = json!(true);
        body["stream_options"] = json!({"include_usage": true});
    }
    rig.got(rig.model_request(Method::POST, "/v1/chat/completions", body.to_string())).await
}

/// The text of an answer, streamed or not, and whether it came to its proper end.
fn text(got: &Got, streams: bool) -> (String, bool) {
    if !streams {
        let body = got.json();
        return (
            body["choices"][0]["message"]["content"].as_str().unwrap_or_default().to_owned(),
            got.status == 200,
        );
    }
    let mut text = String::new();
    for frame in got.text().split("\n\n").filter(|frame| !frame.is_empty()) {
        let data = frame.strip_prefix("data: ").unwrap_or_else(|| panic!("no data: {frame}"));
        if data != "[DONE]" {
            let chunk: Value = serde_json::from_str(data).unwrap_or_else(|_| panic!("no JSON: {data}"));
            text.push_str(chunk["choices"][0]["delta"]["content"].as_str().unwrap_or_default());
        }
    }
    (text, got.text().ends_with("data: [DONE]\n\n"))
}

const WHOLE: &str = "word0 word1 word2 word3 word4 word5";

/// Runs a column of the matrix for each dialect, all at the same time: most of it is waiting.
async fn in_every_dialect<Column: Future<Output = ()> + Send + 'static>(column: fn(usize) -> Column) {
    let mut columns = JoinSet::new();
    for dialect in 0..DIALECTS.len() {
        columns.spawn(column(dialect));
    }
    columns.join_all().await;
}

fn classes(record: &Record) -> Vec<Option<Class>> {
    record.attempts.iter().map(|attempt| attempt.class).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn with_another_target_every_failure_that_is_not_the_callers_is_hidden() {
    in_every_dialect(first_target).await;
}

async fn first_target(dialect: usize) {
    for row in faults().into_iter().map(|row| row.seen_in(dialect)) {
        for streams in row.streams() {
            let (first, second) = (faulty().await, faulty().await);
            let routes = [route("first", &first, dialect, &["a"]), route("second", &second, 0, &["a"])];
            let mut rig = Setup::model(&routes).start().await;
            first.set(row.fault.clone());
            let got = call(&rig, streams).await;
            let record = rig.only_record().await;
            let cell =
                format!("{:?} {:?} stream {streams}: {got:?} {record:?}", routes[0].dialect, row.fault);
            assert_eq!(record.attempts[0].class, Some(row.class), "{cell}");
            assert_eq!(record.attempts[0].upstream, "first", "{cell}");
            if row.falls_over {
                assert_eq!((got.status, text(&got, streams)), (200, (WHOLE.to_owned(), true)), "{cell}");
                assert_eq!(record.upstream.as_deref(), Some("second"), "{cell}");
                assert_eq!(second.count(), 1, "{cell}");
                assert_eq!((record.outcome, record.kind), (Outcome::Ok, None), "{cell}");
            } else {
                assert_eq!(second.count(), 0, "{cell}");
                refused(&row, &got, &cell);
                assert!(!record.kind.unwrap().is_our_fault(), "{cell}");
            }
            assert_eq!(first.count(), 1, "the same target is not bothered again: {cell}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_another_target_the_caller_is_told_in_its_dialect() {
    in_every_dialect(last_target).await;
}

async fn last_target(dialect: usize) {
    for row in faults().into_iter().map(|row| row.seen_in(dialect)) {
        for streams in row.streams() {
            let only = faulty().await;
            let routes = [route("only", &only, dialect, &["a"])];
            let mut rig = Setup::model(&routes).start().await;
            only.set(row.fault.clone());
            let got = call(&rig, streams).await;
            let record = rig.only_record().await;
            let cell =
                format!("{:?} {:?} stream {streams}: {got:?} {record:?}", routes[0].dialect, row.fault);
            refused(&row, &got, &cell);
            assert!(classes(&record).iter().all(|class| *class == Some(row.class)), "{cell}");
            assert!(record.attempts.len() <= 2, "{cell}");
            assert_eq!(record.status, got.status, "{cell}");
        }
    }
}

/// An error in OpenAI's shape that gives no secret away.
fn refused(row: &Row, got: &Got, cell: &str) {
    assert_eq!(got.status, row.status, "{cell}");
    assert_eq!(
        got.headers["content-type"].to_str().unwrap().split(';').next(),
        Some("application/json"),
        "{cell}"
    );
    let error = got.json();
    assert!(error["error"]["message"].as_str().is_some_and(|message| !message.is_empty()), "{cell}");
    if !row.code.is_empty() {
        assert_eq!(error["error"]["code"], row.code, "{cell}");
    }
    assert!(!got.text().contains("sk-"), "{cell}");
    if row.class == Class::RateLimited {
        assert!(got.headers.contains_key("retry-after"), "{cell}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_of_one_key_takes_only_that_key_out() {
    in_every_dialect(one_of_two_keys).await;
}

async fn one_of_two_keys(dialect: usize) {
    for row in faults().into_iter().filter(|row| row.rotates_key) {
        for streams in [false, true] {
            let (first, second) = (faulty().await, faulty().await);
            let routes = [route("first", &first, dialect, &["a", "b"]), route("second", &second, 0, &["a"])];
            let mut rig = Setup::model(&routes).start().await;
            first.set(Plan { key: Some("sk-first-a".to_owned()), ..Plan::from(row.fault.clone()) });
            for round in 0..3 {
                let got = call(&rig, streams).await;
                let record = rig.record().await;
                let cell = format!(
                    "{:?} {:?} stream {streams} {round}: {got:?} {record:?}",
                    routes[0].dialect, row.fault
                );
                assert_eq!((got.status, text(&got, streams)), (200, (WHOLE.to_owned(), true)), "{cell}");
                assert_eq!(record.upstream.as_deref(), Some("first"), "{cell}");
                assert_eq!(record.attempts.last().unwrap().key.as_deref(), Some("b"), "{cell}");
            }
            let refused = first.calls().iter().filter(|call| call.credential == "sk-first-a").count();
            assert!(refused <= 1, "the key rests after its first failure: {:?} {refused}", row.fault);
            assert_eq!(second.count(), 0);
        }
    }
}

/// After its first content a stream is never moved: its caller gets what there was, once, and is told.
#[tokio::test(flavor = "multi_thread")]
async fn after_the_first_content_a_failure_is_told_in_band_and_nothing_is_repeated() {
    in_every_dialect(after_content).await;
}

async fn after_content(dialect: usize) {
    for (fault, class) in [
        (Fault::Stall { after_events: 2 }, Class::Stall),
        (Fault::Cut { after_events: 2, and_bytes: 0 }, Class::Cut),
        (Fault::Cut { after_events: 2, and_bytes: 11 }, Class::Cut),
        (Fault::EndEarly { after_events: 2 }, Class::Cut),
        (Fault::ErrorInBand { after_events: 2 }, Class::Overloaded),
    ] {
        let (first, second) = (faulty().await, faulty().await);
        let routes = [route("first", &first, dialect, &["a"]), route("second", &second, 0, &["a"])];
        let mut rig = Setup::model(&routes).start().await;
        first.set(fault.clone());
        let got = call(&rig, true).await;
        let record = rig.only_record().await;
        let cell = format!("{:?} {fault:?}: {got:?} {record:?}", routes[0].dialect);
        assert_eq!((got.status, text(&got, true)), (200, ("word0 word1 ".to_owned(), false)), "{cell}");
        let errors = got.text().matches("\"error\":{").count();
        assert_eq!((errors, got.text().contains("[DONE]")), (1, false), "{cell}");
        assert!(got.text().contains("\"usage\":{"), "what was used is told: {cell}");
        assert_eq!((first.count(), second.count()), (1, 0), "{cell}");
        assert_eq!((record.outcome, record.attempts[0].class), (Outcome::Cut, Some(class)), "{cell}");
        assert!(record.kind.unwrap().is_our_fault() && record.output_tokens.is_some(), "{cell}");
    }
}

/// What is odd but whole is no failure.
#[tokio::test(flavor = "multi_thread")]
async fn odd_streams_that_are_whole_arrive_whole() {
    in_every_dialect(odd_streams).await;
}

async fn odd_streams(dialect: usize) {
    for fault in [
        Fault::NotStreamed,
        Fault::NoUsage,
        Fault::NoDone,
        Fault::CarriageReturns,
        Fault::SlowTokens { gap_ms: 20 },
    ] {
        let first = faulty().await;
        let routes = [route("first", &first, dialect, &["a"])];
        let mut rig = Setup::model(&routes).start().await;
        first.set(fault.clone());
        let got = call(&rig, true).await;
        let record = rig.only_record().await;
        let cell = format!("{:?} {fault:?}: {got:?} {record:?}", routes[0].dialect);
        assert_eq!((got.status, text(&got, true)), (200, (WHOLE.to_owned(), true)), "{cell}");
        assert!(got.text().contains("\"usage\":{"), "{cell}");
        assert!(!got.text().contains('\r'), "{cell}");
        assert_eq!(record.outcome, Outcome::Ok, "{cell}");
        assert!(record.output_tokens.is_some_and(|tokens| tokens > 0), "{cell}");
    }
}
