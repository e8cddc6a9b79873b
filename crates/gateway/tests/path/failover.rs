//! One of two providers fails, half fails or hangs: what a caller is promised of it. `cargo xtask bench failover` measures
//! the same for longer.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use mainstay_base::{Record, snapshot::CallPolicy, standing::BreakerState};
use mainstay_faulty::{Fault, Plan, Provider as Faulty};
use mainstay_testkit::wait_until;

use crate::{
    call::{ask, faulty, provider, setup, target},
    rig::{PATIENCE, Rig},
};

const CALLERS: usize = 8;
const CALLS: usize = 400;
/// What a target that hangs costs its callers before they go on.
const FIRST_TOKEN: Duration = Duration::from_millis(400);
/// The route's own; far more than a busy machine needs for the healthy one's answer.
const DEADLINE: Duration = Duration::from_secs(20);

async fn rig() -> (Faulty, Faulty, Rig) {
    let (one, two) = (faulty().await, faulty().await);
    let mut first = provider("one", &one, 1);
    first.first_token = FIRST_TOKEN;
    let targets = vec![target(first), target(provider("two", &two, 1))];
    // All else as it is by default: these are the promises of the defaults.
    let policy = CallPolicy { deadline: DEADLINE, ..CallPolicy::default() };
    (one, two, setup(targets, policy).start().await)
}

/// All answers, each with the time it took.
async fn load(rig: &Rig) -> Vec<(bool, Duration)> {
    let caller = || async {
        let mut answers = Vec::new();
        for _ in 0..CALLS / CALLERS {
            let began = Instant::now();
            let got = ask(rig, true).await;
            answers.push((got.status == 200 && got.text().ends_with("data: [DONE]\n\n"), began.elapsed()));
        }
        answers
    };
    join_all((0..CALLERS).map(|_| caller())).await.concat()
}

async fn records(rig: &mut Rig) -> Vec<Record> {
    let mut records = Vec::new();
    for _ in 0..CALLS {
        records.push(rig.record().await);
    }
    records
}

async fn holds(fault: Plan) {
    let name = format!("{:?} {}", fault.fault, fault.share);
    let (one, two, mut rig) = rig().await;
    one.set(fault);
    let answers = load(&rig).await;
    // 99.9 % of 400 is all of them. Nothing is left to chance: the second target is well.
    assert_eq!(answers.iter().filter(|(is_sound, _)| *is_sound).count(), CALLS, "{name}");
    // A call waits for the failing one once, for `first_token` at most, and never past its deadline.
    let slowest = answers.iter().map(|(_, took)| *took).max().unwrap_or_default();
    assert!(slowest < FIRST_TOKEN + DEADLINE / 4, "{name}: {slowest:?}");
    let attempts: usize = records(&mut rig).await.iter().map(|record| record.attempts.len()).sum();
    // At most 20 calls meet it before its breaker opens, and a probe every other second after that: 40 allow for a run
    // that takes half a minute.
    assert!(attempts <= CALLS + CALLS / 10, "{name}: {attempts} attempts for {CALLS} calls");
    assert_eq!(attempts as u64, one.count() + two.count(), "{name}: every attempt is in a record");
    // Once open it stays so for 2 s: whatever came within 2 s of the first came before it opened.
    let calls = one.calls();
    let opened = calls.iter().filter(|call| call.at.duration_since(calls[0].at) < Duration::from_secs(2));
    assert!(opened.count() <= 20, "{name}: the breaker opens within 20 calls or 2 s");
    is_found_again(&name, &one, &rig).await;
}

/// Within 5 s of its return: its next probe is due within 4 s (`max_open`), and a few calls close the breaker then.
async fn is_found_again(name: &str, one: &Faulty, rig: &Rig) {
    let standing = rig.gateway.standing();
    one.set(Fault::None);
    let wait = standing.targets[0].probe_at.map_or(Duration::ZERO, |at| at.since(standing.at));
    assert!(wait <= Duration::from_secs(4), "{name}: the next probe is due in {wait:?}");
    let before = one.count();
    wait_until("the breaker closed", PATIENCE, || async {
        assert_eq!(ask(rig, true).await.status, 200, "{name}");
        (rig.gateway.standing().targets[0].breaker == BreakerState::Closed).then_some(())
    })
    .await;
    // Two successes close it, four times as many after relapses. Each call is a probe when one may go: the 5 s hold
    // wherever a fifth of a second is enough for eight calls.
    let probes = one.count() - before;
    assert!(probes <= 8, "{name}: {probes} probes");
    assert_eq!(ask(rig, true).await.headers["mainstay-target"], "one/real-small", "{name}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_fails_hangs_or_half_fails_is_nobodys_problem() {
    let plans = [
        Plan::from(Fault::Status { status: 500 }),
        Plan { share: 0.5, ..Plan::from(Fault::Status { status: 503 }) },
        Plan::from(Fault::SlowFirstToken { delay_ms: 60_000 }),
        Plan::from(Fault::Hang),
    ];
    join_all(plans.map(holds)).await;
}
