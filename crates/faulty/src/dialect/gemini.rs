//! Google Gemini.

use serde_json::{Value, json};

use super::{Ask, Event, Part, Told, Trouble, data, list, text, unquote};
use crate::mind::{Question, Said};

pub(super) fn read(path: &str, body: &Value) -> Option<Ask> {
    let (model, method) = path.strip_prefix("/v1beta/models/")?.rsplit_once(':')?;
    let model = unquote(model);
    let streams = match method {
        "generateContent" => false,
        "streamGenerateContent" => true,
        "batchEmbedContents" => {
            let inputs = list(&body["requests"]).iter().map(|request| parts(&request["content"])).collect();
            return Some(Ask::Embeddings { model, inputs });
        }
        _ => return None,
    };
    let contents = list(&body["contents"]);
    let results = contents
        .iter()
        .flat_map(|content| list(&content["parts"]))
        .filter_map(|part| part.get("functionResponse"))
        .map(|response| response["response"].to_string());
    let tools = list(&body["tools"])
        .iter()
        .flat_map(|tool| list(&tool["functionDeclarations"]))
        .map(|tool| text(&tool["name"]));
    let last = contents.last().filter(|content| content["role"] == "model");
    Some(Ask::Chat(Question {
        model,
        system: parts(&body["systemInstruction"]),
        user: contents.iter().filter(|content| content["role"] == "user").map(parts).collect(),
        tools: tools.collect(),
        forced_tool: body["toolConfig"]["functionCallingConfig"]["allowedFunctionNames"][0]
            .as_str()
            .map(str::to_owned),
        tool_results: results.collect(),
        wants_json: body["generationConfig"]["responseMimeType"] == "application/json",
        streams,
        wants_usage: true,
        prefix: last.map(parts).unwrap_or_default(),
    }))
}

fn parts(content: &Value) -> String {
    list(&content["parts"]).iter().filter_map(|part| part["text"].as_str()).collect::<Vec<_>>().join(" ")
}

fn answer(question: &Question, parts: &Value, finish: Option<&str>, usage: Option<&Said>) -> Value {
    let mut candidate = json!({"content": {"parts": parts, "role": "model"}, "index": 0});
    if let Some(finish) = finish {
        candidate["finishReason"] = json!(finish);
    }
    let mut answer = json!({
        "candidates": [candidate], "modelVersion": question.model, "responseId": "resp-faulty",
    });
    if let Some(said) = usage {
        answer["usageMetadata"] = json!({
            "promptTokenCount": said.input_tokens,
            "candidatesTokenCount": said.output_tokens,
            "totalTokenCount": said.input_tokens + said.output_tokens,
        });
    }
    answer
}

fn tool(said: &Said) -> Option<Value> {
    let tool = said.tool.as_ref()?;
    let arguments: Value = serde_json::from_str(&tool.arguments).unwrap_or_default();
    Some(json!([{"functionCall": {"name": tool.name, "args": arguments}}]))
}

fn finish(filtered: bool) -> &'static str {
    if filtered { "SAFETY" } else { "STOP" }
}

pub(super) fn whole(question: &Question, said: &Said, filtered: bool) -> Value {
    let parts = tool(said).unwrap_or_else(|| match said.text.is_empty() {
        true => json!([]),
        false => json!([{"text": said.text}]),
    });
    answer(question, &parts, Some(finish(filtered)), Some(said))
}

pub(super) fn events(question: &Question, said: &Said, filtered: bool) -> Vec<Event> {
    let mut events: Vec<Event> = super::words(said)
        .map(|word| Event {
            bytes: data(&answer(question, &json!([{"text": word}]), None, None)),
            part: Part::Content,
        })
        .collect();
    if let Some(tool) = tool(said) {
        events.push(Event { bytes: data(&answer(question, &tool, None, None)), part: Part::Content });
    }
    // The last event says why and how much; there is no word of farewell.
    let last = answer(question, &json!([{"text": ""}]), Some(finish(filtered)), Some(said));
    events.push(Event { bytes: data(&last), part: Part::Closing });
    events
}

pub(super) fn trouble(trouble: &Trouble) -> Told {
    let told = |code: u16, status: &str, message: String, details: Value| {
        (code, json!({"error": {"code": code, "message": message, "status": status, "details": details}}))
    };
    let none = json!([]);
    match trouble {
        Trouble::Status(status) => told(*status, "INTERNAL", "a fault on request".to_owned(), none),
        Trouble::RateLimited => told(
            429,
            "RESOURCE_EXHAUSTED",
            "Resource has been exhausted (e.g. check quota).".to_owned(),
            json!([{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "2s"}]),
        ),
        Trouble::QuotaExhausted => told(
            429,
            "RESOURCE_EXHAUSTED",
            "You exceeded your current quota, please check your plan and billing details.".to_owned(),
            json!([{
                "@type": "type.googleapis.com/google.rpc.QuotaFailure",
                "violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}],
            }]),
        ),
        Trouble::Overloaded => {
            told(503, "UNAVAILABLE", "The model is overloaded. Please try again later.".to_owned(), none)
        }
        Trouble::BadKey(_) => told(
            400,
            "INVALID_ARGUMENT",
            "API key not valid. Please pass a valid API key.".to_owned(),
            json!([{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}]),
        ),
        Trouble::ModelMissing(model) => {
            told(404, "NOT_FOUND", format!("models/{model} is not found for API version v1beta"), none)
        }
        Trouble::ContextOverflow => told(
            400,
            "INVALID_ARGUMENT",
            "The input token count (9) exceeds the maximum number of tokens allowed (8).".to_owned(),
            none,
        ),
        Trouble::FilteredPrompt => told(
            400,
            "INVALID_ARGUMENT",
            "The prompt was blocked due to safety (PROHIBITED_CONTENT).".to_owned(),
            none,
        ),
        Trouble::BadRequest => told(
            400,
            "INVALID_ARGUMENT",
            "Invalid JSON payload received. Unknown name \"x\".".to_owned(),
            none,
        ),
    }
}
