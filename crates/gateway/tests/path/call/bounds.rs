//! One deadline, one ceiling, places and grants: what bounds all attempts of a call.

use std::time::{Duration, Instant};

use http::Method;
use mainstay_base::{
    Usd,
    snapshot::{CallPolicy, Dialect, Provider},
};
use mainstay_faulty::{End, Fault, Options, Pace, Provider as Faulty};
use mainstay_testkit::wait_until;

use super::{ask, ask_with, code, course, faulty, pair, policy, provider, setup, target};
use crate::rig::PATIENCE;

#[tokio::test]
async fn a_deadline_bounds_all_attempts_together() {
    for stream in [false, true] {
        let (one, two, mut rig) = pair(policy()).await;
        one.set(Fault::Hang);
        two.set(Fault::Hang);
        let began = Instant::now();
        let got = ask_with(&rig, stream, &[("mainstay-deadline", "400")]).await;
        assert_eq!(got.status, 504, "{}", got.text());
        assert!(began.elapsed() < Duration::from_secs(2));
        assert_eq!(got.headers["mainstay-deadline"], "400");
        let record = rig.only_record().await;
        assert_eq!(record.deadline_us, Some(400_000));
        // Nobody had the time that he was meant to have.
        assert!(rig.gateway.standing().targets.iter().all(|target| target.failures == 0));
        wait_until("the provider was left", PATIENCE, || async {
            one.calls().iter().all(|call| call.end() == End::Abandoned).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn only_a_deadline_of_the_callers_own_is_its_haste() {
    let short = || CallPolicy { deadline: Duration::from_millis(400), ..policy() };
    // Before the answer, and in the middle of one.
    for fault in [Fault::Hang, Fault::Stall { after_events: 3 }] {
        for (policy, headers, expected) in
            [(policy(), &[("mainstay-deadline", "400")][..], true), (short(), &[], false)]
        {
            let (one, two, mut rig) = pair(policy).await;
            one.set(fault.clone());
            two.set(fault.clone());
            ask_with(&rig, true, headers).await;
            let record = rig.only_record().await;
            let haste: Vec<bool> = record.attempts.iter().map(|attempt| attempt.is_callers_haste).collect();
            assert!(!haste.is_empty() && haste.iter().all(|is| *is == expected), "{:?}", record.attempts);
        }
    }
}

#[tokio::test]
async fn a_stream_that_hangs_leaves_half_of_the_time_to_the_next() {
    let (one, _two, mut rig) = pair(policy()).await;
    one.set(Fault::Hang);
    let got = ask_with(&rig, true, &[("mainstay-deadline", "1500")]).await;
    assert_eq!(got.status, 200, "{}", got.text());
    assert_eq!(course(&rig.only_record().await).len(), 2);
}

#[tokio::test]
async fn a_caller_may_ask_for_less_time_and_never_for_more() {
    let (_one, _two, mut rig) = pair(CallPolicy { deadline: Duration::from_secs(3), ..policy() }).await;
    let got = ask_with(&rig, false, &[("mainstay-deadline", "60000")]).await;
    assert_eq!(got.headers["mainstay-deadline"], "3000");
    assert_eq!(rig.only_record().await.deadline_us, Some(3_000_000));
}

#[tokio::test]
async fn a_ceiling_is_held_over_all_attempts() {
    // 4096 tokens out at $2 a million are $0.008192, the input a few millionths.
    let (one, two, mut rig) = pair(policy()).await;
    let got = ask_with(&rig, false, &[("mainstay-max-cost", "0.001")]).await;
    assert!((400..500).contains(&got.status), "{}", got.text());
    assert_eq!((one.count() + two.count(), rig.only_record().await.attempts.len()), (0, 0));
    let (one, two, mut rig) = pair(policy()).await;
    one.set(Fault::Empty);
    let got = ask_with(&rig, false, &[("mainstay-max-cost", "0.0085")]).await;
    assert_eq!(
        got.status,
        200,
        "what the first cost is known, so there is room for the second: {}",
        got.text()
    );
    let record = rig.only_record().await;
    assert_eq!(record.max_cost, Some(Usd(8_500)));
    assert!(record.cost.is_some_and(|cost| cost <= Usd(8_500)));
    let told: f64 = got.headers["mainstay-cost"].to_str().unwrap().parse().unwrap();
    assert_eq!(Usd::from_dollars(told), record.cost);
    assert_eq!(two.count(), 1);
}

/// What a target without a price costs nobody knows: a caller's ceiling is held by others, or the call is refused. An
/// operator's ceiling is over the prices that he wrote.
#[tokio::test]
async fn a_callers_ceiling_is_held_by_targets_with_a_price_only() {
    let (one, two) = (faulty().await, faulty().await);
    let mut unpriced = target(provider("one", &one, 1));
    unpriced.price = None;
    let ceiling = [("mainstay-max-cost", "1")];
    let both = vec![unpriced.clone(), target(provider("two", &two, 1))];
    let mut rig = setup(both, policy()).start().await;
    assert_eq!(ask_with(&rig, false, &ceiling).await.headers["mainstay-target"], "two/real-small");
    assert_eq!(course(&rig.only_record().await), ["two/key-0 first ok"]);
    let ours = CallPolicy { max_cost: Some(Usd(1)), ..policy() };
    let mut rig = setup(vec![unpriced], ours).start().await;
    let got = ask_with(&rig, true, &ceiling).await;
    assert_eq!((got.status, code(&got).as_str()), (400, "no_target_fits"), "{}", got.text());
    assert!(got.text().contains("Mainstay-Max-Cost needs a target with a price"), "{}", got.text());
    assert_eq!((one.count(), rig.only_record().await.attempts.len()), (0, 0));
    assert_eq!(ask(&rig, false).await.headers["mainstay-target"], "one/real-small");
}

/// Reproduces: a budget for thoughts went to Anthropic on top of the maximum that the ceiling was reckoned with, so that a
/// call could cost many times its ceiling.
#[tokio::test]
async fn thoughts_come_out_of_what_a_ceiling_pays_for() {
    let one = faulty().await;
    let thinks = target(Provider { dialect: Dialect::Anthropic, ..provider("one", &one, 1) });
    let rig = setup(vec![thinks], policy()).start().await;
    let body = super::body(false).replacen('{', r#"{"max_tokens":4096,"reasoning_effort":"high","#, 1);
    let mut sent = Vec::new();
    for ceiling in [None, Some("0.01")] {
        let mut request = rig.model_request(Method::POST, super::CHAT, body.clone());
        if let Some(ceiling) = ceiling {
            request.headers_mut().insert("mainstay-max-cost", ceiling.parse().unwrap());
        }
        let got = rig.got(request).await;
        assert_eq!(got.status, 200, "{}", got.text());
        let calls = one.calls();
        let told: serde_json::Value = serde_json::from_slice(&calls.last().unwrap().body).unwrap();
        sent.push((told["max_tokens"].as_u64(), told["thinking"]["budget_tokens"].as_u64()));
    }
    assert_eq!(sent, [(Some(4096 + 16_384), Some(16_384)), (Some(4096), Some(2048))]);
}

#[tokio::test]
async fn no_time_at_all_is_a_deadline_that_is_over() {
    let (one, two, mut rig) = pair(policy()).await;
    one.set(Fault::SlowFirstByte { delay_ms: 100 });
    for stream in [false, true] {
        let got = ask_with(&rig, stream, &[("mainstay-deadline", "1")]).await;
        assert_eq!(
            (got.status, &got.headers["mainstay-deadline"]),
            (504, &"1".parse().unwrap()),
            "{}",
            got.text()
        );
        assert!(rig.only_record().await.attempts.len() <= 2);
    }
    assert!(
        rig.gateway.standing().targets.iter().all(|target| target.failures == 0 && target.in_flight == 0)
    );
    assert_eq!(two.count(), 0);
}

/// The route's own haste is no failure of a target that would have had more time.
#[tokio::test]
async fn an_answer_is_due_before_a_providers_own_first_byte() {
    let hasty = CallPolicy { answer_within: Duration::from_millis(250), ..policy() };
    for stream in [false, true] {
        let (one, two, mut rig) = pair(hasty.clone()).await;
        one.set(Fault::Hang);
        two.set(Fault::Hang);
        let began = Instant::now();
        let got = ask(&rig, stream).await;
        assert_eq!(got.status, 504, "{}", got.text());
        assert!(began.elapsed() < Duration::from_secs(2));
        assert!(rig.gateway.standing().targets.iter().all(|target| target.failures == 0));
        rig.only_record().await;
    }
    // What began in time may last.
    let (one, _two, mut rig) = pair(CallPolicy { answer_within: Duration::from_secs(2), ..hasty }).await;
    one.set(Fault::SlowTokens { gap_ms: 500 });
    let began = Instant::now();
    assert!(ask(&rig, true).await.text().ends_with("data: [DONE]\n\n"));
    assert!(began.elapsed() > Duration::from_secs(2), "{:?}", began.elapsed());
    assert_eq!(course(&rig.only_record().await), ["one/key-0 first ok"]);
}

#[tokio::test]
async fn attempts_are_counted() {
    let (one, two, mut rig) = pair(CallPolicy { max_attempts: 1, ..policy() }).await;
    one.set(Fault::Status { status: 500 });
    assert_eq!(ask(&rig, false).await.status, 502);
    assert_eq!((rig.only_record().await.attempts.len(), two.count()), (1, 0));
}

async fn slow(first: Duration) -> Faulty {
    let pace = Pace { first, next: Duration::ZERO };
    Faulty::start(Options { pace, ..Options::default() }).await.unwrap()
}

#[tokio::test]
async fn a_full_target_is_passed_over_and_the_last_one_is_waited_for() {
    let (one, two) = (slow(Duration::from_millis(300)).await, faulty().await);
    let mut full = target(provider("one", &one, 1));
    full.limits.concurrency = Some(1);
    let rig = setup(vec![full.clone(), target(provider("two", &two, 1))], policy()).start().await;
    let (first, second) = tokio::join!(ask(&rig, false), async {
        wait_until("the first is there", PATIENCE, || async { (one.count() == 1).then_some(()) }).await;
        ask(&rig, false).await
    });
    assert_eq!(first.headers["mainstay-target"], "one/real-small");
    assert_eq!(second.headers["mainstay-target"], "two/real-small");
    let rig = setup(vec![full], policy()).start().await;
    let answers = futures_util::future::join_all((0..3).map(|_| ask(&rig, false))).await;
    assert!(answers.iter().all(|got| got.status == 200), "each had its turn");
}

#[tokio::test]
async fn a_minutes_grant_is_kept_without_meeting_a_429() {
    let (one, two) = (faulty().await, faulty().await);
    let mut limited = target(provider("one", &one, 1));
    limited.limits.requests_a_minute = Some(6);
    let rig = setup(vec![limited.clone(), target(provider("two", &two, 1))], policy()).start().await;
    for _ in 0..4 {
        assert_eq!(ask(&rig, false).await.status, 200);
    }
    assert_eq!((one.count(), two.count()), (1, 3), "a sixth of six at once");
    limited.limits.requests_a_minute = Some(1);
    let rig = setup(vec![limited], policy()).start().await;
    assert_eq!(ask(&rig, false).await.status, 200);
    let got = ask(&rig, false).await;
    assert_eq!(got.status, 429, "{}", got.text());
    let wait: u64 = got.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((30..=60).contains(&wait), "{wait}");
    assert!(!code(&got).is_empty());
    assert_eq!(one.count(), 2);
}

#[tokio::test]
async fn a_caller_that_leaves_takes_everything_along() {
    let (one, _two, mut rig) = pair(policy()).await;
    one.set(Fault::Hang);
    let left = tokio::time::timeout(Duration::from_millis(200), ask(&rig, false)).await;
    assert!(left.is_err());
    let record = rig.only_record().await;
    assert_eq!(record.outcome, mainstay_base::record::Outcome::CallerGone);
    assert_eq!(course(&record), ["one/key-0 first caller_gone"]);
    assert!(record.attempts[0].is_cost_estimated && record.cost.is_some_and(|cost| cost > Usd::ZERO));
    wait_until("the provider was left", PATIENCE, || async {
        one.calls().iter().all(|call| call.end() == End::Abandoned).then_some(())
    })
    .await;
    let standing = &rig.gateway.standing().targets[0];
    assert_eq!((standing.in_flight, standing.failures), (0, 0));
}
