//! What was recorded, as the simulator reads it: metadata only, no content. A call takes some two hundred bytes: words
//! that many calls share (names, regions, classes of data) are kept once, and so are attempts, one after the other.

use std::{collections::HashMap, num::NonZeroU32, sync::Arc, time::Duration};

use mainstay_base::{
    Class, Fault, Micros, Usd,
    record::{self, Outcome as Ending, Routed, RoutedAttempt},
};

use crate::chain::Ask;

/// Callers may name models as they like where names without a route are served: calls of further ones are left out.
const MAX_MODELS: usize = 10_000;

/// Calls in the order of their arrival.
#[derive(Clone, Debug, Default)]
pub struct Recording {
    pub(super) models: Vec<String>,
    pub(super) calls: Vec<Call>,
    attempts: Vec<Attempt>,
    by_name: HashMap<String, u32>,
    targets: HashMap<(String, String), u32>,
    words: Vec<Arc<str>>,
    by_word: HashMap<Arc<str>, Word>,
}

/// A word of a recording, by its number from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Word(NonZeroU32);

/// One call to a logical model. Its attempts are given by [`Recording::attempts`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Call {
    pub at: Micros,
    /// Set by [`Recording::push`].
    pub place: Place,
    pub streams: bool,
    pub needs: Needs,
    /// What was granted in the end, by the caller or the policy.
    pub deadline: Option<Duration>,
    pub max_cost: Option<Usd>,
    pub ended: Ended,
}

/// Where a recording keeps what belongs to a call.
#[derive(Clone, Copy, Debug, Default)]
pub struct Place {
    model: u32,
    first_attempt: u32,
    attempts: u32,
}

/// What a call needs of its target, and what it used.
#[derive(Clone, Copy, Debug, Default)]
pub struct Needs {
    pub key: Option<Word>,
    pub region: Option<Word>,
    pub data_class: Option<Word>,
    /// Estimated before it was asked: conditions and grants go by it.
    pub input_tokens: u32,
    pub max_output_tokens: Option<u32>,
    /// By the usage; taken for any target's.
    pub used_input_tokens: u32,
    pub output_tokens: u32,
    pub tools: bool,
    pub vision: bool,
    pub structured_output: bool,
    pub keeps_model: bool,
    pub needs_responses: bool,
    /// An old record: what the call asked for (tools, images, region, class of data) was not written down, so every
    /// target counts as able to serve it.
    pub are_unknown: bool,
}

impl Call {
    pub(super) fn model(&self) -> usize {
        self.place.model as usize
    }

    /// What it is estimated to take of a minute's grant.
    pub(super) fn tokens(&self) -> u64 {
        let Needs { input_tokens, max_output_tokens, output_tokens, .. } = self.needs;
        u64::from(input_tokens) + u64::from(max_output_tokens.unwrap_or(output_tokens))
    }
}

/// One recorded attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// By [`Recording::target`].
    pub target: u32,
    pub at: Micros,
    pub outcome: Outcome,
}

impl Attempt {
    pub(super) fn target(&self) -> usize {
        self.target as usize
    }
}

/// How an attempt went, from its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// `None`: well.
    pub class: Option<Class>,
    /// `None`: a whole answer, or none.
    pub first_token: Option<Duration>,
    pub took: Duration,
    pub cost: Usd,
}

impl Outcome {
    /// An answer, well.
    pub fn good(first_token: Option<Duration>, took: Duration) -> Outcome {
        Outcome { class: None, first_token, took, cost: Usd::ZERO }
    }

    /// A failure before any content.
    pub fn bad(class: Class, took: Duration) -> Outcome {
        Outcome { class: Some(class), first_token: None, took, cost: Usd::ZERO }
    }

    /// Whether it tells how the target does, and not how one call was.
    pub(super) fn is_a_sample(&self) -> bool {
        self.is_cancelled()
            || self.class.is_none_or(|class| !matches!(class.fault(), Fault::Caller | Fault::Nobody))
    }

    /// It was cancelled before anything came, and tells only that nothing did.
    pub(super) fn is_cancelled(&self) -> bool {
        let cancelled = matches!(self.class, Some(Class::HedgeLost | Class::CallerGone));
        cancelled && self.first_token.is_none()
    }
}

/// How a call ended for its caller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    pub how: How,
    /// Of a whole answer: as `took`.
    pub first_token: Option<Duration>,
    pub took: Duration,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum How {
    Well,
    #[default]
    Failed,
    /// Wrong request, too long, filtered; or the caller left: nobody could have answered it.
    CallersDoing,
    /// The records do not say how a target that it went to would have answered.
    Unanswerable,
}

impl How {
    pub(super) fn after(class: Class) -> How {
        let callers = matches!(class.fault(), Fault::Caller) || class == Class::CallerGone;
        if callers { How::CallersDoing } else { How::Failed }
    }
}

impl Recording {
    /// The number of a target, given on first sight.
    pub fn target(&mut self, provider: &str, model: &str) -> u32 {
        let next = self.targets.len() as u32;
        *self.targets.entry((provider.to_owned(), model.to_owned())).or_insert(next)
    }

    /// The number of a word, given on first sight.
    pub fn word(&mut self, text: &str) -> Word {
        if let Some(known) = self.by_word.get(text) {
            return *known;
        }
        let text: Arc<str> = Arc::from(text);
        self.words.push(Arc::clone(&text));
        let number = u32::try_from(self.words.len()).unwrap_or(u32::MAX);
        let word = Word(NonZeroU32::new(number).unwrap_or(NonZeroU32::MAX));
        self.by_word.insert(text, word);
        word
    }

    fn text(&self, word: Option<Word>) -> Option<&str> {
        self.words.get(word?.0.get() as usize - 1).map(AsRef::as_ref)
    }

    pub(super) fn known(&self, provider: &str, model: &str) -> Option<usize> {
        self.targets.get(&(provider.to_owned(), model.to_owned())).map(|number| *number as usize)
    }

    /// By number.
    pub(super) fn target_names(&self) -> Vec<String> {
        let mut names = vec![String::new(); self.targets.len()];
        for ((provider, model), number) in &self.targets {
            names[*number as usize] = format!("{provider}/{model}");
        }
        names
    }

    pub(super) fn target_count(&self) -> usize {
        self.targets.len()
    }

    /// Adds a call to this logical model. Any order: [`Recording::sort`] follows. `false`: there are too many models.
    pub fn push(&mut self, model: &str, mut call: Call, attempts: &[Attempt]) -> bool {
        let Some(number) = self.model(model) else { return false };
        let first_attempt = self.attempts.len() as u32;
        call.place = Place { model: number, first_attempt, attempts: attempts.len() as u32 };
        self.attempts.extend_from_slice(attempts);
        self.calls.push(call);
        true
    }

    fn model(&mut self, name: &str) -> Option<u32> {
        if let Some(known) = self.by_name.get(name) {
            return Some(*known);
        }
        if self.models.len() >= MAX_MODELS {
            return None;
        }
        let number = self.models.len() as u32;
        self.models.push(name.to_owned());
        self.by_name.insert(name.to_owned(), number);
        Some(number)
    }

    /// Adds a record of the model path. One that was not routed (refused before, or shared with another call) tells
    /// nothing and is left out: `false`.
    pub fn add(&mut self, record: &Routed) -> bool {
        let Some(model) = record.model.as_deref().filter(|_| was_routed(record)) else { return false };
        let attempts: Vec<Attempt> =
            record.attempts.iter().map(|attempt| self.attempt(record, model, attempt)).collect();
        let how = match (record.outcome, attempts.last().and_then(|last| last.outcome.class)) {
            (Ending::Ok, _) => How::Well,
            (Ending::CallerGone, _) => How::CallersDoing,
            (Ending::Failed | Ending::Cut, last) => last.map_or(How::Failed, How::after),
        };
        let call = Call {
            at: record.opened_at,
            streams: record.streamed,
            needs: self.needs(record),
            deadline: record.deadline_us.map(Duration::from_micros),
            max_cost: record.max_cost,
            ended: Ended {
                how,
                first_token: record.first_token_us.map(Duration::from_micros).filter(|_| record.streamed),
                took: Duration::from_micros(record.took_us),
            },
            ..Call::default()
        };
        self.push(model, call, &attempts)
    }

    fn attempt(&mut self, record: &Routed, model: &str, attempt: &RoutedAttempt) -> Attempt {
        let micros = Duration::from_micros;
        Attempt {
            target: self.target(&attempt.upstream, attempt.model.as_deref().unwrap_or(model)),
            at: record.opened_at + micros(attempt.started_us),
            outcome: Outcome {
                class: attempt.class.or_else(|| attempt.error.as_ref().map(|_| Class::ServerError)),
                first_token: attempt.first_token_us.filter(|_| record.streamed).map(micros),
                took: micros(attempt.took_us),
                cost: attempt.cost.unwrap_or_default(),
            },
        }
    }

    fn needs(&mut self, record: &Routed) -> Needs {
        let tokens = |tokens: u64| u32::try_from(tokens).unwrap_or(u32::MAX);
        let key = record.key.as_deref().map(|key| self.word(key));
        let used_input_tokens = tokens(record.input_tokens.unwrap_or(0));
        let output_tokens = tokens(record.output_tokens.unwrap_or(0));
        let Some(needs) = &record.needs else {
            let (input_tokens, are_unknown) = (used_input_tokens, true);
            return Needs {
                key,
                input_tokens,
                used_input_tokens,
                output_tokens,
                are_unknown,
                ..Needs::default()
            };
        };
        let record::Needs {
            input_tokens,
            max_output_tokens,
            tools,
            vision,
            structured_output,
            keeps_model,
            needs_responses,
            region,
            data_class,
        } = needs;
        Needs {
            key,
            region: region.as_deref().map(|region| self.word(region)),
            data_class: data_class.as_deref().map(|class| self.word(class)),
            input_tokens: tokens(*input_tokens),
            max_output_tokens: max_output_tokens.map(tokens),
            used_input_tokens: if record.input_tokens.is_some() {
                used_input_tokens
            } else {
                tokens(*input_tokens)
            },
            output_tokens,
            tools: *tools,
            vision: *vision,
            structured_output: *structured_output,
            keeps_model: *keeps_model,
            needs_responses: *needs_responses,
            are_unknown: false,
        }
    }

    pub(super) fn ask(&self, needs: &Needs) -> Ask<'_> {
        Ask {
            key: self.text(needs.key).unwrap_or_default(),
            region: self.text(needs.region),
            data_class: self.text(needs.data_class),
            input_tokens: needs.input_tokens.into(),
            max_output_tokens: needs.max_output_tokens.map(u64::from),
            tools: needs.tools,
            vision: needs.vision,
            structured_output: needs.structured_output,
            keeps_model: needs.keeps_model,
            needs_responses: needs.needs_responses,
        }
    }

    /// Puts the calls in the order of their arrival.
    pub fn sort(&mut self) {
        if !self.calls.is_sorted_by_key(|call| call.at) {
            self.calls.sort_by_key(|call| call.at);
        }
    }

    pub fn calls(&self) -> &[Call] {
        &self.calls
    }

    pub fn attempts(&self, call: &Call) -> &[Attempt] {
        let from = call.place.first_attempt as usize;
        &self.attempts[from..from + call.place.attempts as usize]
    }

    /// Of all calls, in the order in which they were added.
    pub(super) fn all_attempts(&self) -> &[Attempt] {
        &self.attempts
    }
}

/// It came as far as the question who answers it, also when nobody did.
fn was_routed(record: &Routed) -> bool {
    let found_nobody = record.needs.is_some() && record.outcome == Ending::Failed;
    record.shared_with.is_none() && (!record.attempts.is_empty() || found_nobody)
}
