//! Identical calls in flight share one call upstream, and nobody can tell by his answer.

use std::sync::Arc;

use http::{Method, Request};
use mainstay_base::{
    Record, Usd,
    id::KeyHash,
    record::Outcome,
    snapshot::{CallPolicy, ModelKey, SingleFlight},
};
use mainstay_net::Body;

use super::{DONE, OPENING, Player, STOP, Script, Step, USAGE, asking, next, read_to, said, send, setup};
use crate::rig::Rig;

const SAME: &str = ",\"temperature\":0";

fn script() -> Vec<Step> {
    vec![
        send([OPENING, &said("one ")].concat()),
        Step::Gate,
        send(said("two")),
        Step::Gate,
        send([STOP, USAGE, DONE].concat()),
    ]
}

fn whole() -> String {
    [OPENING, &said("one "), &said("two"), STOP, DONE].concat()
}

/// The records by who led: the leader's first.
async fn records(rig: &mut Rig, count: usize) -> Vec<Record> {
    let mut records = Vec::new();
    for _ in 0..count {
        records.push(rig.record().await);
    }
    records.sort_by_key(|record| record.shared_with.is_some());
    rig.nothing_is_out().await;
    records
}

#[tokio::test]
async fn a_late_joiner_gets_everything_and_the_costs_are_booked_once() {
    let player = Player::streaming(script()).await;
    let mut rig = setup(&[&player], CallPolicy::default()).start().await;
    let mut first = rig.send(asking(&rig, SAME)).await.into_body();
    let mut read = read_to(&mut first, "one ").await;
    player.open_gate();
    read.push_str(&read_to(&mut first, "two").await);
    let second = rig.send(asking(&rig, SAME)).await;
    assert_eq!(second.headers()["mainstay-shared"], "1");
    let shared_id = second.headers()["x-request-id"].clone();
    let mut second = second.into_body();
    let again = read_to(&mut second, "two").await;
    assert_eq!(again, read);
    player.open_gate();
    for (mut body, mut read) in [(first, read), (second, again)] {
        read.push_str(&read_to(&mut body, DONE).await);
        assert_eq!((read, next(&mut body).await), (whole(), None));
    }
    assert_eq!(player.calls(), 1);
    let records = records(&mut rig, 2).await;
    assert_eq!(records[1].shared_with.as_ref(), Some(&records[0].request_id));
    assert_eq!(records[1].request_id, shared_id);
    assert_eq!((records[0].cost, records[1].cost), (Some(Usd(40)), None));
    assert!(records.iter().all(|record| record.outcome == Outcome::Ok && record.status == 200));
    assert_eq!(records[1].bytes_out, whole().len() as u64);
    // What an operator asks of a follower's record; its tokens and its cost are the leader's.
    assert!(records[1].streamed && records[1].first_token_us >= records[1].first_byte_us);
    assert_eq!((records[1].upstream.as_deref(), records[1].events), (Some("p0"), 4));
    assert_eq!((records[0].output_tokens, records[1].output_tokens), (Some(10), None));
}

#[tokio::test]
async fn the_call_goes_on_while_one_is_there_and_ends_with_the_last() {
    let player = Player::streaming(script()).await;
    let mut rig = setup(&[&player], CallPolicy::default()).start().await;
    let mut first = rig.send(asking(&rig, SAME)).await.into_body();
    read_to(&mut first, "one ").await;
    let mut second = rig.send(asking(&rig, SAME)).await.into_body();
    drop(first);
    player.open_gate();
    read_to(&mut second, "two").await;
    drop(second);
    player.nobody_listens().await;
    let records = records(&mut rig, 2).await;
    assert!(records.iter().all(|record| record.outcome == Outcome::CallerGone));
    assert_eq!(player.calls(), 1);
}

#[tokio::test]
async fn a_failure_and_a_cut_are_everybodys() {
    let begun = [OPENING, &said("one ")].concat();
    let player = Player::streaming(vec![Step::Gate, send(&begun), Step::Gate, Step::Cut]).await;
    let mut rig = setup(&[&player], CallPolicy { max_attempts: 1, ..CallPolicy::default() }).start().await;
    let (first, second) = tokio::join!(rig.send(asking(&rig, SAME)), async {
        until_in_flight(&rig, 1).await;
        let second = rig.send(asking(&rig, SAME));
        let open = async {
            until_in_flight(&rig, 2).await;
            player.open_gate();
        };
        tokio::join!(second, open).0
    });
    player.open_gate();
    for answer in [first, second] {
        let mut body = answer.into_body();
        let text = read_to(&mut body, "\"error\"").await;
        assert!(text.starts_with(&begun) && !text.contains("[DONE]"), "{text}");
        assert_eq!(next(&mut body).await, None);
    }
    assert!(records(&mut rig, 2).await.iter().all(|record| record.outcome == Outcome::Cut));
    assert_eq!(player.calls(), 1);

    let page = Player::start(vec![Script::Document("text/html", "<html></html>")]).await;
    let mut rig = setup(&[&page], CallPolicy { max_attempts: 1, ..CallPolicy::default() }).start().await;
    let (first, second) = tokio::join!(rig.got(asking(&rig, SAME)), rig.got(asking(&rig, SAME)));
    assert_eq!((first.status, second.status), (502, 502));
    assert!(records(&mut rig, 2).await.iter().all(|record| record.outcome == Outcome::Failed));
}

async fn until_in_flight(rig: &Rig, count: usize) {
    mainstay_testkit::wait_until("the calls are in flight", crate::rig::PATIENCE, || async {
        (rig.gateway.stats().in_flight == count).then_some(())
    })
    .await;
}

#[tokio::test]
async fn only_what_is_the_same_is_shared() {
    let player = Player::streaming(vec![send(whole()), Step::Gate]).await;
    let other_tenant = Arc::new(ModelKey { tenant: "other".to_owned(), ..ModelKey::named("other") });
    let twice = |policy: CallPolicy, one: fn(&Rig) -> Request<Body>, other: fn(&Rig) -> Request<Body>| {
        let mut setup = setup(&[&player], policy);
        setup.snapshot.model.keys.insert(KeyHash::of("vk-OTHER"), other_tenant.clone());
        let before = player.calls();
        let player = &player;
        async move {
            let rig = setup.start().await;
            let first = rig.send(one(&rig)).await;
            let second = rig.send(other(&rig)).await;
            drop((first, second));
            player.calls() - before
        }
    };
    fn same(rig: &Rig) -> Request<Body> {
        asking(rig, SAME)
    }
    fn header(rig: &Rig, name: &'static str, value: &'static str) -> Request<Body> {
        let mut request = same(rig);
        request.headers_mut().insert(name, value.parse().unwrap());
        request
    }
    let default = CallPolicy::default;
    let with = |single_flight| CallPolicy { single_flight, ..CallPolicy::default() };
    assert_eq!(twice(default(), same, same).await, 1);
    assert_eq!(twice(default(), same, |rig| asking(rig, ",\"temperature\":0.0")).await, 2);
    assert_eq!(twice(default(), |rig| asking(rig, ""), |rig| asking(rig, "")).await, 2);
    assert_eq!(twice(with(SingleFlight::All), |rig| asking(rig, ""), |rig| asking(rig, "")).await, 1);
    assert_eq!(twice(with(SingleFlight::Off), same, same).await, 2);
    assert_eq!(twice(default(), same, |rig| header(rig, "authorization", "Bearer vk-OTHER")).await, 2);
    assert_eq!(twice(default(), same, |rig| header(rig, "mainstay-max-cost", "1")).await, 2);
    // What a provider may act on, and what it does not.
    assert_eq!(twice(default(), same, |rig| header(rig, "openai-organization", "other")).await, 2);
    assert_eq!(twice(default(), same, |rig| header(rig, "traceparent", "00-1-1-01")).await, 1);
    // Reproduces a key without a tenant that shared the calls of the tenant of its name.
    let named_as_a_tenant = Arc::new(ModelKey { tenant: "engine".to_owned(), ..ModelKey::named("other") });
    let mut setup = setup(&[&player], default());
    setup.snapshot.model.keys.insert(KeyHash::of("vk-OTHER"), named_as_a_tenant);
    let rig = setup.start().await;
    let before = player.calls();
    let first = rig.send(same(&rig)).await;
    let second = rig.send(header(&rig, "authorization", "Bearer vk-OTHER")).await;
    drop((first, second));
    assert_eq!(player.calls() - before, 2);
}

#[tokio::test]
async fn a_whole_answer_is_given_to_all() {
    let answer = "{\"object\":\"list\",\"model\":\"m\",\"data\":[{\"object\":\"embedding\",\"index\":0,\"embedding\":[0.5]}],\"usage\":{\"prompt_tokens\":2,\"total_tokens\":2}}";
    let player = Player::start(vec![Script::Document("application/json", answer)]).await;
    let mut rig = setup(&[&player], CallPolicy::default()).start().await;
    let ask = || {
        rig.got(rig.model_request(Method::POST, "/v1/embeddings", "{\"model\":\"small\",\"input\":\"x\"}"))
    };
    let (first, second, third) = tokio::join!(ask(), ask(), ask());
    for got in [&first, &second, &third] {
        assert_eq!((got.status, got.text()), (200, answer));
    }
    let records = records(&mut rig, 3).await;
    let shared = records.iter().filter(|record| record.shared_with.is_some()).count();
    assert_eq!(player.calls() + shared, 3);
    assert!(records.iter().all(|record| record.outcome == Outcome::Ok));
}
