//! What goes out to Gemini, Bedrock and Cohere, and how what comes back is understood: cases in
//! `golden/<dialect>/<what>.txt`, each a `=== sentence`, what goes in, `---`, and what must come out. When a file does not
//! hold any more, what came out lies in cargo's folder for tests, to be compared and copied over.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{fmt::Write as _, fs, path::Path};

use bytes::Bytes;
use mainstay_base::snapshot::Dialect;
use mainstay_wire::{
    llm::{
        Answer, Delta, Facts, Outgoing, Request, Unwritable, bedrock, embeddings, failure::Told, gemini,
        openai, rerank,
    },
    sse,
};
use serde_json::Value;

#[test]
fn requests_are_written_as_gemini_takes_them() {
    golden("gemini/requests.txt", |input| written(input, gemini::write_request));
}

#[test]
fn answers_of_gemini_are_understood() {
    golden("gemini/answers.txt", |input| answer(gemini::read_answer(input.as_bytes())));
}

#[test]
fn streams_of_gemini_are_understood() {
    golden("gemini/streams.txt", |input| {
        let mut reader = gemini::StreamReader::default();
        let mut decoder = sse::Decoder::new(64 * 1024);
        decoder.push(Bytes::from(format!("{input}\n\n")));
        let mut deltas = Vec::new();
        while let Some(frame) = decoder.next_frame() {
            let data = frame.data_text();
            deltas.extend(data.iter().flat_map(|data| reader.read(frame.event(), data.as_bytes())));
        }
        shown(&deltas)
    });
}

#[test]
fn requests_are_written_as_bedrock_takes_them() {
    golden("bedrock/requests.txt", |input| written(input, bedrock::write_request));
}

#[test]
fn answers_of_bedrock_are_understood() {
    golden("bedrock/answers.txt", |input| answer(bedrock::read_answer(input.as_bytes())));
}

/// Lines of `event payload` are put into frames, and the frames cut into pieces of 7 bytes.
#[test]
fn streams_of_bedrock_are_understood() {
    golden("bedrock/streams.txt", |input| {
        let frames = input.lines().map(|line| {
            let (event, payload) = line.split_once(' ').unwrap();
            bedrock::frames::encode(event, payload.as_bytes())
        });
        shown(&bedrock_deltas(&frames.collect::<Vec<_>>().concat(), 7))
    });
}

/// `aws.bin` was made by AWS's own encoder (`aws-smithy-eventstream` 0.61.6), with headers of every type.
#[test]
fn frames_of_aws_are_understood() {
    let bytes = fs::read(folder().join("bedrock/aws.bin")).unwrap();
    golden("bedrock/aws.txt", |_| shown(&bedrock_deltas(&bytes, bytes.len())));
}

#[test]
fn embeddings_are_asked_for_as_each_provider_takes_it() {
    golden("cohere/embeddings_requests.txt", |input| {
        let (dialect, body) = named(input);
        match embeddings::read_request(body.as_bytes()) {
            Ok(request) => outgoing(embeddings::write_request(&dialect, &request)),
            Err(unreadable) => format!("unreadable: {unreadable}"),
        }
    });
}

/// The dialect and the model, how many inputs there were, the provider's answer; what the caller gets, both encodings.
#[test]
fn embeddings_come_back_as_openai_gives_them() {
    golden("cohere/embeddings_answers.txt", |input| {
        let (dialect, rest) = named(input);
        let (facts, body) = rest.split_once('\n').unwrap();
        let (model, inputs) = facts.split_once(' ').unwrap();
        let inputs = vec![embeddings::Input::Text("a text".to_owned()); inputs.parse().unwrap()];
        let request = embeddings::Request { model: model.to_owned(), inputs, ..Default::default() };
        match embeddings::read_answer(&dialect, &request, body.as_bytes()) {
            Ok(answer) => [embeddings::Encoding::Float, embeddings::Encoding::Base64]
                .map(|encoding| text(embeddings::write_answer(&answer, encoding)))
                .join("\n"),
            Err(unreadable) => format!("unreadable: {unreadable}"),
        }
    });
}

#[test]
fn rankings_are_asked_for_as_each_provider_takes_it() {
    golden("cohere/rerank_requests.txt", |input| {
        let (dialect, body) = named(input);
        match rerank::read_request(body.as_bytes()) {
            Ok(request) => outgoing(rerank::write_request(&dialect, &request)),
            Err(unreadable) => format!("unreadable: {unreadable}"),
        }
    });
}

/// The dialect, the caller's request in one line, the provider's answer.
#[test]
fn rankings_come_back_as_dify_and_jina_give_them() {
    golden("cohere/rerank_answers.txt", |input| {
        let (dialect, rest) = named(input);
        let (request, body) = rest.split_once('\n').unwrap();
        let request = rerank::read_request(request.as_bytes()).unwrap();
        match rerank::read_answer(&dialect, &request, body.as_bytes()) {
            Ok(answer) => text(rerank::write_answer(&answer)),
            Err(unreadable) => format!("unreadable: {unreadable}"),
        }
    });
}

/// A caller's chat request. Its field `golden` says what a policy and the target add.
fn written(input: &str, write: impl Fn(&Request, &Facts<'_>) -> Result<Outgoing, Unwritable>) -> String {
    let mut request = openai::read_request(input.as_bytes()).unwrap();
    let ours = request.extra.shift_remove("golden").unwrap_or_default();
    request.cache_system = ours["cache_system"] == true;
    let facts = Facts { max_output_tokens: ours["max_output_tokens"].as_u64(), ..Facts::default() };
    outgoing(write(&request, &facts))
}

fn outgoing(written: Result<Outgoing, Unwritable>) -> String {
    let outgoing = match written {
        Ok(outgoing) => outgoing,
        Err(unwritable) => return format!("unwritable: {unwritable}"),
    };
    let query = outgoing.query.map(|query| format!("?{query}")).unwrap_or_default();
    let headers: String = outgoing.headers.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
    let body: Value = serde_json::from_slice(&outgoing.body).unwrap();
    format!("POST {}{query}\n{headers}{}", outgoing.path, serde_json::to_string_pretty(&body).unwrap())
}

fn answer(read: Result<Answer, impl std::fmt::Display>) -> String {
    let answer = match read {
        Ok(answer) => answer,
        Err(unreadable) => return format!("unreadable: {unreadable}"),
    };
    let mut shown = format!("id {:?}, model {:?}\n", answer.id, answer.model);
    for choice in &answer.choices {
        writeln!(shown, "choice {}: {:?}", choice.index, choice.finish).unwrap();
        choice.parts.iter().for_each(|part| writeln!(shown, "  {part:?}").unwrap());
        choice.logprobs.iter().for_each(|logprobs| writeln!(shown, "  logprobs {logprobs}").unwrap());
    }
    write!(shown, "{:?}", answer.usage).unwrap();
    shown
}

fn shown(deltas: &[Delta]) -> String {
    let line = |delta: &Delta| match delta {
        Delta::Error(Told { class, message, code, retry_after, .. }) => format!(
            "Error(Told {{ class: {class:?}, message: {message:?}, code: {code:?}, retry_after: {retry_after:?} }})"
        ),
        delta => format!("{delta:?}"),
    };
    deltas.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn bedrock_deltas(bytes: &[u8], step: usize) -> Vec<Delta> {
    let mut decoder = bedrock::frames::Decoder::new(64 * 1024);
    let mut reader = bedrock::StreamReader::default();
    let mut deltas = Vec::new();
    for piece in bytes.chunks(step) {
        decoder.push(piece);
        while let Some(frame) = decoder.next_frame().unwrap() {
            deltas.extend(reader.read(Some(frame.event()), frame.payload()));
        }
    }
    assert_eq!(decoder.held_bytes(), 0);
    deltas
}

/// The first line names the dialect.
fn named(input: &str) -> (Dialect, &str) {
    let (name, rest) = input.split_once('\n').unwrap();
    let dialect = match name {
        "openai" => Dialect::OpenAi,
        "azure" => Dialect::Azure { api_version: "v1".to_owned() },
        "anthropic" => Dialect::Anthropic,
        "gemini" => Dialect::Gemini,
        "bedrock" => Dialect::Bedrock { region: "eu-central-1".to_owned() },
        "cohere" => Dialect::Cohere,
        other => panic!("no dialect is called {other}"),
    };
    (dialect, rest)
}

fn text(body: Vec<u8>) -> String {
    String::from_utf8(body).unwrap()
}

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden"))
}

fn golden(name: &str, run: impl Fn(&str) -> String) {
    let expected = fs::read_to_string(folder().join(name)).unwrap();
    let mut actual = String::new();
    let mut cases = 0;
    for case in expected.split("=== ").filter(|case| !case.trim().is_empty()) {
        let (sentence, rest) = case.split_once('\n').unwrap();
        let (input, _) = rest.split_once("---\n").unwrap_or_else(|| panic!("no `---`: {sentence}"));
        writeln!(actual, "=== {sentence}\n{input}---\n{}", run(input.trim_end())).unwrap();
        cases += 1;
    }
    assert!(cases > 0, "{name} has no cases");
    if actual != expected {
        let came = Path::new(env!("CARGO_TARGET_TMPDIR")).join("golden").join(name);
        fs::create_dir_all(came.parent().unwrap()).unwrap();
        fs::write(&came, &actual).unwrap();
        panic!("{name} does not hold any more; what came out is in {}", came.display());
    }
}
