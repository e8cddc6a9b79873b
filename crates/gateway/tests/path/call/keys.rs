//! Several keys of one provider.

use std::sync::Arc;

use mainstay_base::{
    Class, Secret, Snapshot,
    snapshot::{LogicalModel, ProviderKey},
};
use mainstay_faulty::{Fault, Plan};

use super::{ask, course, policy, provider, setup, target};

#[tokio::test]
async fn keys_take_turns() {
    let one = super::faulty().await;
    let rig = setup(vec![target(provider("one", &one, 3))], policy()).start().await;
    for _ in 0..6 {
        assert_eq!(ask(&rig, false).await.status, 200);
    }
    let calls = one.calls();
    for key in ["sk-one-0", "sk-one-1", "sk-one-2"] {
        assert_eq!(calls.iter().filter(|call| call.credential.contains(key)).count(), 2, "{key}");
    }
}

#[tokio::test]
async fn a_key_that_is_refused_or_limited_rests_alone() {
    for (fault, class) in [
        (Fault::BadKey, Class::BadKey),
        (Fault::QuotaExhausted, Class::QuotaExhausted),
        (Fault::RateLimited { retry_after_s: Some(20) }, Class::RateLimited),
    ] {
        let one = super::faulty().await;
        one.set(Plan { key: Some("sk-one-0".to_owned()), ..Plan::from(fault) });
        let mut rig = setup(vec![target(provider("one", &one, 2))], policy()).start().await;
        let mut met = 0;
        for _ in 0..8 {
            assert_eq!(ask(&rig, false).await.status, 200);
            met += usize::from(rig.record().await.attempts.len() == 2);
        }
        assert_eq!(met, 1, "{class:?}: after the first time the key is left alone");
        let standing = rig.gateway.standing();
        assert_eq!(standing.keys[0].why, Some(class));
        assert_eq!((standing.keys[1].why, standing.targets[0].failures), (None, 0));
    }
}

#[tokio::test]
async fn a_new_secret_wakes_a_resting_key() {
    let one = super::faulty().await;
    one.set(Plan { key: Some("sk-one-0".to_owned()), ..Plan::from(Fault::BadKey) });
    let mut rig = setup(vec![target(provider("one", &one, 1))], policy()).start().await;
    let got = ask(&rig, false).await;
    assert_eq!(got.status, 502, "{}", got.text());
    assert_eq!(course(&rig.record().await), ["one/key-0 first bad_key"]);
    // It rests: nothing is sent.
    assert_eq!(ask(&rig, false).await.status, 502);
    assert_eq!((rig.record().await.attempts.len(), one.count()), (0, 1));
    let mut known = provider("one", &one, 0);
    known.keys = vec![ProviderKey::token("key-0", Secret::new("sk-new"))];
    let mut snapshot = Snapshot::clone(&rig.snapshot.load());
    snapshot.generation += 1;
    let model = LogicalModel { policy: policy(), ..LogicalModel::ordered("small", vec![target(known)]) };
    snapshot.model.models.insert("small".to_owned(), Arc::new(model));
    rig.snapshot.store(Arc::new(snapshot));
    assert_eq!(ask(&rig, false).await.status, 200);
}

#[tokio::test]
async fn a_limited_key_is_waited_for_when_it_is_back_soon() {
    let one = super::faulty().await;
    one.set(Plan { times: Some(1), ..Plan::from(Fault::RateLimited { retry_after_s: Some(1) }) });
    let mut rig = setup(vec![target(provider("one", &one, 1))], policy()).start().await;
    assert_eq!(ask(&rig, false).await.status, 200);
    let record = rig.only_record().await;
    assert_eq!(course(&record), ["one/key-0 first rate_limited", "one/key-0 retry ok"]);
    assert!(record.attempts[1].started_us >= 1_000_000, "Retry-After was honoured");
}
