//! Typed streams of `/v1/responses` that are made of another API's: held, booked, gone on with, read on and shared as
//! chats are.

use std::{sync::Arc, time::Duration};

use http::{Method, Request};
use mainstay_base::{
    Class, Usd,
    record::{AttemptRole, Outcome},
    snapshot::{CallPolicy, Drain, OnCut, SingleFlight},
};
use mainstay_net::Body;
use mainstay_testkit::wait_until;
use serde_json::Value;

use super::{DONE, OPENING, Player, STOP, Step, USAGE, next, read_to, said, send, setup};
use crate::rig::{PATIENCE, Rig, Setup};

/// Where none of the targets, or all but these, speak the API.
fn converting(players: &[&Player], policy: CallPolicy, native: &[usize]) -> Setup {
    let mut setup = setup(players, policy);
    for model in setup.snapshot.model.models.values_mut() {
        for (index, target) in Arc::make_mut(model).targets.iter_mut().enumerate() {
            Arc::make_mut(&mut target.provider).speaks_responses = native.contains(&index);
        }
    }
    setup
}

fn asking(rig: &Rig) -> Request<Body> {
    let body = "{\"model\":\"small\",\"stream\":true,\"input\":\"hi\"}";
    rig.model_request(Method::POST, "/v1/responses", body)
}

fn continues() -> CallPolicy {
    CallPolicy { on_cut: OnCut::Continue, ..CallPolicy::default() }
}

async fn cut_after(text: &str) -> Player {
    let player = Player::streaming(vec![send([OPENING, text].concat()), Step::Gate, Step::Cut]).await;
    player.open_gate();
    player
}

/// The events, numbered without a gap.
fn events(text: &str) -> Vec<Value> {
    let data = text.split("\n\n").filter_map(|event| event.split_once("\ndata: "));
    let events: Vec<Value> = data.map(|(_, data)| serde_json::from_str(data).unwrap()).collect();
    for (number, event) in events.iter().enumerate() {
        assert_eq!(event["sequence_number"], number, "{text}");
    }
    events
}

fn kinds(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().unwrap().strip_prefix("response.").unwrap()).collect()
}

#[tokio::test]
async fn a_chat_becomes_typed_events_and_is_booked_as_one() {
    let stream = [OPENING, &said("hel"), &said("lo"), STOP, USAGE, DONE].concat();
    let player = Player::streaming(vec![send(stream)]).await;
    let mut rig = converting(&[&player], CallPolicy::default(), &[]).start().await;
    let got = rig.got(asking(&rig)).await;
    assert_eq!(got.headers["content-type"], "text/event-stream; charset=utf-8");
    let events = events(got.text());
    assert_eq!(
        kinds(&events),
        [
            "created",
            "in_progress",
            "output_item.added",
            "content_part.added",
            "output_text.delta",
            "output_text.delta",
            "output_text.done",
            "content_part.done",
            "output_item.done",
            "completed"
        ]
    );
    let last = &events[9]["response"];
    assert_eq!((&last["usage"]["input_tokens"], &last["usage"]["output_tokens"]), (&30.into(), &10.into()));
    assert_eq!(
        (&last["output"][0]["content"][0]["text"], &last["model"]),
        (&"hello".into(), &"small".into())
    );
    let record = rig.only_record().await;
    assert_eq!((record.outcome, record.streamed, record.cost), (Outcome::Ok, true, Some(Usd(40))));
    assert_eq!((record.output_tokens, record.attempts[0].is_cost_estimated), (Some(10), false));
    assert_eq!((record.bytes_out, rig.gateway.stats().settled), (got.body.len() as u64, 1));
    assert!(record.first_token_us.unwrap() <= record.first_byte_us.unwrap());
    let asked = &player.server.requests()[0];
    assert_eq!(asked.uri().path(), "/v1/chat/completions");
    assert!(String::from_utf8_lossy(asked.body()).contains("\"include_usage\":true"));
}

#[tokio::test]
async fn what_breaks_before_its_first_content_is_never_seen() {
    let first = cut_after("").await;
    let second = Player::streaming(vec![send([OPENING, &said("two"), STOP, USAGE, DONE].concat())]).await;
    let mut rig = converting(&[&first, &second], CallPolicy::default(), &[]).start().await;
    let got = rig.got(asking(&rig)).await;
    let events = events(got.text());
    assert_eq!(kinds(&events).iter().filter(|kind| **kind == "created").count(), 1, "{}", got.text());
    assert_eq!(events.last().unwrap()["response"]["output"][0]["content"][0]["text"], "two");
    let record = rig.only_record().await;
    assert_eq!((record.attempts.len(), record.outcome), (2, Outcome::Ok));
}

#[tokio::test]
async fn another_target_goes_on_in_the_same_item_and_the_join_is_marked() {
    // Whoever goes on is told of a chat, whether it speaks the API or not.
    for native in [&[][..], &[1]] {
        let first = cut_after(&said("one, two, ")).await;
        let second =
            Player::streaming(vec![send([OPENING, &said("three"), STOP, USAGE, DONE].concat())]).await;
        let mut rig = converting(&[&first, &second], continues(), native).start().await;
        let got = rig.got(asking(&rig)).await;
        let events = events(got.text());
        let last = &events.last().unwrap()["response"];
        assert_eq!(last["status"], "completed", "{}", got.text());
        assert_eq!(last["output"].as_array().unwrap().len(), 1);
        assert_eq!(last["output"][0]["content"][0]["text"], "one, two, three");
        // 10 told by the second, and 3 estimated of the first.
        assert_eq!(last["usage"]["output_tokens"], 13);
        let marks: Vec<_> =
            events.iter().filter_map(|event| event["mainstay"]["continued_on"].as_str()).collect();
        assert_eq!(marks, ["p1/real-small"]);
        for kind in ["created", "output_item.added", "content_part.added", "output_item.done"] {
            assert_eq!(
                kinds(&events).iter().filter(|known| **known == kind).count(),
                1,
                "{kind} {}",
                got.text()
            );
        }
        let asked = &second.server.requests()[0];
        assert_eq!(asked.uri().path(), "/v1/chat/completions");
        let body = String::from_utf8_lossy(asked.body());
        assert!(body.contains("one, two, ") && body.contains("assistant"), "{body}");
        let record = rig.only_record().await;
        assert_eq!((record.outcome, record.output_tokens), (Outcome::Ok, Some(13)));
        let told: Vec<_> = record.attempts.iter().map(|attempt| (attempt.role, attempt.class)).collect();
        assert_eq!(told, [(AttemptRole::First, Some(Class::Cut)), (AttemptRole::Continuation, None)]);
    }
}

#[tokio::test]
async fn half_a_tool_call_a_second_cut_and_the_default_fail_truthfully() {
    let tool = "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"t\",\"function\":{\"name\":\"f\",\"arguments\":\"{\"}}]}}]}\n\n";
    let text = said("one, ");
    for (begun, policy, calls_of_second, shown) in [
        (tool, continues(), 0, "{"),
        (text.as_str(), continues(), 1, "one, two"),
        (text.as_str(), CallPolicy::default(), 0, "one, "),
    ] {
        let first = cut_after(begun).await;
        let second = cut_after(&said("two")).await;
        let mut rig = converting(&[&first, &second], policy, &[]).start().await;
        let got = rig.got(asking(&rig)).await;
        let events = events(got.text());
        let last = events.last().unwrap();
        assert_eq!(
            (&last["type"], second.calls()),
            (&"response.failed".into(), calls_of_second),
            "{}",
            got.text()
        );
        let item = &last["response"]["output"][0];
        let said = item["content"][0]["text"].as_str().or(item["arguments"].as_str());
        assert_eq!((said, &item["status"]), (Some(shown), &"incomplete".into()));
        assert!(last["response"]["usage"]["output_tokens"].as_u64() > Some(0), "{last}");
        assert_eq!(rig.only_record().await.outcome, Outcome::Cut);
    }
}

#[tokio::test]
async fn nobody_goes_on_with_a_providers_own_events() {
    let own = "event: response.created\ndata: {\"type\":\"response.created\",\"sequence_number\":0}\n\n\
        event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"delta\":\"one, \",\"sequence_number\":1}\n\n";
    let first = Player::streaming(vec![send(own), Step::Gate, Step::Cut]).await;
    first.open_gate();
    let second = Player::streaming(vec![send([OPENING, &said("two"), STOP, DONE].concat())]).await;
    let mut rig = converting(&[&first, &second], continues(), &[0]).start().await;
    let got = rig.got(asking(&rig)).await;
    let rest = got.text().strip_prefix(own).unwrap();
    assert!(rest.starts_with("event: error\n") && rest.contains("\"sequence_number\":2"), "{rest}");
    assert_eq!((second.calls(), rig.only_record().await.outcome), (0, Outcome::Cut));
}

fn script() -> Vec<Step> {
    vec![send([OPENING, &said("hello, this is it")].concat()), Step::Gate, send([STOP, USAGE, DONE].concat())]
}

#[tokio::test]
async fn a_caller_that_leaves_is_billed_and_by_policy_read_on_for() {
    let drain = Drain { max_wait: PATIENCE, max_at_once: 8, ..Drain::default() };
    for (policy, output, is_estimated) in
        [(CallPolicy::default(), 5, true), (CallPolicy { drain, ..CallPolicy::default() }, 10, false)]
    {
        let player = Player::streaming(script()).await;
        let mut rig = converting(&[&player], policy, &[]).start().await;
        let mut body = rig.send(asking(&rig)).await.into_body();
        read_to(&mut body, "this is it").await;
        drop(body);
        if !is_estimated {
            wait_until("the stream is drained", PATIENCE, || async {
                (rig.gateway.stats().draining == 1).then_some(())
            })
            .await;
            player.open_gate();
        }
        let record = rig.only_record().await;
        assert_eq!((record.outcome, record.output_tokens), (Outcome::CallerGone, Some(output)));
        assert_eq!(record.attempts[0].is_cost_estimated, is_estimated);
        player.nobody_listens().await;
    }
}

#[tokio::test]
async fn identical_calls_share_one_answer_and_its_cut() {
    for (steps, outcome, end) in [
        (script(), Outcome::Ok, "response.completed"),
        (
            vec![send([OPENING, &said("hello, this is it")].concat()), Step::Gate, Step::Cut],
            Outcome::Cut,
            "response.failed",
        ),
    ] {
        let player = Player::streaming(steps).await;
        let policy = CallPolicy { single_flight: SingleFlight::All, ..CallPolicy::default() };
        let mut rig = converting(&[&player], policy, &[]).start().await;
        let mut first = rig.send(asking(&rig)).await.into_body();
        let begun = read_to(&mut first, "this is it").await;
        let second = rig.send(asking(&rig)).await;
        assert_eq!(second.headers()["mainstay-shared"], "1");
        let mut second = second.into_body();
        assert_eq!(read_to(&mut second, "this is it").await, begun);
        player.open_gate();
        for mut body in [first, second] {
            let rest = read_to(&mut body, end).await;
            assert!(rest.ends_with("\n\n") && rest.matches(&format!("event: {end}")).count() == 1, "{rest}");
            assert_eq!(next(&mut body).await, None);
        }
        for _ in 0..2 {
            assert_eq!(rig.record().await.outcome, outcome);
        }
        assert_eq!(player.calls(), 1);
        rig.nothing_is_out().await;
    }
}

/// The deadline ends it like a cut, and a stalled provider does.
#[tokio::test]
async fn a_stall_and_the_deadline_fail_the_response() {
    for (idle, deadline) in [(Duration::from_millis(150), PATIENCE), (PATIENCE, Duration::from_millis(400))] {
        let player = Player::streaming(vec![send([OPENING, &said("hello")].concat()), Step::Silence]).await;
        let mut setup = converting(&[&player], CallPolicy { deadline, ..CallPolicy::default() }, &[]);
        for model in setup.snapshot.model.models.values_mut() {
            Arc::make_mut(&mut Arc::make_mut(model).targets[0].provider).timeouts.idle = idle;
        }
        let mut rig = setup.start().await;
        let got = rig.got(asking(&rig)).await;
        let events = events(got.text());
        assert_eq!(kinds(&events).last(), Some(&"failed"), "{}", got.text());
        assert_eq!(rig.only_record().await.outcome, Outcome::Cut);
    }
}
