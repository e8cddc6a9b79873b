//! Whole answers, read from a provider and written to a caller.

use serde_json::{Map, Value, json};

use super::{Shape, made_up_id, message, usage};
use crate::llm::{Answer, Choice, Finish, Part, Unreadable, fields::Fields};

/// A chat answer, or one of the old endpoint.
pub fn read_answer(body: &[u8]) -> Result<Answer, Unreadable> {
    let mut fields = Fields::parse(body)?;
    let mut choices = Vec::new();
    for (at, item) in fields.required_array("choices")?.into_iter().enumerate() {
        choices.push(choice(Fields::of(item, &format!("choices[{at}]"))?, at)?);
    }
    Ok(Answer {
        id: fields.string("id")?.unwrap_or_default(),
        model: fields.string("model")?.unwrap_or_default(),
        created: fields.take("created").and_then(|created| created.as_i64()),
        choices,
        usage: fields.take("usage").as_ref().and_then(usage::read),
    })
}

fn choice(mut fields: Fields, at: usize) -> Result<Choice, Unreadable> {
    let parts = match fields.object("message")? {
        Some(mut message) => message::said(&mut message)?,
        None => fields.string("text")?.map(Part::Text).into_iter().collect(),
    };
    let finish = fields.string("finish_reason")?;
    Ok(Choice {
        index: fields.count("index")?.unwrap_or(at as u64),
        parts,
        finish: finish.map_or(Finish::Stop, |reason| Finish::of_openai(&reason)),
        logprobs: fields.take("logprobs"),
    })
}

pub fn write_answer(answer: &Answer, shape: Shape) -> Vec<u8> {
    let choices: Vec<Value> = answer.choices.iter().map(|choice| write_choice(choice, shape)).collect();
    let mut out = Map::new();
    let id = match answer.id.is_empty() {
        true => made_up_id(answer.created.unwrap_or(0)),
        false => answer.id.clone(),
    };
    out.insert("id".to_owned(), id.into());
    out.insert("object".to_owned(), shape.object().into());
    out.insert("created".to_owned(), answer.created.unwrap_or(0).into());
    out.insert("model".to_owned(), answer.model.clone().into());
    out.insert("choices".to_owned(), choices.into());
    if let Some(usage) = &answer.usage {
        out.insert("usage".to_owned(), usage::write(usage));
    }
    Value::Object(out).to_string().into_bytes()
}

fn write_choice(choice: &Choice, shape: Shape) -> Value {
    let finish = choice.finish.as_openai();
    let logprobs = choice.logprobs.clone().unwrap_or_default();
    match shape {
        Shape::Chat => {
            let mut message = Map::new();
            message.insert("role".to_owned(), "assistant".into());
            message::write_said(&choice.parts, &mut message);
            json!({"index": choice.index, "message": message, "logprobs": logprobs, "finish_reason": finish})
        }
        Shape::Completion => {
            let text: String = choice.parts.iter().filter_map(Part::text).collect();
            json!({"index": choice.index, "text": text, "logprobs": logprobs, "finish_reason": finish})
        }
    }
}
