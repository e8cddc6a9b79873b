//! By policy another provider goes on where one broke off.

use mainstay_base::{
    Class, Usd,
    record::{AttemptRole, Outcome},
    snapshot::{CallPolicy, OnCut},
};

use super::{DONE, OPENING, Player, STOP, Step, USAGE, WITH_USAGE, asking, last_event, said, send, setup};

fn continues() -> CallPolicy {
    CallPolicy { on_cut: OnCut::Continue, ..CallPolicy::default() }
}

async fn cut_after(text: &str) -> Player {
    let player = Player::streaming(vec![send([OPENING, text].concat()), Step::Gate, Step::Cut]).await;
    player.open_gate();
    player
}

#[tokio::test]
async fn another_target_goes_on_and_the_join_is_marked() {
    let first = cut_after(&said("one, two, ")).await;
    let second = Player::streaming(vec![send([OPENING, &said("three"), STOP, USAGE, DONE].concat())]).await;
    let mut rig = setup(&[&first, &second], continues()).start().await;
    let got = rig.got(asking(&rig, WITH_USAGE)).await;
    let rest = got.text().strip_prefix(&[OPENING, &said("one, two, ")].concat()).unwrap();
    let (mark, rest) = rest.split_once("\n\n").unwrap();
    assert_eq!(last_event(mark)["mainstay"]["continued_on"], "p1/real-small");
    assert_eq!(last_event(mark)["choices"][0]["delta"], serde_json::json!({}));
    let rest = rest.strip_prefix(&[&said("three"), STOP].concat()).unwrap_or_else(|| panic!("{rest}"));
    let usage = last_event(rest.strip_suffix(DONE).unwrap());
    // 10 told by the second, and 3 estimated of the first.
    assert_eq!(usage["usage"]["completion_tokens"], 13);
    let asked = String::from_utf8(second.server.requests()[0].body().to_vec()).unwrap();
    assert!(asked.contains("one, two, ") && asked.contains("assistant"), "{asked}");
    let record = rig.only_record().await;
    assert_eq!((record.outcome, record.output_tokens), (Outcome::Ok, Some(13)));
    let told: Vec<_> = record.attempts.iter().map(|attempt| (attempt.role, attempt.class)).collect();
    assert_eq!(told, [(AttemptRole::First, Some(Class::Cut)), (AttemptRole::Continuation, None)]);
    assert_eq!(record.cost, record.total_tokens.map(|tokens| Usd(tokens as i64)));
}

#[tokio::test]
async fn half_a_tool_call_a_second_cut_and_the_default_end_truthfully() {
    let tool = "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"t\",\"function\":{\"name\":\"f\",\"arguments\":\"{\"}}]}}]}\n\n";
    let text = said("one, ");
    for (text, policy, calls_of_second) in
        [(tool, continues(), 0), (text.as_str(), continues(), 1), (text.as_str(), CallPolicy::default(), 0)]
    {
        let first = cut_after(text).await;
        let second = cut_after(&said("two")).await;
        let mut rig = setup(&[&first, &second], policy).start().await;
        let got = rig.got(asking(&rig, "")).await;
        assert!(got.text().starts_with(&[OPENING, text].concat()), "{}", got.text());
        assert_eq!(last_event(got.text())["error"]["code"], "cut", "{}", got.text());
        assert_eq!(second.calls(), calls_of_second);
        assert_eq!(rig.only_record().await.outcome, Outcome::Cut);
    }
}
