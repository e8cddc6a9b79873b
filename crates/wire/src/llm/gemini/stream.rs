//! `streamGenerateContent?alt=sse`: every event is a whole response with what is new in it.

use std::collections::BTreeMap;

use mainstay_base::{Class, snapshot::Dialect};

use super::{
    super::{
        Delta,
        failure::{self, Told},
        signature,
    },
    answer::{Candidate, Response, ResponsePart, finish},
};

use crate::openai::is_filler;

/// More choices than any model gives.
const MAX_CHOICES: u64 = 128;

/// Reads the events in their order. Usage comes with each of them and grows: the newest is the whole of it. Gemini marks no
/// end: [`Delta::End`] is said when every choice has finished.
#[derive(Debug, Default)]
pub struct StreamReader {
    started: bool,
    ended: bool,
    id: String,
    choices: BTreeMap<u64, Progress>,
}

#[derive(Debug, Default)]
struct Progress {
    calls: u64,
    is_finished: bool,
}

impl StreamReader {
    pub fn read(&mut self, _event: Option<&str>, data: &[u8]) -> Vec<Delta> {
        if is_filler(data) {
            return Vec::new();
        }
        if let Some(told) = failure::inside(&Dialect::Gemini, data) {
            return vec![Delta::Error(told)];
        }
        match serde_json::from_slice::<Response>(data) {
            Ok(response) => self.deltas(response),
            Err(error) => vec![Delta::Error(unreadable(&error))],
        }
    }

    fn deltas(&mut self, response: Response) -> Vec<Delta> {
        let mut deltas = Vec::new();
        if !self.started {
            self.started = true;
            self.id = response.response_id.clone().unwrap_or_default();
            let model = response.model_version.clone().unwrap_or_default();
            deltas.push(Delta::Start { id: self.id.clone(), model });
        }
        let refused = response.block_reason().map(|reason| refused(reason, &response));
        let usage = response.usage.as_ref().map(super::answer::UsageMetadata::counted);
        for (place, candidate) in response.candidates.unwrap_or_default().into_iter().enumerate() {
            self.candidate(candidate, place as u64, &mut deltas);
        }
        deltas.extend(usage.map(Delta::Usage));
        deltas.extend(refused.map(Delta::Error));
        if !self.ended && !self.choices.is_empty() && self.choices.values().all(|choice| choice.is_finished) {
            self.ended = true;
            deltas.push(Delta::End);
        }
        deltas
    }

    fn candidate(&mut self, candidate: Candidate, place: u64, deltas: &mut Vec<Delta>) {
        let choice = candidate.index.unwrap_or(place);
        if choice >= MAX_CHOICES {
            return;
        }
        let progress = self.choices.entry(choice).or_default();
        if progress.is_finished {
            return;
        }
        for part in candidate.content.unwrap_or_default().parts.unwrap_or_default() {
            part_deltas(part, choice, &self.id, progress, deltas);
        }
        if let Some(reason) = candidate.finish_reason {
            progress.is_finished = true;
            deltas.push(Delta::Finish { choice, finish: finish(Some(&reason), progress.calls > 0) });
        }
    }
}

fn part_deltas(part: ResponsePart, choice: u64, id: &str, progress: &mut Progress, deltas: &mut Vec<Delta>) {
    if let Some(signature) = part.thought_signature.as_deref().map(signature::mark_gemini) {
        deltas.push(Delta::ReasoningSignature { choice, signature });
    }
    if let Some(call) = part.function_call {
        let index = progress.calls;
        let call = call.read(id, choice, index);
        progress.calls += 1;
        deltas.push(Delta::ToolCallStart { choice, index, id: call.id, name: call.name });
        deltas.push(Delta::ToolCallArguments { choice, index, text: call.arguments });
    } else if let Some(text) = part.text.filter(|text| !text.is_empty()) {
        deltas.push(match part.thought {
            Some(true) => Delta::Reasoning { choice, text },
            _ => Delta::Text { choice, text },
        });
    }
}

fn refused(reason: &str, response: &Response) -> Told {
    let words = response.prompt_feedback.as_ref().and_then(|feedback| feedback.block_reason_message.clone());
    let message = words.unwrap_or_else(|| format!("Gemini refused the prompt: {reason}"));
    Told { code: Some(reason.to_owned()), ..Told::plain(Class::ContentFilter, message) }
}

fn unreadable(error: &serde_json::Error) -> Told {
    let class = if error.is_eof() { Class::TruncatedJson } else { Class::NotAnAnswer };
    Told::plain(class, format!("an event of the stream is no answer of Gemini: {error}"))
}
