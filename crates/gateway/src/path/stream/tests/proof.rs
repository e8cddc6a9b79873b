//! The pre-commit window: what proves a stream, what fails it, and each of its bounds.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use mainstay_base::{
    Class,
    snapshot::{Dialect, PreCommit},
};
use mainstay_net::{Body, BodyError};
use tokio::time::Instant;

use super::{TERMS, WANTED, in_virtual_time, on_a_runtime};
use crate::path::stream::{Proved, Reading, Relay, Step, Terms, Unproved, Waits, prove};

fn event(delta: &str, finish: &str) -> Bytes {
    Bytes::from(format!(
        "data: {{\"choices\":[{{\"index\":0,\"delta\":{{{delta}}},\"finish_reason\":{finish}}}]}}\n\n"
    ))
}

fn opening() -> Bytes {
    event("\"role\":\"assistant\",\"content\":\"\"", "null")
}

fn said(text: &str) -> Bytes {
    event(&format!("\"content\":\"{text}\""), "null")
}

/// These pieces, and then silence.
fn silent_after(pieces: Vec<Bytes>) -> Body {
    mainstay_net::stream(stream::iter(pieces.into_iter().map(Ok::<_, BodyError>)).chain(stream::pending()))
}

fn proof(
    window: &PreCommit,
    first_token: Duration,
    deadline: Duration,
    body: Body,
) -> Result<Proved, Box<Unproved>> {
    on_a_runtime(async {
        let mut reading = Reading::new(&Dialect::OpenAi, &WANTED, body);
        let now = Instant::now();
        prove(
            &mut reading,
            window,
            &Waits { first_token_at: now + first_token, deadline_at: now + deadline },
            false,
        )
        .await
        .map_err(Box::new)
    })
}

const LONG: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(30);

fn class(result: Result<Proved, Box<Unproved>>) -> Option<Class> {
    result.err().map(|unproved| unproved.broken.class)
}

#[test]
fn content_a_tool_call_or_a_thought_proves_a_stream() {
    for delta in [
        "\"content\":\"x\"",
        "\"tool_calls\":[{\"index\":0,\"id\":\"c\",\"function\":{\"name\":\"f\",\"arguments\":\"\"}}]",
        "\"reasoning_content\":\"hm\"",
        "\"refusal\":\"no\"",
    ] {
        let pieces = vec![opening(), event(delta, "null")];
        let expected = pieces.concat();
        let proved = proof(&PreCommit::default(), LONG, LONG, silent_after(pieces)).unwrap();
        assert_eq!(proved.held, expected, "{delta}");
        assert!(proved.tally.has_content && proved.first_token_at.is_some());
    }
}

#[test]
fn each_bound_commits_a_stream_that_says_nothing() {
    let quiet = PreCommit { max_events: 1000, max_bytes: 1 << 20, max_wait: LONG, min_chars: 1 };
    for window in [
        PreCommit { max_events: 3, ..quiet },
        PreCommit { max_bytes: 2 * opening().len(), ..quiet },
        PreCommit { max_wait: SHORT, ..quiet },
    ] {
        let proved = proof(&window, LONG, LONG, silent_after(vec![opening(), opening(), opening()])).unwrap();
        assert!(!proved.tally.has_content && proved.first_token_at.is_none(), "{window:?}");
    }
    let wants_more = PreCommit { min_chars: 5, ..quiet };
    let proved =
        proof(&wants_more, LONG, LONG, silent_after(vec![said("abc"), said("de"), said("f")])).unwrap();
    assert_eq!(proved.tally.chars, 5);
}

#[test]
fn a_stream_without_content_in_time_fails_by_the_wait_that_ran_out() {
    let window = PreCommit::default();
    for pieces in [vec![], vec![opening()]] {
        assert_eq!(
            class(proof(&window, SHORT, LONG, silent_after(pieces.clone()))),
            Some(Class::FirstTokenTimeout)
        );
        assert_eq!(class(proof(&window, LONG, SHORT, silent_after(pieces))), Some(Class::TotalTimeout));
    }
}

#[test]
fn what_breaks_or_ends_without_content_fails() {
    let body = |pieces: Vec<Bytes>, error: Option<BodyError>| {
        mainstay_net::stream(stream::iter(pieces.into_iter().map(Ok).chain(error.map(Err))))
    };
    let window = PreCommit::default();
    for (pieces, error, expected) in [
        (vec![opening()], Some(BodyError::other("lost")), Class::Cut),
        (vec![opening()], Some(BodyError::Idle(SHORT)), Class::FirstTokenTimeout),
        (vec![opening()], None, Class::Cut),
        (vec![opening(), event("", "\"stop\"")], None, Class::Empty),
        (vec![opening(), Bytes::from("data: [DONE]\n\n")], None, Class::Empty),
        (vec![opening(), event("", "\"content_filter\"")], None, Class::ContentFilter),
    ] {
        assert_eq!(class(proof(&window, LONG, LONG, body(pieces, error))), Some(expected));
    }
    // All of its tokens went into thoughts: an answer, though a short one.
    let thought = vec![opening(), event("", "\"length\"")];
    assert!(proof(&window, LONG, LONG, body(thought, None)).is_ok());
}

/// Reproduces a stall that was told of a stream whose caller had paused: what had come meanwhile began with a comment.
#[test]
fn a_callers_pause_is_not_the_providers_silence() {
    const STALL: Duration = Duration::from_millis(5);
    let run = |pauses: bool| {
        in_virtual_time(async move {
            let comment = Bytes::from(": alive\n\n");
            // The provider says nothing but comments for so long.
            let quiet = if pauses { 0 } else { 12 };
            let comments = stream::unfold((0, comment), move |(sent, comment)| async move {
                if sent > 0 {
                    tokio::time::sleep(STALL / 2 * quiet.min(4)).await;
                }
                (sent < 1 + quiet).then(|| (Ok::<_, BodyError>(comment.clone()), (sent + 1, comment)))
            });
            let pieces = |pieces: Vec<Bytes>| stream::iter(pieces.into_iter().map(Ok));
            let whole = pieces(vec![said("a"), said("b")])
                .chain(comments)
                .chain(pieces(vec![event("", "\"stop\""), Bytes::from("data: [DONE]\n\n")]));
            let mut reading = Reading::new(&Dialect::OpenAi, &WANTED, mainstay_net::stream(whole));
            let now = Instant::now();
            let waits = Waits { first_token_at: now + LONG, deadline_at: now + LONG };
            let proved = prove(&mut reading, &PreCommit::default(), &waits, false).await.unwrap();
            let mut relay = Relay::new(reading, proved, Terms { stall: STALL, ..TERMS });
            let mut steps = Vec::new();
            loop {
                let step = std::future::poll_fn(|context| relay.poll(context)).await;
                if pauses && steps.len() == 1 {
                    tokio::time::sleep(STALL * 8).await;
                }
                let is_over = !matches!(step, Step::Bytes(_));
                steps.push(step);
                if is_over {
                    return steps;
                }
            }
        })
    };
    assert_eq!(run(true).last(), Some(&Step::Over));
    let stalled = run(false);
    let Some(Step::Broken(broken)) = stalled.last() else { panic!("{stalled:?}") };
    assert_eq!(broken.class, Class::Stall);
}
