//! What is written in OpenAI's dialect is read back as the same inner form; and nothing that a peer sends makes a reader
//! panic.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use bytes::Bytes;
use mainstay_base::snapshot::Dialect;
use mainstay_wire::{
    llm::{
        Answer, Choice, Delta, Facts, Finish, Media, Message, Part, Reasoning, Request, ResponseFormat, Role,
        Tool, ToolCall, ToolChoice, Usage, anthropic, failure,
        openai::{self, Shape, StreamWriter},
    },
    openai::{StreamFacts, vet},
    sse::Decoder,
};
use proptest::{option, prelude::*};
use serde_json::{Map, Value, json};

fn text() -> impl Strategy<Value = String> {
    "[a-zé\"\\\\\n ]{1,8}"
}

fn word() -> impl Strategy<Value = String> {
    "[a-z]{1,6}"
}

fn media() -> impl Strategy<Value = Media> {
    prop_oneof![
        word().prop_map(|name| Media::Url(format!("https://example.com/{name}"))),
        word().prop_map(|base64| Media::Data { media_type: "application/pdf".to_owned(), base64 }),
    ]
}

fn part() -> impl Strategy<Value = Part> {
    prop_oneof![
        3 => text().prop_map(Part::Text),
        1 => (media(), option::of(word())).prop_map(|(media, detail)| Part::Image { media, detail }),
        1 => (media(), option::of(word())).prop_map(|(media, name)| Part::File { media, name }),
        1 => word().prop_map(|base64| Part::Audio(Media::Data { media_type: "audio/wav".to_owned(), base64 })),
    ]
}

fn call() -> impl Strategy<Value = Part> {
    (word(), word(), "(\\{\"a\":[0-9]\\})?")
        .prop_map(|(id, name, arguments)| Part::ToolCall(ToolCall { id, name, arguments }))
}

/// In the order in which this dialect's fields are read.
fn said() -> impl Strategy<Value = Vec<Part>> {
    let signed =
        (text(), word()).prop_map(|(text, signature)| Part::Reasoning { text, signature: Some(signature) });
    let thoughts = prop_oneof![
        prop::collection::vec(signed, 0..3),
        text().prop_map(|text| vec![Part::Reasoning { text, signature: None }]),
    ];
    let texts = prop::collection::vec(text().prop_map(Part::Text), 0..3);
    let refusal = prop::collection::vec(text().prop_map(Part::Refusal), 0..2);
    (thoughts, texts, refusal, prop::collection::vec(call(), 0..3))
        .prop_map(|(thoughts, texts, refusal, calls)| [thoughts, texts, refusal, calls].concat())
}

fn message() -> impl Strategy<Value = Message> {
    let plain = (prop_oneof![Just(Role::System), Just(Role::User)], prop::collection::vec(part(), 0..3));
    let result = (word(), prop::collection::vec(text().prop_map(Part::Text), 0..3))
        .prop_map(|(id, parts)| vec![Part::ToolResult { id, parts, is_error: false }]);
    prop_oneof![
        (plain, option::of(word())).prop_map(|((role, parts), name)| Message { role, parts, name }),
        said().prop_map(|parts| Message { role: Role::Assistant, parts, name: None }),
        result.prop_map(|parts| Message { role: Role::Tool, parts, name: None }),
    ]
}

fn tool() -> impl Strategy<Value = Tool> {
    (word(), option::of(text()), any::<bool>(), option::of(any::<bool>())).prop_map(
        |(name, description, has_parameters, strict)| {
            let parameters = has_parameters.then(|| json!({"type": "object", "properties": {}}));
            Tool { name, description, parameters, strict }
        },
    )
}

fn tool_choice() -> impl Strategy<Value = ToolChoice> {
    prop_oneof![
        Just(ToolChoice::Auto),
        Just(ToolChoice::None),
        Just(ToolChoice::Required),
        word().prop_map(ToolChoice::Tool),
    ]
}

fn response_format() -> impl Strategy<Value = ResponseFormat> {
    prop_oneof![
        Just(ResponseFormat::Text),
        Just(ResponseFormat::JsonObject),
        (word(), option::of(text()), option::of(any::<bool>())).prop_map(|(name, description, strict)| {
            ResponseFormat::JsonSchema { name, description, schema: json!({"type": "object"}), strict }
        }),
    ]
}

fn fraction() -> impl Strategy<Value = Option<f64>> {
    option::of((0u8..200).prop_map(|hundredths| f64::from(hundredths) / 100.0))
}

prop_compose! {
    fn request()(
        model in prop_oneof![Just("claude-opus-4-7"), Just("claude-sonnet-4-5"), Just("claude-3-opus"), Just("gpt-5")],
        messages in prop::collection::vec(message(), 1..6),
        tools in prop::collection::vec(tool(), 0..3),
        tool_choice in option::of(tool_choice()),
        parallel_tool_calls in option::of(any::<bool>()),
        response_format in option::of(response_format()),
        (max_tokens, top_k, seed) in (option::of(1u64..100_000), option::of(1u64..50), option::of(any::<i64>())),
        (temperature, top_p, frequency_penalty, presence_penalty) in (fraction(), fraction(), fraction(), fraction()),
        (stop, user) in (prop::collection::vec(text(), 0..3), option::of(word())),
        (choices, logprobs, top_logprobs) in (option::of(1u64..3), option::of(any::<bool>()), option::of(0u64..5)),
        reasoning in option::of(prop_oneof![
            prop_oneof![Just("none"), Just("low"), Just("medium"), Just("high")]
                .prop_map(|effort| Reasoning::Effort(effort.to_owned())),
            (1u64..50_000).prop_map(Reasoning::BudgetTokens),
        ]),
        (stream, include_usage) in any::<(bool, bool)>(),
        extra in prop::collection::btree_map("x_[a-z]{1,3}", any::<u8>(), 0..3),
    ) -> Request {
        let extra: Map<String, Value> = extra.into_iter().map(|(name, value)| (name, value.into())).collect();
        Request {
            model: model.to_owned(), messages, tools, tool_choice, parallel_tool_calls, response_format, max_tokens,
            temperature, top_p, top_k, frequency_penalty, presence_penalty, seed, stop, choices, logprobs,
            top_logprobs, reasoning, stream, include_usage, user, cache_system: false, extra,
        }
    }
}

fn finish() -> impl Strategy<Value = Finish> {
    prop_oneof![
        Just(Finish::Stop),
        Just(Finish::Length),
        Just(Finish::ToolCalls),
        Just(Finish::ContentFilter),
        "other_[a-z]{1,4}".prop_map(Finish::Other),
    ]
}

prop_compose! {
    fn usage()(
        (input, output) in (0u64..1000, 0u64..1000),
        (cached_input, cache_write, reasoning) in (option::of(0u64..9), option::of(0u64..9), option::of(0u64..9)),
        is_estimated in any::<bool>(),
    ) -> Usage {
        Usage { input, output, cached_input, cache_write, reasoning, is_estimated }
    }
}

prop_compose! {
    fn answer()(
        (id, model, created) in (word(), word(), any::<i64>()),
        choices in prop::collection::vec((said(), finish(), option::of(Just(json!({"content": []})))), 1..3),
        usage in option::of(usage()),
    ) -> Answer {
        let choices = (0..).zip(choices).map(|(index, (parts, finish, logprobs))| Choice { index, parts, finish, logprobs });
        Answer { id, model, created: Some(created), choices: choices.collect(), usage }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Text(String),
    Reasoning(String),
    Signature(String),
    Refusal(String),
    Logprobs,
    Call(String),
    Arguments(String),
}

fn step() -> impl Strategy<Value = (u64, Step)> {
    let step = prop_oneof![
        3 => text().prop_map(Step::Text),
        1 => text().prop_map(Step::Reasoning),
        1 => word().prop_map(Step::Signature),
        1 => text().prop_map(Step::Refusal),
        1 => Just(Step::Logprobs),
        2 => word().prop_map(Step::Call),
        2 => text().prop_map(Step::Arguments),
    ];
    (0u64..2, step)
}

/// A stream as a provider could have given it.
fn stream() -> impl Strategy<Value = Vec<Delta>> {
    (word(), prop::collection::vec(step(), 1..12), option::of(usage()), finish()).prop_map(
        |(id, steps, usage, finish)| {
            let mut calls = [0u64; 2];
            let mut deltas = vec![Delta::Start { id, model: "shown".to_owned() }];
            for (choice, step) in steps {
                let made = &mut calls[usize::try_from(choice).unwrap()];
                deltas.push(match step {
                    Step::Text(text) => Delta::Text { choice, text },
                    Step::Reasoning(text) => Delta::Reasoning { choice, text },
                    Step::Signature(signature) => Delta::ReasoningSignature { choice, signature },
                    Step::Refusal(text) => Delta::Refusal { choice, text },
                    Step::Logprobs => Delta::Logprobs { choice, logprobs: json!({"content": []}) },
                    Step::Call(name) => {
                        let (index, id) = (*made, format!("id{made}"));
                        *made += 1;
                        Delta::ToolCallStart { choice, index, id, name }
                    }
                    Step::Arguments(_) if *made == 0 => continue,
                    Step::Arguments(text) => Delta::ToolCallArguments { choice, index: *made - 1, text },
                });
            }
            deltas.push(Delta::Finish { choice: 0, finish });
            deltas.extend(usage.map(Delta::Usage));
            deltas.push(Delta::End);
            deltas
        },
    )
}

fn written(deltas: &[Delta], shape: Shape) -> Vec<u8> {
    let mut writer = StreamWriter::new(shape, true, "shown", 1);
    let mut out = Vec::new();
    deltas.iter().for_each(|delta| writer.write(delta, &mut out));
    out
}

fn read(bytes: &[u8], size: usize) -> Vec<Delta> {
    let (mut decoder, mut reader) = (Decoder::new(1 << 20), openai::StreamReader::default());
    let mut deltas = Vec::new();
    for piece in bytes.chunks(size) {
        decoder.push(Bytes::copy_from_slice(piece));
        while let Some(frame) = decoder.next_frame() {
            deltas.extend(reader.read(None, &frame.data().unwrap()));
        }
    }
    deltas
}

/// JSON in the words of the dialects, in shapes that no provider promised.
fn odd_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-2i64..600).prop_map(Value::from),
        prop::sample::select(vec![
            "",
            "error",
            "message_start",
            "content_block_start",
            "content_block_delta",
            "content_block_stop",
            "message_delta",
            "tool_use",
            "text",
            "text_delta",
            "input_json_delta",
            "thinking",
            "user",
            "assistant",
            "tool",
            "function",
            "json_schema",
            "image_url",
            "stop",
            "{}",
        ])
        .prop_map(Value::from),
    ];
    let name = prop::sample::select(vec![
        "choices",
        "delta",
        "message",
        "messages",
        "index",
        "content",
        "tool_calls",
        "function",
        "arguments",
        "id",
        "name",
        "usage",
        "type",
        "content_block",
        "error",
        "finish_reason",
        "role",
        "tools",
        "response_format",
        "json_schema",
        "image_url",
        "stop",
        "model",
        "base_resp",
        "status_code",
        "stop_reason",
        "partial_json",
        "thinking",
        "logprobs",
        "code",
        "details",
        "stream_options",
        "reasoning",
        "prompt",
    ]);
    leaf.prop_recursive(5, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(name.clone(), inner, 0..6).prop_map(|fields| {
                Value::Object(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
            }),
        ]
    })
}

proptest! {
    #[test]
    fn a_request_survives_openai(request in request()) {
        let written = openai::write_request(&request, &Facts::default()).unwrap();
        prop_assert_eq!(openai::read_request(&written.body).unwrap(), request);
    }

    #[test]
    fn an_answer_survives_openai(answer in answer()) {
        let written = openai::write_answer(&answer, Shape::Chat);
        prop_assert_eq!(openai::read_answer(&written).unwrap(), answer);
    }

    #[test]
    fn a_stream_survives_openai_however_it_is_cut_into_pieces(deltas in stream(), size in 1usize..40) {
        prop_assert_eq!(read(&written(&deltas, Shape::Chat), size), deltas);
    }

    /// What Dify's plugin needs: LF LF and JSON in every frame, `[DONE]` last and once.
    #[test]
    fn every_frame_is_fit_for_dify(deltas in stream(), is_chat in any::<bool>()) {
        let shape = if is_chat { Shape::Chat } else { Shape::Completion };
        let text = String::from_utf8(written(&deltas, shape)).unwrap();
        prop_assert!(!text.contains('\r'));
        let frames: Vec<&str> = text.strip_suffix("\n\n").unwrap().split("\n\n").collect();
        let (last, chunks) = frames.split_last().unwrap();
        prop_assert_eq!(*last, "data: [DONE]");
        for chunk in chunks {
            let data = chunk.strip_prefix("data: ").unwrap();
            prop_assert!(serde_json::from_str::<Value>(data).unwrap()["choices"].is_array(), "{}", data);
        }
    }

    #[test]
    fn what_anthropic_gets_follows_its_rules(request in request(), most in option::of(1u64..100_000)) {
        let facts = Facts { max_output_tokens: most, ..Facts::default() };
        let Ok(written) = anthropic::write_request(&request, &facts) else { return Ok(()) };
        let body: Value = serde_json::from_slice(&written.body).unwrap();
        let turns = body["messages"].as_array().unwrap();
        prop_assert_eq!(&turns.first().map_or(Value::Null, |turn| turn["role"].clone()), "user");
        for pair in turns.windows(2) {
            prop_assert_ne!(&pair[0]["role"], &pair[1]["role"]);
        }
        for block in turns.iter().flat_map(|turn| turn["content"].as_array().unwrap()) {
            prop_assert_ne!(&block["text"], "");
        }
        let max_tokens = body["max_tokens"].as_u64().unwrap();
        prop_assert!(most.is_none_or(|most| max_tokens <= most));
        if let Some(budget) = body["thinking"]["budget_tokens"].as_u64() {
            prop_assert!((1024..max_tokens).contains(&budget));
            prop_assert!(body.get("temperature").is_none());
        }
    }

    #[test]
    fn no_json_makes_a_reader_panic(events in prop::collection::vec(odd_json(), 1..4)) {
        let (mut first, mut second) = (openai::StreamReader::default(), anthropic::StreamReader::default());
        let mut writer = StreamWriter::new(Shape::Chat, true, "m", 0);
        let mut out = Vec::new();
        for event in events {
            let data = event.to_string();
            let data = data.as_bytes();
            for delta in first.read(None, data).into_iter().chain(second.read(None, data)) {
                writer.write(&delta, &mut out);
            }
            if let Ok(request) = openai::read_request(data) {
                let _ = anthropic::write_request(&request, &Facts::default());
            }
            let _ = (openai::read_completion_request(data), openai::read_answer(data), anthropic::read_answer(data));
            let _ = (failure::inside(&Dialect::OpenAi, data), StreamFacts::of(data), vet(data, false));
            let _ = failure::told(&Dialect::Gemini, 400, |_| None, data, 0);
        }
    }

    #[test]
    fn no_bytes_make_a_reader_panic(data in prop::collection::vec(any::<u8>(), 0..100)) {
        let _ = (openai::read_request(&data), openai::read_answer(&data), anthropic::read_answer(&data));
        let _ = openai::StreamReader::default().read(None, &data);
        let _ = anthropic::StreamReader::default().read(None, &data);
    }
}
