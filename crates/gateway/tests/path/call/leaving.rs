//! Callers that leave wherever a call may wait, and snapshots that change under it: everything taken comes back, and every
//! attempt has its end.

use std::{sync::Arc, time::Duration};

use mainstay_base::{
    Record, Snapshot,
    record::Outcome,
    snapshot::{Breaker, CallPolicy, Hedge, LogicalModel, ModelTarget},
};
use mainstay_faulty::{End, Fault, Plan, Provider as Faulty};
use mainstay_testkit::wait_until;

use super::{ask, ask_with, course, faulty, pair, policy, provider, setup, target};
use crate::rig::{PATIENCE, Rig};

/// Nothing is held of anything, and no provider is still asked.
async fn all_is_back(rig: &Rig, asked: &[&Faulty]) {
    rig.nothing_is_out().await;
    wait_until("every provider was left, and every place is free", PATIENCE, || async {
        let standing = rig.gateway.standing();
        let is_left =
            asked.iter().flat_map(|provider| provider.calls()).all(|call| call.end() != End::UnderWay);
        let is_free = standing.targets.iter().all(|target| target.in_flight == 0)
            && standing.keys.iter().all(|key| key.in_flight == 0);
        (is_left && is_free).then_some(())
    })
    .await;
}

/// A caller that leaves as soon as `has_come` says so.
async fn leave_when(rig: &Rig, stream: bool, has_come: impl Fn() -> bool) {
    let here = || async { has_come().then_some(()) };
    tokio::select! {
        got = ask(rig, stream) => panic!("it was answered {}", got.status),
        () = wait_until("the call is where it is to be left", PATIENCE, here) => {}
    }
}

fn gone(record: &Record) -> (Outcome, Vec<String>) {
    (record.outcome, course(record))
}

#[tokio::test]
async fn while_waiting_for_room() {
    let one = faulty().await;
    one.set(Fault::Hang);
    let mut full = target(provider("one", &one, 1));
    full.limits.concurrency = Some(1);
    let mut rig = setup(vec![full], policy()).start().await;
    let admitted = |count| rig.gateway.stats().admitted == count;
    let second = async {
        wait_until("the first holds the place", PATIENCE, || async { (one.count() == 1).then_some(()) })
            .await;
        leave_when(&rig, false, || admitted(2)).await;
    };
    tokio::select! {
        _ = ask(&rig, false) => panic!("the first hangs"),
        () = second => {}
    }
    let (left, held) = (rig.record().await, rig.record().await);
    let (left, held) = if left.attempts.is_empty() { (left, held) } else { (held, left) };
    assert_eq!(gone(&left), (Outcome::CallerGone, vec![]));
    assert_eq!(gone(&held), (Outcome::CallerGone, vec!["one/key-0 first caller_gone".to_owned()]));
    one.set(Fault::None);
    all_is_back(&rig, &[&one]).await;
    assert_eq!(ask(&rig, false).await.status, 200, "the place is free");
}

#[tokio::test]
async fn while_a_key_rests_and_during_the_pause_before_it_is_asked_again() {
    let one = faulty().await;
    one.set(Fault::RateLimited { retry_after_s: Some(6) });
    let mut rig = setup(vec![target(provider("one", &one, 1))], policy()).start().await;
    // The refusal is booked before the pause begins.
    leave_when(&rig, true, || one.count() == 1 && rig.gateway.standing().targets[0].in_flight == 0).await;
    let record = rig.only_record().await;
    assert_eq!(gone(&record), (Outcome::CallerGone, vec!["one/key-0 first rate_limited".to_owned()]));
    assert!(record.attempts[0].started_us + record.attempts[0].took_us < record.took_us);
    all_is_back(&rig, &[&one]).await;
    // The next waits for the key to be back, and leaves too.
    let before = rig.gateway.stats().admitted;
    leave_when(&rig, true, || rig.gateway.stats().admitted > before).await;
    assert_eq!(gone(&rig.only_record().await), (Outcome::CallerGone, vec![]));
    assert_eq!(one.count(), 1);
}

#[tokio::test]
async fn while_two_attempts_run_beside_each_other() {
    let hedge = Some(Hedge { at_least: Duration::from_millis(20), ..Hedge::default() });
    for stream in [false, true] {
        let (one, two, mut rig) = pair(CallPolicy { hedge, ..policy() }).await;
        for _ in 0..10 {
            ask(&rig, stream).await;
            rig.record().await;
        }
        one.set(Fault::Hang);
        two.set(Fault::Hang);
        leave_when(&rig, stream, || two.count() == 1).await;
        let record = rig.only_record().await;
        let both = ["one/key-0 first caller_gone".to_owned(), "two/key-0 hedge caller_gone".to_owned()];
        assert_eq!(gone(&record), (Outcome::CallerGone, both.to_vec()));
        assert!(record.attempts.iter().all(|attempt| attempt.cost.is_some() && attempt.took_us > 0));
        all_is_back(&rig, &[&one, &two]).await;
        assert!(rig.gateway.standing().targets.iter().all(|target| target.failures == 0));
    }
}

#[tokio::test]
async fn as_a_probe() {
    let one = faulty().await;
    let mut setup = setup(vec![target(provider("one", &one, 1))], CallPolicy { max_attempts: 1, ..policy() });
    let open_for = Duration::from_millis(100);
    setup.snapshot.model.breaker =
        Breaker { open_for, max_open: Duration::from_secs(600), ..Breaker::default() };
    let mut rig = setup.start().await;
    one.set(Fault::Status { status: 500 });
    for _ in 0..5 {
        ask(&rig, true).await;
        rig.record().await;
    }
    one.set(Fault::Hang);
    let is_due = || async { rig.gateway.standing().targets[0].probe_at.is_none().then_some(()) };
    wait_until("a probe is due", PATIENCE, is_due).await;
    leave_when(&rig, true, || one.count() == 6).await;
    all_is_back(&rig, &[&one]).await;
    assert_eq!(rig.gateway.standing().targets[0].probe_at, None, "its place is another's at once");
    one.set(Fault::None);
    assert_eq!(ask(&rig, true).await.status, 200);
}

#[tokio::test]
async fn a_call_ends_by_the_snapshot_that_it_began_with() {
    for is_removed in [false, true] {
        let (one, two, mut rig) = pair(policy()).await;
        one.set(Fault::SlowFirstByte { delay_ms: 300 });
        let change = async {
            wait_until("the call is under way", PATIENCE, || async { (one.count() == 1).then_some(()) })
                .await;
            let mut snapshot = Snapshot::clone(&rig.snapshot.load());
            snapshot.generation += 1;
            let left = vec![target(provider("two", &two, 1))];
            let model = LogicalModel { policy: policy(), ..LogicalModel::ordered("small", left) };
            match is_removed {
                true => snapshot.model.models.clear(),
                false => drop(snapshot.model.models.insert("small".to_owned(), Arc::new(model))),
            }
            rig.snapshot.store(Arc::new(snapshot));
            ask(&rig, false).await.status
        };
        let (got, meanwhile) = tokio::join!(ask(&rig, false), change);
        assert_eq!((got.status, meanwhile), (200, if is_removed { 404 } else { 200 }));
        assert_eq!(got.headers["mainstay-target"], "one/real-small");
        let records = [rig.record().await, rig.record().await];
        assert!(records.iter().any(|record| course(record) == ["one/key-0 first ok"]), "{records:?}");
        all_is_back(&rig, &[&one, &two]).await;
    }
}

/// Small steps of a seeded generator: which caller is how patient.
fn next(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *seed >> 33
}

/// Hundreds of calls at once, every third target failing in some way, callers leaving at any moment.
#[tokio::test(flavor = "multi_thread")]
async fn hundreds_at_once_whatever_fails_and_whoever_leaves() {
    const CALLS: usize = 400;
    let providers = [faulty().await, faulty().await, faulty().await];
    let share = |fault, share| Plan { share, ..Plan::from(fault) };
    providers[0].set_all(vec![
        share(Fault::Status { status: 500 }, 0.2),
        share(Fault::RateLimited { retry_after_s: Some(1) }, 0.05),
        share(Fault::SlowFirstByte { delay_ms: 60 }, 0.5),
    ]);
    providers[1].set_all(vec![
        share(Fault::Stall { after_events: 1 }, 0.2),
        share(Fault::Cut { after_events: 2, and_bytes: 3 }, 0.2),
        share(Fault::SlowTokens { gap_ms: 10 }, 0.5),
    ]);
    providers[2].set_all(vec![share(Fault::Hang, 0.1), share(Fault::Close, 0.1)]);
    let targets: Vec<ModelTarget> = ["one", "two", "three"]
        .into_iter()
        .zip(&providers)
        .map(|(name, faulty)| {
            let mut known = target(provider(name, faulty, 2));
            known.limits.concurrency = Some(40);
            known.limits.tokens_a_minute = Some(100_000_000);
            known
        })
        .collect();
    let hedge = Some(Hedge { at_least: Duration::from_millis(5), ratio: 0.5, ..Hedge::default() });
    let mut setup = setup(targets, CallPolicy { hedge, ..policy() });
    setup.snapshot.model.breaker.open_for = Duration::from_millis(50);
    let rig = Arc::new(tokio::sync::Mutex::new(setup.start().await));
    let mut seed = 20_261_123;
    {
        let rig = rig.lock().await;
        let callers = (0..CALLS).map(|number| {
            let patience = Duration::from_millis(next(&mut seed) % 250);
            let rig = &rig;
            async move {
                let deadline = [("mainstay-deadline", "2000")];
                let _ = tokio::time::timeout(patience, ask_with(rig, number % 3 > 0, &deadline)).await;
            }
        });
        futures_util::future::join_all(callers).await;
        all_is_back(&rig, &providers.iter().collect::<Vec<_>>()).await;
        let standing = rig.gateway.standing();
        // All that was estimated and not used came back: a sixth of the grant is there at once, less what was used.
        for target in &standing.targets {
            assert!(target.tokens_left.is_some_and(|left| left > 16_000_000), "{target:?}");
        }
    }
    let mut rig = Arc::into_inner(rig).expect("nobody else has it").into_inner();
    let begun = rig.gateway.stats().admitted;
    let mut records = 0;
    while let Some(record) = rig.records.try_recv() {
        records += 1;
        assert!(record.attempts.len() <= 4, "{record:?}");
        for attempt in &record.attempts {
            let is_answer = attempt.class.is_none();
            assert!(!is_answer || record.outcome != Outcome::Failed, "{record:?}");
            assert!(attempt.started_us + attempt.took_us <= record.took_us, "{record:?}");
        }
        let answers = record.attempts.iter().filter(|attempt| attempt.class.is_none()).count();
        assert!(answers <= 1, "{record:?}");
    }
    // Of a caller that left before its head was read there is none.
    assert!(records >= begun && records <= CALLS as u64, "{records} records, {begun} calls");
}
