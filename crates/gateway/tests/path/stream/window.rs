//! Until a stream has proved itself nothing of it reaches the caller, so another provider can answer.

use std::time::Duration;

use mainstay_base::{
    Class,
    record::Outcome,
    snapshot::{CallPolicy, PreCommit},
};

use super::{DONE, OPENING, Player, STOP, Script, Step, asking, next, read_to, said, send, setup};

#[tokio::test]
async fn what_breaks_before_its_first_content_is_never_seen() {
    let good = [OPENING, &said("from the second"), STOP, DONE].concat();
    let opening = || send(OPENING);
    for (script, class) in [
        (Script::Stream(vec![opening(), Step::Cut]), Class::Cut),
        (Script::Stream(vec![opening()]), Class::Cut),
        (Script::Stream(vec![opening(), send(STOP), send(DONE)]), Class::Empty),
        (Script::Stream(vec![opening(), Step::Silence]), Class::FirstTokenTimeout),
        (Script::Document("text/html", "<html><body>Bad gateway</body></html>"), Class::NotAnAnswer),
        (Script::Document("application/json", "{\"id\":\"c\",\"choices\":[{"), Class::TruncatedJson),
        (Script::Document("text/event-stream", ""), Class::Empty),
    ] {
        let bad = Player::start(vec![script]).await;
        let second = Player::streaming(vec![send(&good)]).await;
        let mut setup = setup(&[&bad, &second], CallPolicy::default());
        for model in setup.snapshot.model.models.values_mut() {
            let first = &mut std::sync::Arc::make_mut(model).targets[0];
            std::sync::Arc::make_mut(&mut first.provider).first_token = Duration::from_millis(100);
        }
        let mut rig = setup.start().await;
        let got = rig.got(asking(&rig, "")).await;
        assert_eq!((got.status, got.text()), (200, good.as_str()), "{class:?}");
        let record = rig.only_record().await;
        let classes: Vec<Option<Class>> = record.attempts.iter().map(|attempt| attempt.class).collect();
        assert_eq!((record.outcome, classes), (Outcome::Ok, vec![Some(class), None]));
    }
}

#[tokio::test]
async fn the_opening_waits_for_content_and_then_both_go_out() {
    let player = Player::streaming(vec![
        send(OPENING),
        Step::Gate,
        send(said("a")),
        Step::Gate,
        send([&said("b"), &said("c"), STOP, DONE].concat()),
    ])
    .await;
    let rig = setup(&[&player], CallPolicy::default()).start().await;
    let head = rig.send(asking(&rig, ""));
    let mut head = std::pin::pin!(head);
    // Its head would be there if the opening alone committed it.
    let early = tokio::time::timeout(Duration::from_millis(100), head.as_mut()).await;
    assert!(early.is_err(), "the head came before any content");
    player.open_gate();
    let mut body = head.await.into_body();
    assert_eq!(read_to(&mut body, "\"a\"").await, [OPENING, &said("a")].concat());
    player.open_gate();
    let rest = read_to(&mut body, DONE).await;
    assert_eq!(rest, [&said("b"), &said("c"), STOP, DONE].concat());
    assert_eq!(next(&mut body).await, None);
}

#[tokio::test]
async fn a_stream_that_only_opens_is_committed_when_the_window_closes() {
    let window = PreCommit { max_wait: Duration::from_millis(50), ..PreCommit::default() };
    let player =
        Player::streaming(vec![send(OPENING), Step::Gate, send([&said("a"), STOP, DONE].concat())]).await;
    let mut rig = setup(&[&player], CallPolicy { pre_commit: window, ..CallPolicy::default() }).start().await;
    let mut body = rig.send(asking(&rig, "")).await.into_body();
    assert_eq!(next(&mut body).await.unwrap(), OPENING);
    player.open_gate();
    read_to(&mut body, DONE).await;
    assert_eq!(next(&mut body).await, None);
    let record = rig.only_record().await;
    assert!(record.first_token_us > record.first_byte_us, "the first token came after the commitment");
}

#[tokio::test]
async fn a_completion_instead_of_a_stream_becomes_one() {
    let completion = "{\"id\":\"c\",\"object\":\"chat.completion\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"hello\"},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":30,\"completion_tokens\":10,\"total_tokens\":40}}";
    let player = Player::start(vec![Script::Document("application/json", completion)]).await;
    let mut rig = setup(&[&player], CallPolicy::default()).start().await;
    let got = rig.got(asking(&rig, super::WITH_USAGE)).await;
    assert!(got.headers["content-type"].to_str().unwrap().starts_with("text/event-stream"));
    assert!(got.text().contains("\"content\":\"hello\"") && got.text().ends_with(DONE), "{}", got.text());
    assert!(got.text().contains("\"completion_tokens\":10"), "{}", got.text());
    assert_eq!(rig.only_record().await.output_tokens, Some(10));
}
