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

#[tokio::test]
async fn an_answer_of_a_form_and_one_that_had_ended_are_not_gone_on_with() {
    let text = said("{\"one\":");
    let json = ",\"response_format\":{\"type\":\"json_object\"}";
    // An error after the end: there is nothing to go on with.
    let ended = [&text, STOP, "data: {\"error\":{\"message\":\"late\"}}\n\n"].concat();
    for (text, more) in [(text.as_str(), json), (ended.as_str(), "")] {
        let first = cut_after(text).await;
        let second = Player::streaming(vec![send([OPENING, &said("two"), STOP, DONE].concat())]).await;
        let rig = setup(&[&first, &second], continues()).start().await;
        let got = rig.got(asking(&rig, more)).await;
        assert!(!got.text().contains("continued_on"), "{}", got.text());
        let is_before = got.text().contains("two");
        // What failed before anything went out was another target's chance.
        assert_eq!(got.text().matches("\"error\"").count(), usize::from(!is_before), "{}", got.text());
    }
}

#[tokio::test]
async fn a_target_of_any_dialect_goes_on_without_a_word_twice_or_missing() {
    use mainstay_base::snapshot::Dialect;
    let anthropic = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"c\",\"content\":[],\"usage\":{\"input_tokens\":3,\"output_tokens\":1}}}\n\n\
        event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n\
        event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"three\"}}\n\n\
        event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":10}}\n\n\
        event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";
    let gemini = "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"thr\"}],\"role\":\"model\"},\"index\":0}]}\n\n\
        data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"ee\"}],\"role\":\"model\"},\"finishReason\":\"STOP\",\"index\":0}],\"usageMetadata\":{\"promptTokenCount\":3,\"candidatesTokenCount\":10}}\n\n";
    for (dialect, stream) in [(Dialect::Anthropic, anthropic), (Dialect::Gemini, gemini)] {
        let first = cut_after(&said("one, two, ")).await;
        let second = Player::streaming(vec![send(stream)]).await;
        let mut setup = setup(&[&first, &second], continues());
        for model in setup.snapshot.model.models.values_mut() {
            let target = &mut std::sync::Arc::make_mut(model).targets[1];
            std::sync::Arc::make_mut(&mut target.provider).dialect = dialect.clone();
        }
        let mut rig = setup.start().await;
        let got = rig.got(asking(&rig, WITH_USAGE)).await;
        let events = got.text().split("\n\n").filter_map(|event| {
            serde_json::from_str::<serde_json::Value>(event.strip_prefix("data: ")?).ok()
        });
        let said: String = events
            .clone()
            .filter_map(|event| Some(event["choices"][0]["delta"]["content"].as_str()?.to_owned()))
            .collect();
        assert_eq!(said, "one, two, three", "{}", got.text());
        assert_eq!(events.filter(|event| event["choices"][0]["delta"]["role"].is_string()).count(), 1);
        assert!(
            got.text().ends_with(DONE) && got.text().contains("\"completion_tokens\":13"),
            "{}",
            got.text()
        );
        assert_eq!(rig.only_record().await.output_tokens, Some(13));
    }
}

/// Frames of AWS, and Azure's paths.
#[tokio::test]
async fn bedrock_and_azure_go_on_with_what_another_began() {
    use mainstay_base::snapshot::Dialect;
    use mainstay_faulty::{Options, Provider, Said};
    let azure = |version: &str| Dialect::Azure { api_version: version.to_owned() };
    for (dialect, path, prefix) in [
        (
            Dialect::Bedrock { region: "eu-central-1".to_owned() },
            "/model/real-small/converse-stream",
            "/messages/1/content/0/text",
        ),
        (
            azure("2024-10-21"),
            "/openai/deployments/real-small/chat/completions?api-version=2024-10-21",
            "/messages/1/content",
        ),
        (azure("v1"), "/openai/v1/chat/completions", "/messages/1/content"),
    ] {
        let mind =
            |_: &_| Said { text: "three".to_owned(), input_tokens: 3, output_tokens: 10, ..Said::default() };
        let second =
            Provider::start(Options { mind: std::sync::Arc::new(mind), ..Options::default() }).await.unwrap();
        let first = cut_after(&said("one, two, ")).await;
        let mut setup = setup(&[&first, &first], continues());
        for model in setup.snapshot.model.models.values_mut() {
            let target = &mut std::sync::Arc::make_mut(model).targets[1];
            let provider = std::sync::Arc::make_mut(&mut target.provider);
            (provider.dialect, provider.base_url) = (dialect.clone(), second.url());
        }
        let mut rig = setup.start().await;
        let got = rig.got(asking(&rig, WITH_USAGE)).await;
        let events = got.text().split("\n\n").filter_map(|event| event.strip_prefix("data: "));
        let events = events.filter_map(|event| serde_json::from_str::<serde_json::Value>(event).ok());
        let said: String = events
            .filter_map(|event| Some(event["choices"][0]["delta"]["content"].as_str()?.to_owned()))
            .collect();
        assert_eq!(said, "one, two, three", "{}", got.text());
        assert!(
            got.text().ends_with(DONE) && got.text().contains("\"completion_tokens\":13"),
            "{}",
            got.text()
        );
        let call = &second.calls()[0];
        let sent: serde_json::Value = serde_json::from_slice(&call.body).unwrap();
        assert_eq!(
            (call.target.as_str(), sent.pointer(prefix).unwrap()),
            (path, &"one, two, ".into()),
            "{sent}"
        );
        let record = rig.only_record().await;
        assert_eq!((record.output_tokens, record.attempts[1].role), (Some(13), AttemptRole::Continuation));
    }
}
