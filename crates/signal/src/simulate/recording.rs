//! What was recorded, as the simulator reads it: metadata only, no content.

use std::{collections::HashMap, sync::Arc, time::Duration};

use mainstay_base::{Class, Fault, Micros, Record, Usd, record::Outcome as Ending};

use crate::chain::Ask;

/// Calls in the order of their arrival, with the names they use written once.
#[derive(Clone, Debug, Default)]
pub struct Recording {
    pub(super) models: Vec<String>,
    pub(super) calls: Vec<Call>,
    targets: HashMap<(String, String), usize>,
}

/// One call to a logical model.
#[derive(Clone, Debug, Default)]
pub struct Call {
    pub at: Micros,
    /// Index into the recording's models; set by [`Recording::push`].
    pub model: usize,
    pub streams: bool,
    pub needs: Needs,
    /// What was granted in the end, by the caller or the policy.
    pub deadline: Option<Duration>,
    pub max_cost: Option<Usd>,
    pub attempts: Vec<Attempt>,
    pub ended: Ended,
}

/// What a call needs of its target, and what it used.
#[derive(Clone, Debug, Default)]
pub struct Needs {
    pub key: Option<Arc<str>>,
    pub region: Option<Arc<str>>,
    pub data_class: Option<Arc<str>>,
    pub input_tokens: u64,
    pub max_output_tokens: Option<u64>,
    /// Of the answer; taken for any target's.
    pub output_tokens: u64,
    pub tools: bool,
    pub vision: bool,
    pub structured_output: bool,
    pub keeps_model: bool,
}

impl Call {
    /// What it is estimated to take of a minute's grant.
    pub(super) fn tokens(&self) -> u64 {
        self.needs
            .input_tokens
            .saturating_add(self.needs.max_output_tokens.unwrap_or(self.needs.output_tokens))
    }
}

impl Needs {
    pub(super) fn ask(&self) -> Ask<'_> {
        Ask {
            key: self.key.as_deref().unwrap_or_default(),
            region: self.region.as_deref(),
            data_class: self.data_class.as_deref(),
            input_tokens: self.input_tokens,
            max_output_tokens: self.max_output_tokens,
            tools: self.tools,
            vision: self.vision,
            structured_output: self.structured_output,
            keeps_model: self.keeps_model,
            needs_responses: false,
        }
    }
}

/// One recorded attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// By [`Recording::target`].
    pub target: usize,
    pub at: Micros,
    pub outcome: Outcome,
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
    pub fn target(&mut self, provider: &str, model: &str) -> usize {
        let next = self.targets.len();
        *self.targets.entry((provider.to_owned(), model.to_owned())).or_insert(next)
    }

    pub(super) fn known(&self, provider: &str, model: &str) -> Option<usize> {
        self.targets.get(&(provider.to_owned(), model.to_owned())).copied()
    }

    /// By number.
    pub(super) fn target_names(&self) -> Vec<String> {
        let mut names = vec![String::new(); self.targets.len()];
        for ((provider, model), number) in &self.targets {
            names[*number] = format!("{provider}/{model}");
        }
        names
    }

    pub(super) fn target_count(&self) -> usize {
        self.targets.len()
    }

    /// Adds a call to this logical model. Any order: [`Recording::sort`] follows.
    pub fn push(&mut self, model: &str, mut call: Call) {
        // Few models, and mostly the same as just before.
        let known = self.models.iter().position(|known| known == model);
        call.model = known.unwrap_or_else(|| {
            self.models.push(model.to_owned());
            self.models.len() - 1
        });
        self.calls.push(call);
    }

    /// Adds a record of the model path. One without model or attempts (refused before it was routed, or shared with
    /// another call) tells nothing and is left out: `false`. A record does not say what a call demanded (tools, images,
    /// region, class of data), so every target counts as able to serve it; its tokens and its key are known.
    pub fn add(&mut self, record: &Record) -> bool {
        let Some(model) = record.model.as_deref().filter(|_| !record.attempts.is_empty()) else {
            return false;
        };
        let micros = Duration::from_micros;
        let attempts = record.attempts.iter().map(|attempt| Attempt {
            target: self.target(&attempt.upstream, attempt.model.as_deref().unwrap_or(model)),
            at: record.opened_at + micros(attempt.started_us),
            outcome: Outcome {
                class: attempt.class.or_else(|| attempt.error.as_ref().map(|_| Class::ServerError)),
                first_token: attempt.first_token_us.filter(|_| record.streamed).map(micros),
                took: micros(attempt.took_us),
                cost: attempt.cost.unwrap_or_default(),
            },
        });
        let attempts: Vec<Attempt> = attempts.collect();
        let how = match (record.outcome, attempts.last().and_then(|last| last.outcome.class)) {
            (Ending::Ok, _) => How::Well,
            (Ending::CallerGone, _) => How::CallersDoing,
            (Ending::Failed | Ending::Cut, last) => last.map_or(How::Failed, How::after),
        };
        let call = Call {
            at: record.opened_at,
            model: 0,
            streams: record.streamed,
            needs: Needs {
                key: record.key.as_deref().map(Arc::from),
                input_tokens: record.input_tokens.unwrap_or(0),
                output_tokens: record.output_tokens.unwrap_or(0),
                ..Needs::default()
            },
            deadline: record.deadline_us.map(micros),
            max_cost: record.max_cost,
            attempts,
            ended: Ended {
                how,
                first_token: record.first_token_us.map(micros).filter(|_| record.streamed),
                took: micros(record.took_us),
            },
        };
        self.push(model, call);
        true
    }

    /// Puts the calls in the order of their arrival.
    pub fn sort(&mut self) {
        self.calls.sort_by_key(|call| call.at);
    }

    pub fn calls(&self) -> &[Call] {
        &self.calls
    }
}
