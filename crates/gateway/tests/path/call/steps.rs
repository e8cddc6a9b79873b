//! Each class of failure has its next step.

use std::time::Duration;

use mainstay_base::snapshot::CallPolicy;
use mainstay_faulty::{Fault, Plan};

use super::{ask, code, course, pair, policy, provider, setup, target};
use crate::rig::nobody;

/// Failures after which the next target is asked at once.
fn falls_over() -> Vec<(Fault, &'static str)> {
    vec![
        (Fault::Status { status: 500 }, "server_error"),
        (Fault::Status { status: 502 }, "server_error"),
        (Fault::Overloaded, "overloaded"),
        (Fault::RateLimited { retry_after_s: Some(1) }, "rate_limited"),
        (Fault::QuotaExhausted, "quota_exhausted"),
        (Fault::BadKey, "bad_key"),
        (Fault::ModelMissing, "model_missing"),
        (Fault::Close, "closed"),
        (Fault::Html { status: 200 }, "not_an_answer"),
        // What is inside says that there is no room.
        (Fault::ErrorInside, "overloaded"),
        (Fault::Empty, "empty"),
        (Fault::TruncatedJson, "truncated_json"),
    ]
}

#[tokio::test]
async fn a_failing_target_is_followed_by_the_next() {
    for (fault, class) in falls_over() {
        for stream in [false, true] {
            let (one, two, mut rig) = pair(policy()).await;
            one.set(fault.clone());
            let got = ask(&rig, stream).await;
            assert_eq!(got.status, 200, "{fault:?} stream {stream}: {}", got.text());
            assert_eq!(got.headers["mainstay-target"], "two/real-small");
            assert_eq!(got.headers["mainstay-attempts"], "2");
            let record = rig.only_record().await;
            let expected = vec![format!("one/key-0 first {class}"), "two/key-0 fallback ok".to_owned()];
            if !(stream && class == "truncated_json") {
                assert_eq!(course(&record), expected, "{fault:?} stream {stream}");
            }
            assert_eq!((one.count(), two.count()), (1, 1));
        }
    }
}

#[tokio::test]
async fn a_callers_mistake_goes_nowhere_else_and_blames_nobody() {
    for stream in [false, true] {
        let (one, two, mut rig) = pair(policy()).await;
        one.set(Fault::BadRequest);
        for _ in 0..12 {
            let got = ask(&rig, stream).await;
            assert_eq!(got.status, 400, "{}", got.text());
            assert_eq!(course(&rig.record().await), ["one/key-0 first caller_error"]);
        }
        assert_eq!((one.count(), two.count()), (12, 0), "the breaker stays closed");
        assert_eq!(rig.gateway.standing().targets[0].failures, 0);
    }
}

#[tokio::test]
async fn a_content_filter_is_an_answer_unless_the_route_says_otherwise() {
    let (one, two, mut rig) = pair(policy()).await;
    one.set(Fault::FilteredPrompt);
    let got = ask(&rig, false).await;
    assert_eq!((got.status, code(&got).as_str()), (400, "content_filter"));
    assert_eq!((course(&rig.only_record().await).len(), two.count()), (1, 0));
    let (one, _two, mut rig) = pair(CallPolicy { content_filter_falls_over: true, ..policy() }).await;
    one.set(Fault::FilteredPrompt);
    assert_eq!(ask(&rig, false).await.status, 200);
    assert_eq!(course(&rig.only_record().await)[0], "one/key-0 first content_filter");
}

#[tokio::test]
async fn what_is_too_long_goes_to_a_longer_context_only() {
    let (one, two, three) = (super::faulty().await, super::faulty().await, super::faulty().await);
    let mut targets: Vec<_> = [("one", &one), ("two", &two), ("three", &three)]
        .map(|(name, faulty)| target(provider(name, faulty, 1)))
        .into();
    for (target, context) in targets.iter_mut().zip([8_000, 8_000, 128_000]) {
        target.offer.context_tokens = Some(context);
    }
    one.set(Fault::ContextOverflow);
    let mut rig = setup(targets, policy()).start().await;
    assert_eq!(ask(&rig, false).await.status, 200);
    let course = course(&rig.only_record().await);
    assert_eq!(course, ["one/key-0 first context_overflow", "three/key-0 fallback ok"]);
    three.set(Fault::ContextOverflow);
    let got = ask(&rig, false).await;
    assert_eq!((got.status, code(&got).as_str()), (400, "context_length_exceeded"));
    assert_eq!(two.count(), 0);
}

#[tokio::test]
async fn the_only_target_is_tried_again() {
    for (fault, class) in
        [(Fault::Status { status: 500 }, "server_error"), (Fault::Close, "closed"), (Fault::Empty, "empty")]
    {
        let one = super::faulty().await;
        one.set(Plan { times: Some(1), ..Plan::from(fault) });
        let mut rig = setup(vec![target(provider("one", &one, 1))], policy()).start().await;
        assert_eq!(ask(&rig, false).await.status, 200);
        let expected = vec![format!("one/key-0 first {class}"), "one/key-0 retry ok".to_owned()];
        assert_eq!(course(&rig.only_record().await), expected);
    }
}

#[tokio::test]
async fn after_the_last_the_caller_is_told_in_words_that_are_safe() {
    for (fault, status, expected) in [
        (Fault::Status { status: 500 }, 502, "server_error"),
        (Fault::Overloaded, 503, "overloaded"),
        (Fault::RateLimited { retry_after_s: Some(30) }, 429, "rate_limit"),
        (Fault::QuotaExhausted, 429, "quota"),
        (Fault::BadKey, 502, "provider_key_refused"),
        (Fault::Html { status: 200 }, 502, ""),
        (Fault::Empty, 502, ""),
    ] {
        let (one, two, mut rig) = pair(policy()).await;
        one.set(fault.clone());
        two.set(fault.clone());
        let got = ask(&rig, false).await;
        assert_eq!(got.status, status, "{fault:?}: {}", got.text());
        assert!(got.text().contains(expected), "{fault:?}: {}", got.text());
        assert!(!got.text().contains("sk-"), "a key reached the caller: {}", got.text());
        if status == 429 && expected == "rate_limit" {
            assert_eq!(got.headers["retry-after"], "30");
        }
        let record = rig.only_record().await;
        assert!(record.attempts.len() >= 2 && !format!("{record:?}").contains("sk-one"), "{record:?}");
    }
}

#[tokio::test]
async fn nobody_there_is_503_after_everybody_was_tried() {
    let two = super::faulty().await;
    let mut gone = provider("one", &two, 1);
    gone.base_url = format!("{}/v1", nobody().await);
    let mut rig = setup(vec![target(gone.clone()), target(provider("two", &two, 1))], policy()).start().await;
    assert_eq!(ask(&rig, false).await.status, 200);
    assert_eq!(course(&rig.only_record().await)[0], "one/key-0 first connect");
    let mut rig = setup(vec![target(gone)], policy()).start().await;
    let got = ask(&rig, false).await;
    assert!(matches!(got.status, 502 | 503), "{}", got.text());
    let record = rig.only_record().await;
    assert_eq!(course(&record), ["one/key-0 first connect", "one/key-0 retry connect"]);
    assert_eq!(record.attempts[0].cost, Some(mainstay_base::Usd::ZERO), "what was never sent costs nothing");
}

#[tokio::test]
async fn a_stream_that_does_not_begin_is_left_for_the_next_target() {
    let (one, two) = (super::faulty().await, super::faulty().await);
    for (fault, class) in
        [(Fault::Hang, "first_byte_timeout"), (Fault::Stall { after_events: 0 }, "first_token_timeout")]
    {
        let mut slow = provider("one", &one, 1);
        slow.first_token = Duration::from_millis(200);
        one.set(fault.clone());
        let mut rig = setup(vec![target(slow), target(provider("two", &two, 1))], policy()).start().await;
        assert_eq!(ask(&rig, true).await.status, 200);
        let record = rig.only_record().await;
        assert_eq!(course(&record)[0], format!("one/key-0 first {class}"), "{fault:?}");
        assert!(record.attempts[0].is_cost_estimated, "what it may have read is booked");
        assert_eq!(rig.gateway.standing().targets[0].failures, 1);
    }
}
