//! The Responses API as a caller sees it, in front of a provider of another dialect: `golden/responses/<direction>`, a
//! caller's request as Anthropic gets it, and Anthropic's answers and streams as the caller gets them.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::fs;

use bytes::Bytes;
use mainstay_base::Class;
use mainstay_wire::{
    llm::{
        Delta, Facts, Finish, anthropic,
        failure::Told,
        openai,
        responses::{self, Echo, StreamWriter},
    },
    sse::Decoder,
};
use proptest::prelude::*;
use serde_json::{Value, json};

const ASKED: &[u8] = br#"{"model":"shown","input":"Hi","temperature":0.5,"tools":[{"type":"function","name":"weather","parameters":{"type":"object"},"strict":true}]}"#;

#[test]
fn callers_of_responses_are_served_by_another_dialect() {
    common::each("responses", "request", request);
    common::each("responses", "answer", answer);
    common::each("responses", "stream", |input| String::from_utf8(stream(input, input.len())).unwrap());
}

#[test]
fn a_stream_is_the_same_in_pieces_of_every_size() {
    let folder = common::folder("responses", "stream");
    for file in fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()) {
        if file.extension().is_some_and(|extension| extension == "in") {
            let input = fs::read_to_string(&file).unwrap();
            for size in [1, 7, 64] {
                assert_eq!(stream(&input, size), stream(&input, input.len()), "{}", file.display());
            }
        }
    }
}

/// What one caller is answered, it sends back with its next question.
#[test]
fn an_answer_goes_back_as_input() {
    let said = r#"{"type":"message","id":"msg_1","content":[{"type":"thinking","thinking":"Hm.","signature":"EqQB"},{"type":"text","text":"Let me look."},{"type":"tool_use","id":"toolu_1","name":"weather","input":{"city":"Oslo"}}],"stop_reason":"tool_use"}"#;
    let answer = anthropic::read_answer(said.as_bytes()).unwrap();
    let written = responses::write_answer(&answer, &Echo::of(ASKED).unwrap(), "r", 1);
    let response: Value = serde_json::from_slice(&written).unwrap();
    let mut input = vec![json!({"role": "user", "content": "Weather?"})];
    input.extend(response["output"].as_array().unwrap().iter().cloned());
    input.push(json!({"type": "function_call_output", "call_id": "toolu_1", "output": "rain"}));
    let body = json!({"model": "claude-sonnet-4-5", "input": input}).to_string();
    let request = responses::read_request(body.as_bytes()).unwrap();
    assert_eq!(request.messages[1].parts, answer.choices[0].parts);
    let told = anthropic::write_request(&request, &Facts::default()).unwrap();
    let told: Value = serde_json::from_slice(&told.body).unwrap();
    assert_eq!(told["messages"][1]["content"][0]["signature"], "EqQB");
}

#[test]
fn calls_that_grow_in_turns_and_a_failure_leave_nothing_open() {
    let mut writer = StreamWriter::new(Echo::of(ASKED).unwrap(), "r1", 1_700_000_000);
    let mut out = Vec::new();
    for delta in [
        Delta::Start { id: String::new(), model: String::new() },
        Delta::ToolCallStart { choice: 0, index: 0, id: "a".to_owned(), name: "f".to_owned() },
        Delta::ToolCallStart { choice: 0, index: 1, id: "b".to_owned(), name: "g".to_owned() },
        Delta::ToolCallArguments { choice: 0, index: 0, text: "{\"x\":".to_owned() },
        Delta::ToolCallArguments { choice: 0, index: 1, text: "{}".to_owned() },
        Delta::ToolCallArguments { choice: 0, index: 0, text: "1}".to_owned() },
        Delta::Finish { choice: 0, finish: Finish::ToolCalls },
        Delta::Error(Told::plain(Class::Overloaded, "busy")),
        Delta::End,
    ] {
        writer.write(&delta, &mut out);
    }
    let events = events(&out);
    let last = &events[events.len() - 1];
    assert_eq!(
        (&last["type"], &last["response"]["error"]["code"]),
        (&json!("response.failed"), &json!("server_error"))
    );
    assert_eq!(last["response"]["output"][0]["arguments"], "{\"x\":1}");
    assert_eq!(last["response"]["id"], "resp_r1");
    let count = |kind: &str| events.iter().filter(|event| event["type"] == kind).count();
    assert_eq!((count("response.output_item.added"), count("response.output_item.done")), (2, 2));
}

fn request(input: &str) -> String {
    match responses::read_request(input.as_bytes()) {
        Ok(request) => match anthropic::write_request(&request, &Facts::default()) {
            Ok(outgoing) => pretty(&outgoing.body),
            Err(error) => format!("unwritable: {error}"),
        },
        Err(error) => format!("unreadable: {error}"),
    }
}

fn answer(input: &str) -> String {
    let answer = anthropic::read_answer(input.as_bytes()).unwrap();
    pretty(&responses::write_answer(&answer, &Echo::of(ASKED).unwrap(), "r1", 1_700_000_000))
}

fn stream(input: &str, size: usize) -> Vec<u8> {
    let mut decoder = Decoder::new(1 << 20);
    let mut reader = anthropic::StreamReader::default();
    let mut writer = StreamWriter::new(Echo::of(ASKED).unwrap(), "r1", 1_700_000_000);
    let mut out = Vec::new();
    for piece in input.as_bytes().chunks(size.max(1)) {
        decoder.push(Bytes::copy_from_slice(piece));
        while let Some(frame) = decoder.next_frame() {
            let Some(data) = frame.data() else { continue };
            for delta in reader.read(None, &data) {
                writer.write(&delta, &mut out);
            }
        }
    }
    out
}

fn events(out: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(out).unwrap();
    text.lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|data| serde_json::from_str(data).unwrap())
        .collect()
}

fn pretty(json: &[u8]) -> String {
    serde_json::to_string_pretty(&serde_json::from_slice::<Value>(json).unwrap()).unwrap()
}

fn delta() -> impl Strategy<Value = Delta> {
    let text = || "[a-z\"é\n]{0,4}";
    prop_oneof![
        3 => (0u64..2, text()).prop_map(|(choice, text)| Delta::Text { choice, text }),
        2 => text().prop_map(|text| Delta::Reasoning { choice: 0, text }),
        1 => text().prop_map(|signature| Delta::ReasoningSignature { choice: 0, signature }),
        1 => text().prop_map(|text| Delta::Refusal { choice: 0, text }),
        1 => (0u64..3).prop_map(|index| Delta::ToolCallStart {
            choice: 0, index, id: format!("c{index}"), name: "f".to_owned(),
        }),
        2 => (0u64..3, text()).prop_map(|(index, text)| Delta::ToolCallArguments { choice: 0, index, text }),
        1 => Just(Delta::Finish { choice: 0, finish: Finish::Length }),
    ]
}

proptest! {
    /// Whatever the order of the steps: items are added once and done once, events are numbered, and the pieces of
    /// text are what the last event says.
    #[test]
    fn every_stream_is_whole(deltas in prop::collection::vec(delta(), 0..30)) {
        let mut writer = StreamWriter::new(Echo::of(ASKED).unwrap(), "r1", 1);
        let mut out = Vec::new();
        for delta in deltas.iter().chain([&Delta::End]) {
            writer.write(delta, &mut out);
        }
        let events = events(&out);
        for (number, event) in events.iter().enumerate() {
            prop_assert_eq!(event["sequence_number"].as_u64(), Some(number as u64));
        }
        let output = events[events.len() - 1]["response"]["output"].as_array().unwrap();
        for kind in ["response.output_item.added", "response.output_item.done"] {
            let mut places: Vec<u64> = events
                .iter()
                .filter(|event| event["type"] == kind)
                .map(|event| event["output_index"].as_u64().unwrap())
                .collect();
            places.sort_unstable();
            prop_assert_eq!(places, (0..output.len() as u64).collect::<Vec<_>>(), "{}", kind);
        }
        let grown = |kind: &str| -> String {
            events.iter().filter(|event| event["type"] == kind).filter_map(|event| event["delta"].as_str()).collect()
        };
        let said: String = output
            .iter()
            .flat_map(|item| item["content"].as_array().into_iter().flatten())
            .filter_map(|part| part["text"].as_str())
            .collect();
        prop_assert_eq!(grown("response.output_text.delta"), said);
    }

    #[test]
    fn any_request_is_read_without_panic(body in prop::collection::vec(any::<u8>(), 0..200), kind in "[a-z_]{0,12}") {
        let _ = (responses::read_request(&body), Echo::of(&body));
        let item = json!({"model": "m", "input": [{"type": kind, "role": kind, "content": [{"type": kind}]}]});
        let _ = responses::read_request(item.to_string().as_bytes());
    }

    /// A question asked in either way is the same question.
    #[test]
    fn both_ways_to_ask_are_one(text in "[a-zé ]{1,12}", system in "[a-z]{1,6}", most in 1u64..9999) {
        let one = json!({"model": "m", "input": [{"role": "user", "content": text}], "instructions": system, "max_output_tokens": most});
        let other = json!({"model": "m", "messages": [{"role": "system", "content": system}, {"role": "user", "content": text}], "max_tokens": most, "stream_options": {"include_usage": true}});
        let one = responses::read_request(one.to_string().as_bytes()).unwrap();
        prop_assert_eq!(one, openai::read_request(other.to_string().as_bytes()).unwrap());
    }
}
