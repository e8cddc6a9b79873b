//! The fault matrix of `/v1/responses`: each dialect into which such a call is converted, and one provider that speaks
//! the API itself. The failures and their rows are those of the chats.

use std::{future::Future, sync::Arc};

use http::Method;
use mainstay_base::{Class, record::Outcome, snapshot::Provider as Route};
use mainstay_faulty::{Fault, Provider};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{DIALECTS, Row, WHOLE, classes, faults, faulty, refused, route};
use crate::rig::{Got, Rig, Setup};

/// The column after the dialects: OpenAI's, with the API.
const NATIVE: usize = DIALECTS.len();

fn target(name: &str, provider: &Provider, column: usize) -> Arc<Route> {
    let dialect = if column == NATIVE { 0 } else { column };
    let route = Route::clone(&route(name, provider, dialect, &["a"]));
    Arc::new(Route { speaks_responses: column == NATIVE, ..route })
}

/// Whether a provider's own answer holds anything is its own matter: it says of itself that it is complete.
fn rows(column: usize) -> impl Iterator<Item = Row> {
    let rows = faults().into_iter().filter(move |row| column != NATIVE || row.fault != Fault::Empty);
    rows.map(move |row| row.seen_in(column % NATIVE))
}

async fn in_every_column<Column: Future<Output = ()> + Send + 'static>(column: fn(usize) -> Column) {
    let mut columns = JoinSet::new();
    for at in 0..=NATIVE {
        columns.spawn(column(at));
    }
    columns.join_all().await;
}

async fn call(rig: &Rig, streams: bool) -> Got {
    let body = json!({"model": "small", "input": "[[words:6]]", "stream": streams}).to_string();
    rig.got(rig.model_request(Method::POST, "/v1/responses", body)).await
}

/// The data of each event, checked to be named and numbered as readers of this API want it.
fn events(got: &Got) -> Vec<Value> {
    let mut events = Vec::new();
    for frame in got.text().split("\n\n").filter(|frame| !frame.is_empty()) {
        let (name, data) = frame.split_once('\n').unwrap_or_else(|| panic!("no event: {frame}"));
        let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(name.strip_prefix("event: "), data["type"].as_str(), "{frame}");
        // What ends a provider's own events in its stead counts those before it that were counted.
        let is_number = data["sequence_number"] == events.len();
        assert!(is_number || data["type"] == "error", "{} {frame}", events.len());
        events.push(data);
    }
    events
}

fn said(response: &Value) -> String {
    let items = response["output"].as_array().into_iter().flatten();
    let parts = items.flat_map(|item| item["content"].as_array().into_iter().flatten());
    parts.filter_map(|part| part["text"].as_str()).collect()
}

/// The text of an answer, and whether it came to its proper end. All that tells the text must tell the same.
fn text(got: &Got, streams: bool) -> (String, bool) {
    if !streams {
        let response = got.json();
        return (said(&response), response["status"] == "completed" && response["model"] == "small");
    }
    let events = events(got);
    let deltas = events.iter().filter(|event| event["type"] == "response.output_text.delta");
    let text: String = deltas.filter_map(|event| event["delta"].as_str()).collect();
    let last = events.last().unwrap();
    let is_whole = last["type"] == "response.completed" && last["response"]["status"] == "completed";
    if last["type"] != "error" {
        assert_eq!(said(&last["response"]), text, "{last}");
    }
    (text, is_whole)
}

#[tokio::test(flavor = "multi_thread")]
async fn responses_fall_over_between_native_and_converted_targets() {
    in_every_column(first_target).await;
}

async fn first_target(column: usize) {
    // A converted target behind a native one, and a native one behind a converted.
    let other = if column == NATIVE { 2 } else { NATIVE };
    for row in rows(column) {
        for streams in row.streams() {
            let (first, second) = (faulty().await, faulty().await);
            let routes = [target("first", &first, column), target("second", &second, other)];
            let mut rig = Setup::model(&routes).start().await;
            first.set(row.fault.clone());
            let got = call(&rig, streams).await;
            let record = rig.only_record().await;
            let cell = format!("{column} {:?} stream {streams}: {got:?} {record:?}", row.fault);
            assert_eq!(record.attempts[0].class, Some(row.class), "{cell}");
            if row.falls_over {
                assert_eq!(got.status, 200, "{cell}");
                let (said, is_whole) = text(&got, streams);
                // A provider's own answer keeps its own name of the model.
                let is_whole = is_whole || !streams && other == NATIVE;
                assert_eq!((said.as_str(), is_whole), (WHOLE, true), "{cell}");
                assert_eq!(record.upstream.as_deref(), Some("second"), "{cell}");
                assert_eq!((record.outcome, record.kind), (Outcome::Ok, None), "{cell}");
            } else {
                assert_eq!(second.count(), 0, "{cell}");
                refused(&row, &got, &cell);
            }
            assert_eq!(first.count(), 1, "{cell}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn responses_without_another_target_are_refused_in_openais_words() {
    in_every_column(last_target).await;
}

async fn last_target(column: usize) {
    for row in rows(column) {
        for streams in row.streams() {
            let only = faulty().await;
            let mut rig = Setup::model(&[target("only", &only, column)]).start().await;
            only.set(row.fault.clone());
            let got = call(&rig, streams).await;
            let record = rig.only_record().await;
            let cell = format!("{column} {:?} stream {streams}: {got:?} {record:?}", row.fault);
            refused(&row, &got, &cell);
            assert!(classes(&record).iter().all(|class| *class == Some(row.class)), "{cell}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_typed_stream_that_breaks_fails_with_what_was_said_and_used() {
    in_every_column(after_content).await;
}

async fn after_content(column: usize) {
    for (fault, class) in [
        (Fault::Stall { after_events: 2 }, Class::Stall),
        (Fault::Cut { after_events: 2, and_bytes: 0 }, Class::Cut),
        (Fault::Cut { after_events: 2, and_bytes: 11 }, Class::Cut),
        (Fault::EndEarly { after_events: 2 }, Class::Cut),
        (Fault::ErrorInBand { after_events: 2 }, Class::Overloaded),
    ] {
        let (first, second) = (faulty().await, faulty().await);
        let routes = [target("first", &first, column), target("second", &second, NATIVE)];
        let mut rig = Setup::model(&routes).start().await;
        first.set(fault.clone());
        let got = call(&rig, true).await;
        let record = rig.only_record().await;
        let cell = format!("{column} {fault:?}: {got:?} {record:?}");
        assert_eq!((got.status, text(&got, true)), (200, ("word0 word1 ".to_owned(), false)), "{cell}");
        let events = events(&got);
        let last = events.last().unwrap();
        if column == NATIVE {
            assert_eq!((&last["type"], &last["code"]), (&json!("error"), &json!(class.as_str())), "{cell}");
        } else {
            assert_eq!(
                (&last["type"], &last["response"]["status"]),
                (&json!("response.failed"), &json!("failed"))
            );
            assert_eq!(last["response"]["output"][0]["status"], "incomplete", "{cell}");
            assert!(last["response"]["error"]["message"].as_str().unwrap().contains("incomplete"), "{cell}");
            assert!(last["response"]["usage"]["output_tokens"].as_u64().unwrap() > 0, "{cell}");
        }
        let ends = ["response.completed", "response.failed", "error"];
        assert_eq!(events.iter().filter(|event| ends.contains(&event["type"].as_str().unwrap())).count(), 1);
        assert_eq!((first.count(), second.count()), (1, 0), "{cell}");
        assert_eq!((record.outcome, record.attempts[0].class), (Outcome::Cut, Some(class)), "{cell}");
        assert!(record.kind.unwrap().is_our_fault() && record.output_tokens.is_some(), "{cell}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_streams_become_whole_typed_ones() {
    in_every_column(odd_streams).await;
}

async fn odd_streams(column: usize) {
    if column == NATIVE {
        return;
    }
    for fault in [
        Fault::NotStreamed,
        Fault::NoUsage,
        Fault::NoDone,
        Fault::CarriageReturns,
        Fault::SlowTokens { gap_ms: 20 },
    ] {
        let first = faulty().await;
        let mut rig = Setup::model(&[target("first", &first, column)]).start().await;
        first.set(fault.clone());
        let got = call(&rig, true).await;
        let record = rig.only_record().await;
        let cell = format!("{column} {fault:?}: {got:?} {record:?}");
        assert_eq!((got.status, text(&got, true)), (200, (WHOLE.to_owned(), true)), "{cell}");
        let events = events(&got);
        let last = &events.last().unwrap()["response"];
        assert_eq!(last["usage"]["output_tokens"].as_u64(), record.output_tokens, "{cell}");
        assert_eq!(last["model"], "small", "{cell}");
        assert_eq!(record.outcome, Outcome::Ok, "{cell}");
    }
}
