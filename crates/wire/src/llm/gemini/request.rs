//! The inner request as `generateContent` takes it.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::{
    super::{
        Facts, Media, Message, Outgoing, Part, Request, ResponseFormat, Role, Tool, ToolChoice, Unwritable,
        calls, percent, signature,
        turns::{CONTINUE, ONE_JSON_OBJECT},
    },
    NAME, schema,
    thinking::{self, Generation},
};

/// What Google documents for calls whose signature is not at hand, because another model made them. Gemini 3 refuses
/// a call without a signature.
const NO_SIGNATURE: &str = "skip_thought_signature_validator";

/// What Gemini takes of stop sequences.
const MAX_STOPS: usize = 5;

pub fn write_request(request: &Request, facts: &Facts<'_>) -> Result<Outgoing, Unwritable> {
    refuse_what_has_no_words(request)?;
    let (mut system, conversation) = parted(&request.messages);
    if request.response_format == Some(ResponseFormat::JsonObject) && !forms_answers(request) {
        system.push(json!({"text": ONE_JSON_OBJECT}));
    }
    let mut body = Map::new();
    let contents = contents(&calls::distinct(&conversation), Generation::is_third(&request.model))?;
    body.insert("contents".to_owned(), contents);
    if !system.is_empty() {
        body.insert("systemInstruction".to_owned(), json!({"parts": system}));
    }
    if !request.tools.is_empty() {
        let declarations: Vec<Value> = request.tools.iter().map(declaration).collect();
        body.insert("tools".to_owned(), json!([{"functionDeclarations": declarations}]));
        if let Some(choice) = &request.tool_choice {
            body.insert("toolConfig".to_owned(), json!({"functionCallingConfig": calling(choice)}));
        }
    }
    let config = generation_config(request, facts);
    if !config.is_empty() {
        body.insert("generationConfig".to_owned(), Value::Object(config));
    }
    Ok(Outgoing {
        path: path(&request.model, request.stream),
        query: request.stream.then(|| "alt=sse".to_owned()),
        headers: Vec::new(),
        body: Value::Object(body).to_string().into_bytes(),
    })
}

fn refuse_what_has_no_words(request: &Request) -> Result<(), Unwritable> {
    if request.stream && request.choices.unwrap_or(1) > 1 {
        return Err(no_words("several choices in one stream"));
    }
    if stops(request).count() > MAX_STOPS {
        return Err(no_words("more than 5 stop sequences"));
    }
    if matches!(request.response_format, Some(ResponseFormat::JsonSchema { .. })) && !forms_answers(request) {
        return Err(no_words("tools together with an answer in a form, before Gemini 3"));
    }
    Ok(())
}

/// Before Gemini 3 an answer cannot be held to a form when there are tools.
fn forms_answers(request: &Request) -> bool {
    request.tools.is_empty() || Generation::is_third(&request.model)
}

fn stops(request: &Request) -> impl Iterator<Item = &str> {
    request.stop.iter().map(String::as_str).filter(|stop| !stop.is_empty())
}

/// `models/` is put before a bare name; `tunedModels/x` and full resource names stay.
fn path(model: &str, stream: bool) -> String {
    let method = if stream { "streamGenerateContent" } else { "generateContent" };
    format!("/{}:{method}", resource(model))
}

pub(in super::super) fn resource(model: &str) -> String {
    let model = model.trim_start_matches('/');
    let name = if model.contains('/') { model.to_owned() } else { format!("models/{model}") };
    name.split('/').map(percent::segment).collect::<Vec<_>>().join("/")
}

/// The system's words, and the rest. Gemini wants something to answer: a lone system prompt is the user's.
fn parted(messages: &[Message]) -> (Vec<Value>, Vec<Message>) {
    let (system, rest): (Vec<&Message>, Vec<&Message>) =
        messages.iter().partition(|message| message.role == Role::System);
    if rest.is_empty() {
        let said = system.into_iter().map(|message| Message { role: Role::User, ..message.clone() });
        return (Vec::new(), said.collect());
    }
    let texts = system.iter().flat_map(|message| &message.parts).filter_map(|part| match part {
        Part::Text(text) if !text.is_empty() => Some(json!({"text": text})),
        _ => None,
    });
    (texts.collect(), rest.into_iter().cloned().collect())
}

/// Calls by their id: which in the conversation, and of what.
type Called<'a> = HashMap<&'a str, (usize, &'a str)>;

/// Neighbours of one role become one content: the results of parallel calls must stand together, and in the order of
/// the calls, because there is no id that joins them.
fn contents(messages: &[Message], signed: bool) -> Result<Value, Unwritable> {
    let mut called = Called::new();
    let mut contents: Vec<(Role, Vec<(usize, Value)>)> = Vec::new();
    for message in messages {
        for part in &message.parts {
            if let Part::ToolCall(call) = part {
                called.insert(&call.id, (called.len(), &call.name));
            }
        }
        let parts = parts_of(message, &called, signed)?;
        match contents.last_mut() {
            Some((role, earlier)) if *role == message.role => earlier.extend(parts),
            _ => contents.push((message.role, parts)),
        }
    }
    contents.retain(|(_, parts)| !parts.is_empty());
    // What the model said last is no question.
    if let Some((Role::Assistant, last)) = contents.last()
        && last.last().is_some_and(|(_, part)| part.get("functionCall").is_none())
    {
        contents.push((Role::User, vec![(0, json!({"text": CONTINUE}))]));
    }
    Ok(contents
        .into_iter()
        .map(|(role, mut parts)| {
            parts.sort_by_key(|(place, _)| *place);
            let parts: Vec<Value> = parts.into_iter().map(|(_, part)| part).collect();
            json!({"role": if role == Role::Assistant { "model" } else { "user" }, "parts": parts})
        })
        .collect())
}

/// Each with its place among the results; nothing else has one.
fn parts_of(message: &Message, called: &Called<'_>, signed: bool) -> Result<Vec<(usize, Value)>, Unwritable> {
    let mut parts = Vec::new();
    // A caller may have put what was said before what was thought; of all parts only a call must have its signature.
    let has_calls = message.parts.iter().any(|part| matches!(part, Part::ToolCall(_)));
    let mut signature: Option<&str> = None;
    // Of parallel calls only the first is signed.
    let mut wants_signature = signed;
    for part in &message.parts {
        let mut written = match part {
            // Thoughts are not sent back, only the signature that stands for them.
            Part::Reasoning { signature: given, .. } => {
                signature = given.as_deref().and_then(signature::of_gemini).or(signature);
                continue;
            }
            Part::Text(text) | Part::Refusal(text) if text.is_empty() => continue,
            part => written(part, called)?,
        };
        let is_call = matches!(part, Part::ToolCall(_));
        let dummy = (is_call && wants_signature).then_some(NO_SIGNATURE);
        let given = if is_call == has_calls { signature.take() } else { None };
        if let Some(signature) = given.or(dummy) {
            written["thoughtSignature"] = signature.into();
        }
        wants_signature &= !is_call;
        let place = match part {
            Part::ToolResult { id, .. } => called.get(id.as_str()).map_or(0, |(place, _)| *place),
            _ => 0,
        };
        // Only from Gemini 3 on a result holds media; before it they stand beside it.
        let beside = match (signed, written.pointer_mut("/functionResponse")) {
            (false, Some(Value::Object(response))) => response.shift_remove("parts"),
            _ => None,
        };
        parts.push((place, written));
        if let Some(Value::Array(media)) = beside {
            parts.extend(media.into_iter().map(|medium| (place, medium)));
        }
    }
    Ok(parts)
}

fn written(part: &Part, called: &Called<'_>) -> Result<Value, Unwritable> {
    Ok(match part {
        Part::Text(text) | Part::Refusal(text) | Part::Reasoning { text, .. } => json!({"text": text}),
        Part::Image { media, .. } => data(media, "image"),
        Part::Audio(media) => data(media, "audio"),
        Part::File { media, .. } => data(media, "file"),
        Part::ToolCall(call) => {
            let arguments = match call.arguments.trim() {
                "" => json!({}),
                arguments => serde_json::from_str(arguments)
                    .ok()
                    .filter(Value::is_object)
                    .ok_or_else(|| no_words("the arguments of a call that are no JSON object"))?,
            };
            json!({"functionCall": {"name": call.name, "args": arguments}})
        }
        Part::ToolResult { id, parts, is_error } => {
            let (_, name) = called
                .get(id.as_str())
                .ok_or_else(|| no_words("the result of a call that the conversation does not have"))?;
            function_response(name, parts, *is_error)
        }
    })
}

/// The result must be an object: text that is one passes, any other is put into one.
fn function_response(name: &str, parts: &[Part], is_error: bool) -> Value {
    let texts: Vec<&str> = parts.iter().filter_map(text_of).collect();
    let text = texts.join("\n");
    let response = match serde_json::from_str(&text) {
        Ok(Value::Object(object)) if !is_error => Value::Object(object),
        _ => json!({if is_error { "error" } else { "result" }: text}),
    };
    let media: Vec<Value> = parts
        .iter()
        .filter_map(|part| match part {
            Part::Image { media, .. } => Some(data(media, "image")),
            Part::Audio(media) => Some(data(media, "audio")),
            Part::File { media, .. } => Some(data(media, "file")),
            _ => None,
        })
        .collect();
    let mut response = json!({"name": name, "response": response});
    if !media.is_empty() {
        response["parts"] = media.into();
    }
    json!({"functionResponse": response})
}

fn text_of(part: &Part) -> Option<&str> {
    match part {
        Part::Text(text) | Part::Refusal(text) => Some(text),
        _ => None,
    }
}

fn data(media: &Media, kind: &str) -> Value {
    match media {
        Media::Data { media_type, base64 } => {
            json!({"inlineData": {"mimeType": media_type, "data": base64}})
        }
        Media::Url(url) => match media_type(url, kind) {
            Some(media_type) => json!({"fileData": {"mimeType": media_type, "fileUri": url}}),
            None => json!({"fileData": {"fileUri": url}}),
        },
    }
}

/// What the name's ending tells.
fn media_type(url: &str, kind: &str) -> Option<&'static str> {
    let path = url.split(['?', '#']).next().unwrap_or(url);
    let ending = path.rsplit_once('.')?.1.to_ascii_lowercase();
    Some(match (kind, ending.as_str()) {
        (_, "png") => "image/png",
        (_, "jpg" | "jpeg") => "image/jpeg",
        (_, "webp") => "image/webp",
        (_, "gif") => "image/gif",
        (_, "heic") => "image/heic",
        (_, "pdf") => "application/pdf",
        (_, "txt") => "text/plain",
        (_, "wav") => "audio/wav",
        (_, "mp3") => "audio/mp3",
        (_, "mp4") => "video/mp4",
        _ => return None,
    })
}

fn declaration(tool: &Tool) -> Value {
    let mut declaration = json!({"name": tool.name});
    if let Some(description) = &tool.description {
        declaration["description"] = description.as_str().into();
    }
    if let Some(parameters) = &tool.parameters {
        declaration["parametersJsonSchema"] = schema::adapted(parameters);
    }
    declaration
}

fn calling(choice: &ToolChoice) -> Value {
    match choice {
        ToolChoice::Auto => json!({"mode": "AUTO"}),
        ToolChoice::None => json!({"mode": "NONE"}),
        ToolChoice::Required => json!({"mode": "ANY"}),
        ToolChoice::Tool(name) => json!({"mode": "ANY", "allowedFunctionNames": [name]}),
    }
}

/// Gemini has no words for `parallel_tool_calls` and `user`; neither changes what an answer means.
fn generation_config(request: &Request, facts: &Facts<'_>) -> Map<String, Value> {
    let mut config = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            config.insert(name.to_owned(), value);
        }
    };
    put("maxOutputTokens", facts.bounded(request.max_tokens).map(Value::from));
    put("temperature", request.temperature.map(Value::from));
    put("topP", request.top_p.map(Value::from));
    put("topK", request.top_k.map(Value::from));
    put("frequencyPenalty", request.frequency_penalty.map(Value::from));
    put("presencePenalty", request.presence_penalty.map(Value::from));
    put("seed", request.seed.map(Value::from));
    put("candidateCount", request.choices.filter(|&choices| choices > 1).map(Value::from));
    let stops: Vec<&str> = stops(request).collect();
    put("stopSequences", (!stops.is_empty()).then(|| json!(stops)));
    if request.logprobs == Some(true) {
        put("responseLogprobs", Some(true.into()));
        put("logprobs", request.top_logprobs.map(Value::from));
    }
    match &request.response_format {
        None | Some(ResponseFormat::Text) => {}
        _ if !forms_answers(request) => {}
        Some(ResponseFormat::JsonObject) => put("responseMimeType", Some("application/json".into())),
        Some(ResponseFormat::JsonSchema { schema, .. }) => {
            put("responseMimeType", Some("application/json".into()));
            put("responseJsonSchema", Some(schema::adapted(schema)));
        }
    }
    let reasoning = request.reasoning.as_ref();
    put("thinkingConfig", reasoning.and_then(|reasoning| thinking::config(reasoning, &request.model)));
    config
}

fn no_words(what: &str) -> Unwritable {
    Unwritable { dialect: NAME, what: what.to_owned() }
}
