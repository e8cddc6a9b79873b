//! One document where a stream was asked for: a completion is made a stream, an error is told, a page is refused.

use bytes::BytesMut;
use mainstay_base::{Class, snapshot::Dialect};
use mainstay_wire::llm::{
    Answer, Choice, Delta, Part, anthropic, bedrock, failure, gemini, openai, responses,
};

use super::{
    Broken, Form, Piece,
    convert::{Page, Writing},
    reading::{Progress, without_mark},
};

/// What is held of a document.
const MAX_BYTES: usize = 8 * 1024 * 1024;

pub(super) struct Whole {
    dialect: Dialect,
    form: Form,
    /// Into events of `/v1/responses`.
    is_converted: bool,
    body: BytesMut,
    writing: Writing,
}

impl Whole {
    pub(super) fn new(dialect: &Dialect, form: Form, mut writing: Writing) -> Whole {
        let is_converted = writing.typed().is_some();
        Whole { dialect: dialect.clone(), form, is_converted, body: BytesMut::new(), writing }
    }

    pub(super) fn typed(&mut self) -> Option<&mut responses::StreamWriter> {
        self.writing.typed()
    }

    pub(super) fn read(&mut self, chunk: &[u8]) -> Option<Broken> {
        if self.body.len() + chunk.len() > MAX_BYTES {
            let what = format!(
                "the provider answered a document of more than {MAX_BYTES} bytes instead of a stream"
            );
            return Some(Broken::new(Class::NotAnAnswer, what));
        }
        self.body.extend_from_slice(chunk);
        None
    }

    pub(super) fn finish(&mut self, progress: &mut Progress) -> (Piece, Option<Broken>) {
        let mut page = Page::default();
        let result = self.answer().and_then(|answer| {
            let mut deltas = deltas(answer);
            deltas.push(Delta::End);
            self.writing.steps(&deltas, &mut page, progress)
        });
        (page.into_piece(), result.err())
    }

    fn answer(&self) -> Result<Answer, Broken> {
        let body = without_mark(&self.body).trim_ascii();
        if body.starts_with(b"<") {
            return Err(Broken::new(Class::NotAnAnswer, "the provider answered a page instead of a stream"));
        }
        if let Some(told) = failure::inside(&self.dialect, body) {
            return Err(Broken::inside(told));
        }
        if let Err(error) = serde_json::from_slice::<serde::de::IgnoredAny>(body) {
            let class = if error.is_eof() { Class::TruncatedJson } else { Class::NotAnAnswer };
            return Err(Broken::new(
                class,
                format!("the provider answered broken JSON instead of a stream: {error}"),
            ));
        }
        if self.form == Form::Typed && !self.is_converted {
            return Err(Broken::new(
                Class::NotAnAnswer,
                "the provider answered a document instead of events",
            ));
        }
        let answer = match self.dialect {
            Dialect::OpenAi | Dialect::Azure { .. } | Dialect::Cohere => openai::read_answer(body),
            Dialect::Anthropic => anthropic::read_answer(body),
            Dialect::Gemini => gemini::read_answer(body),
            Dialect::Bedrock { .. } => bedrock::read_answer(body),
        };
        answer.map_err(|unreadable| {
            let what = format!("the provider's document is no completion: {unreadable}");
            Broken::new(Class::NotAnAnswer, what)
        })
    }
}

/// The answer as the steps in which a stream would have told it.
fn deltas(answer: Answer) -> Vec<Delta> {
    let Answer { id, model, created: _, choices, usage } = answer;
    let mut deltas = vec![Delta::Start { id, model }];
    for Choice { index, parts, finish, logprobs } in choices {
        let mut tool_calls = 0;
        for part in parts {
            said(index, part, &mut tool_calls, &mut deltas);
        }
        deltas.extend(logprobs.map(|logprobs| Delta::Logprobs { choice: index, logprobs }));
        deltas.push(Delta::Finish { choice: index, finish });
    }
    deltas.extend(usage.map(Delta::Usage));
    deltas
}

fn said(choice: u64, part: Part, tool_calls: &mut u64, deltas: &mut Vec<Delta>) {
    match part {
        Part::Text(text) => deltas.push(Delta::Text { choice, text }),
        Part::Reasoning { text, signature } => {
            deltas.push(Delta::Reasoning { choice, text });
            deltas.extend(signature.map(|signature| Delta::ReasoningSignature { choice, signature }));
        }
        Part::Refusal(text) => deltas.push(Delta::Refusal { choice, text }),
        Part::ToolCall(call) => {
            let index = *tool_calls;
            *tool_calls += 1;
            deltas.push(Delta::ToolCallStart { choice, index, id: call.id, name: call.name });
            deltas.push(Delta::ToolCallArguments { choice, index, text: call.arguments });
        }
        // Nothing that a model answers in text.
        Part::Image { .. } | Part::Audio(_) | Part::File { .. } | Part::ToolResult { .. } => {}
    }
}
