//! The inner request as Converse takes it.

use serde_json::{Map, Value, json};

use super::{
    super::{
        Facts, Message, Outgoing, Part, Request, ResponseFormat, Role, Unwritable,
        anthropic::{model::Generation, schema::enforceable},
        calls, percent, signature,
        turns::{CONTINUE, ONE_JSON_OBJECT, PLACEHOLDER},
    },
    NAME,
    media::{self, Documents},
    thinking::{Thinking, is_anthropic},
    tools,
};

pub fn write_request(request: &Request, facts: &Facts<'_>) -> Result<Outgoing, Unwritable> {
    refuse_what_has_no_words(request)?;
    let thinking = Thinking::of(request, facts);
    let mut body = Map::new();
    body.insert("messages".to_owned(), messages(request, &thinking)?);
    let system = system(request);
    if !system.is_empty() {
        body.insert("system".to_owned(), system.into());
    }
    let config = inference_config(request, facts, &thinking);
    if !config.is_empty() {
        body.insert("inferenceConfig".to_owned(), Value::Object(config));
    }
    if let Some(tools) = tools::config(request, &thinking)? {
        body.insert("toolConfig".to_owned(), tools);
    }
    let output = output_config(request, &thinking);
    if !output.is_empty() {
        body.insert("outputConfig".to_owned(), Value::Object(output));
    }
    let additional = additional_fields(request, &thinking);
    if !additional.is_empty() {
        body.insert("additionalModelRequestFields".to_owned(), Value::Object(additional));
    }
    let operation = if request.stream { "converse-stream" } else { "converse" };
    Ok(Outgoing {
        path: format!("/model/{}/{operation}", percent::segment(&request.model)),
        query: None,
        headers: Vec::new(),
        body: Value::Object(body).to_string().into_bytes(),
    })
}

/// Penalties, seeds and users have no words either, but nobody's answer depends on them.
fn refuse_what_has_no_words(request: &Request) -> Result<(), Unwritable> {
    if request.choices.unwrap_or(1) > 1 {
        return Err(no_words("several choices"));
    }
    if request.logprobs == Some(true) {
        return Err(no_words("log probabilities"));
    }
    Ok(())
}

fn system(request: &Request) -> Vec<Value> {
    let said = request.messages.iter().filter(|message| message.role == Role::System);
    let texts = said.flat_map(|message| &message.parts).filter_map(|part| match part {
        Part::Text(text) if !text.trim().is_empty() => Some(json!({"text": text})),
        _ => None,
    });
    let mut blocks: Vec<Value> = texts.collect();
    if request.response_format == Some(ResponseFormat::JsonObject) {
        blocks.push(json!({"text": ONE_JSON_OBJECT}));
    }
    if request.cache_system && !blocks.is_empty() {
        blocks.push(json!({"cachePoint": {"type": "default"}}));
    }
    blocks
}

/// Roles must alternate: neighbours of one role become one message, and results of tools are the user's.
fn messages(request: &Request, thinking: &Thinking) -> Result<Value, Unwritable> {
    let mut messages: Vec<(&str, Vec<Value>)> = Vec::new();
    let mut documents = Documents::default();
    for message in calls::distinct(&request.messages).iter().filter(|message| message.role != Role::System) {
        let role = if message.role == Role::Assistant { "assistant" } else { "user" };
        let blocks = blocks(message, &mut documents)?;
        match messages.last_mut() {
            _ if blocks.is_empty() => {}
            Some((earlier, parts)) if *earlier == role => parts.extend(blocks),
            _ => messages.push((role, blocks)),
        }
    }
    messages.iter_mut().for_each(|(_, blocks)| speak_of_documents(blocks));
    // With a budget to think, a turn to be continued would have to begin with a thought.
    let goes_on = is_anthropic(&request.model)
        && !Generation::of(&request.model).refuses_prefill()
        && !thinking.is_anthropic();
    whole(&mut messages, goes_on);
    Ok(messages.into_iter().map(|(role, content)| json!({"role": role, "content": content})).collect())
}

/// A document is refused in a message without a text.
fn speak_of_documents(blocks: &mut Vec<Value>) {
    let has = |name: &str| blocks.iter().any(|block| block.get(name).is_some());
    if has("document") && !has("text") {
        blocks.push(json!({"text": PLACEHOLDER}));
    }
}

/// The user speaks first, and last where the model does not go on with a turn of its own.
fn whole(messages: &mut Vec<(&str, Vec<Value>)>, goes_on: bool) {
    if messages.first().is_some_and(|(role, _)| *role == "assistant") {
        messages.insert(0, ("user", vec![json!({"text": PLACEHOLDER})]));
    }
    let Some(("assistant", last)) = messages.last_mut() else { return };
    match last.last_mut() {
        Some(block) if block.get("toolUse").is_some() => {}
        // White space at its end is refused.
        Some(block) if goes_on => {
            if let Some(Value::String(text)) = block.get_mut("text") {
                text.truncate(text.trim_end().len());
            }
        }
        _ => messages.push(("user", vec![json!({"text": CONTINUE})])),
    }
}

fn blocks(message: &Message, documents: &mut Documents) -> Result<Vec<Value>, Unwritable> {
    let mut blocks = Vec::new();
    for part in &message.parts {
        if let Some(block) = block(part, documents)? {
            blocks.push(block);
        }
    }
    Ok(blocks)
}

/// Bedrock refuses blank texts, and thoughts that nobody signed.
fn block(part: &Part, documents: &mut Documents) -> Result<Option<Value>, Unwritable> {
    Ok(Some(match part {
        Part::Text(text) | Part::Refusal(text) if text.trim().is_empty() => return Ok(None),
        Part::Text(text) | Part::Refusal(text) => json!({"text": text}),
        Part::Image { media, .. } => media::image(media)?,
        Part::Audio(media) => media::audio(media)?,
        Part::File { media, name } => media::document(media, name.as_deref(), documents)?,
        Part::Reasoning { text, signature: Some(signature) } => match signature::redacted(signature) {
            Some(redacted) => json!({"reasoningContent": {"redactedContent": redacted}}),
            None if signature::is_claudes(signature) => {
                json!({"reasoningContent": {"reasoningText": {"text": text, "signature": signature}}})
            }
            None => return Ok(None),
        },
        Part::Reasoning { signature: None, .. } => return Ok(None),
        Part::ToolCall(call) => {
            let arguments = match call.arguments.trim() {
                "" => json!({}),
                arguments => serde_json::from_str(arguments)
                    .ok()
                    .filter(Value::is_object)
                    .ok_or_else(|| no_words("the arguments of a call that are no JSON object"))?,
            };
            json!({"toolUse": {"toolUseId": call_id(&call.id), "name": call.name, "input": arguments}})
        }
        Part::ToolResult { id, parts, is_error } => {
            let mut content = Vec::new();
            for part in parts {
                content.extend(block(part, documents)?);
            }
            if content.is_empty() {
                // A result must say something.
                content.push(json!({"text": "(no output)"}));
            }
            let mut result = json!({"toolUseId": call_id(id), "content": content});
            // Only Claude and Nova know a status; without one all is well.
            if *is_error {
                result["status"] = "error".into();
            }
            json!({"toolResult": result})
        }
    }))
}

/// Ids of other providers, in the letters and the length that Bedrock takes.
fn call_id(id: &str) -> String {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || "_.:-".contains(letter);
    let id: String = id.chars().map(|letter| if fits(letter) { letter } else { '_' }).collect();
    // The end of a long id is what differs.
    id[id.len().saturating_sub(64)..].to_owned()
}

fn inference_config(request: &Request, facts: &Facts<'_>, thinking: &Thinking) -> Map<String, Value> {
    let mut config = Map::new();
    if let Some(most) = facts.bounded(request.max_tokens) {
        config.insert("maxTokens".to_owned(), most.into());
    }
    let Sampling { temperature, top_p, .. } = Sampling::of(request, thinking);
    if let Some(temperature) = temperature {
        config.insert("temperature".to_owned(), temperature.into());
    }
    if let Some(top_p) = top_p {
        config.insert("topP".to_owned(), top_p.into());
    }
    // Claude refuses blank ones.
    let stops: Vec<&String> = request.stop.iter().filter(|stop| !stop.trim().is_empty()).collect();
    if !stops.is_empty() {
        config.insert("stopSequences".to_owned(), json!(stops));
    }
    config
}

/// How the next token is drawn, as far as the model lets itself be told.
struct Sampling {
    temperature: Option<f64>,
    top_p: Option<f64>,
    /// Converse has no word for it; Claude has.
    top_k: Option<u64>,
}

impl Sampling {
    fn of(request: &Request, thinking: &Thinking) -> Sampling {
        let Request { temperature, top_p, top_k, model, .. } = request;
        if !is_anthropic(model) {
            return Sampling { temperature: *temperature, top_p: *top_p, top_k: None };
        }
        let generation = Generation::of(model);
        if thinking.is_anthropic() || generation.refuses_sampling() {
            return Sampling { temperature: None, top_p: None, top_k: None };
        }
        let one_is_said = generation.takes_one_of_sampling() && temperature.is_some();
        // Claude's scale ends at 1, OpenAI's at 2.
        let temperature = temperature.map(|temperature| temperature.min(1.0));
        Sampling { temperature, top_p: top_p.filter(|_| !one_is_said), top_k: *top_k }
    }
}

fn output_config(request: &Request, thinking: &Thinking) -> Map<String, Value> {
    let mut config = Map::new();
    if let Some(ResponseFormat::JsonSchema { name, description, schema, .. }) = &request.response_format
        && !tools::form_is_a_tool(&request.model)
    {
        // The schema goes as text, unlike everywhere else.
        let mut schema = json!({"name": name, "schema": enforceable(schema).to_string()});
        if let Some(description) = description {
            schema["description"] = description.as_str().into();
        }
        let format = json!({"type": "json_schema", "structure": {"jsonSchema": schema}});
        config.insert("textFormat".to_owned(), format);
    }
    if let Thinking::ClaudeEffort(effort) = thinking {
        config.insert("effort".to_owned(), (*effort).into());
    }
    config
}

/// What Converse has no common word for, in the words of the model's maker.
fn additional_fields(request: &Request, thinking: &Thinking) -> Map<String, Value> {
    let mut fields = Map::new();
    if let Some(top_k) = Sampling::of(request, thinking).top_k {
        fields.insert("top_k".to_owned(), top_k.into());
    }
    let (name, value) = match thinking {
        Thinking::None => return fields,
        Thinking::ClaudeBudget(budget) => ("thinking", json!({"type": "enabled", "budget_tokens": budget})),
        Thinking::ClaudeEffort(_) => ("thinking", json!({"type": "adaptive"})),
        Thinking::OpenAiEffort(effort) => ("reasoning_effort", json!(effort)),
        Thinking::NovaEffort(effort) => {
            ("reasoningConfig", json!({"type": "enabled", "maxReasoningEffort": effort}))
        }
    };
    fields.insert(name.to_owned(), value);
    fields
}

pub(super) fn no_words(what: &str) -> Unwritable {
    Unwritable { dialect: NAME, what: what.to_owned() }
}
