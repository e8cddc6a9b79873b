//! How much a model may think, in the words of its generation.

use serde_json::{Map, Value, json};

use super::model::Generation;
use crate::llm::{Facts, Message, Part, Reasoning, Request, Role, ToolChoice, signature};

/// Taken when neither the caller nor the target says how long an answer may be.
const DEFAULT_MAX_TOKENS: u64 = 4096;
/// The dialect's own lower bound of a budget.
const MIN_BUDGET_TOKENS: u64 = 1024;

/// `max_tokens`, and what is said of thinking.
#[derive(Debug)]
pub(super) struct Allowance {
    pub(super) max_tokens: u64,
    pub(super) thinking: Option<Value>,
    pub(super) effort: Option<&'static str>,
}

impl Allowance {
    pub(super) fn of(request: &Request, facts: &Facts<'_>, generation: Generation) -> Allowance {
        let most = facts.max_output_tokens;
        let wanted = request.max_tokens.or(most).unwrap_or(DEFAULT_MAX_TOKENS).max(1);
        let max_tokens = most.map_or(wanted, |most| wanted.min(most));
        let silent = Allowance { max_tokens, thinking: None, effort: None };
        match wish(request) {
            None => silent,
            Some(_) if is_forced(request) => silent,
            Some(wish) if generation.thinks_adaptively() => adaptive(silent, wish, generation),
            Some(_) if lost_thoughts(&request.messages) => silent,
            Some(wish) => {
                let ceiling = if facts.is_maximum_firm { max_tokens } else { most.unwrap_or(u64::MAX) };
                budgeted(silent, wish.budget(), ceiling)
            }
        }
    }

    pub(super) fn thinks(&self) -> bool {
        self.thinking.is_some()
    }
}

#[derive(Clone, Copy, Debug)]
enum Wish {
    Effort(&'static str),
    Budget(u64),
}

/// Callers say an effort; those who know the dialect send its own `thinking`.
fn wish(request: &Request) -> Option<Wish> {
    if let Some(budget) = request.extra.get("thinking").and_then(|given| given.get("budget_tokens")?.as_u64())
    {
        return Some(Wish::Budget(budget));
    }
    match request.reasoning.as_ref()? {
        Reasoning::BudgetTokens(budget) => Some(Wish::Budget(*budget)),
        Reasoning::Effort(effort) => match effort.as_str() {
            "minimal" | "low" => Some(Wish::Effort("low")),
            "high" => Some(Wish::Effort("high")),
            "xhigh" | "max" => Some(Wish::Effort("max")),
            "none" => None,
            _ => Some(Wish::Effort("medium")),
        },
    }
}

impl Wish {
    fn budget(self) -> u64 {
        match self {
            Wish::Budget(tokens) => tokens,
            Wish::Effort("low") => 2048,
            Wish::Effort("medium") => 8192,
            Wish::Effort("high") => 16_384,
            Wish::Effort(_) => 32_768,
        }
    }

    fn effort(self) -> &'static str {
        match self {
            Wish::Effort(effort) => effort,
            Wish::Budget(0..=4096) => "low",
            Wish::Budget(4097..=12_288) => "medium",
            Wish::Budget(_) => "high",
        }
    }
}

fn adaptive(silent: Allowance, wish: Wish, generation: Generation) -> Allowance {
    let thinking = match generation.refuses_sampling() {
        true => json!({"type": "adaptive", "display": "summarized"}),
        false => json!({"type": "adaptive"}),
    };
    Allowance { thinking: Some(thinking), effort: Some(wish.effort()), ..silent }
}

/// The budget is part of `max_tokens` and must be smaller. The caller's maximum was meant for what it gets to see, so
/// the budget comes on top, as far as the ceiling goes.
fn budgeted(silent: Allowance, budget: u64, ceiling: u64) -> Allowance {
    let budget = budget.max(MIN_BUDGET_TOKENS);
    let max_tokens = match silent.max_tokens > budget {
        true => silent.max_tokens,
        false => ceiling.min(silent.max_tokens.saturating_add(budget)),
    };
    let budget = if budget < max_tokens { budget } else { max_tokens / 2 };
    if budget < MIN_BUDGET_TOKENS {
        return silent;
    }
    let thinking = json!({"type": "enabled", "budget_tokens": budget});
    Allowance { max_tokens, thinking: Some(thinking), effort: None }
}

/// No generation thinks before a call that it is made to make.
pub(in crate::llm) fn is_forced(request: &Request) -> bool {
    matches!(request.tool_choice, Some(ToolChoice::Required | ToolChoice::Tool(_)))
}

/// A budget does not go with a tool loop whose thoughts were not handed back.
pub(in crate::llm) fn lost_thoughts(messages: &[Message]) -> bool {
    let loop_start = messages.iter().rposition(|message| message.role == Role::User).unwrap_or(0);
    messages[loop_start..].iter().any(|message| {
        let calls = message.parts.iter().any(|part| matches!(part, Part::ToolCall(_)));
        let is_signed = message.parts.iter().any(|part| match part {
            Part::Reasoning { signature: Some(signature), .. } => signature::of_gemini(signature).is_none(),
            _ => false,
        });
        calls && !is_signed
    })
}

/// `temperature` and its kind, as far as the model takes them. OpenAI's scale ends at 2, this one at 1: what lies beyond
/// is taken as the end, because both ends mean the same.
pub(super) fn sampling(
    request: &Request,
    thinks: bool,
    generation: Generation,
    out: &mut Map<String, Value>,
) {
    if thinks || generation.refuses_sampling() {
        return;
    }
    if let Some(temperature) = request.temperature {
        out.insert("temperature".to_owned(), temperature.clamp(0.0, 1.0).into());
    }
    let one_is_enough = generation.takes_one_of_sampling() && request.temperature.is_some();
    if let Some(top_p) = request.top_p.filter(|_| !one_is_enough) {
        out.insert("top_p".to_owned(), top_p.into());
    }
    if let Some(top_k) = request.top_k.filter(|count| *count > 0) {
        out.insert("top_k".to_owned(), top_k.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowance(
        effort: &str,
        max_tokens: Option<u64>,
        most: Option<u64>,
        model: &str,
    ) -> (u64, Option<u64>) {
        let reasoning = Some(Reasoning::Effort(effort.to_owned()));
        let request = Request { reasoning, max_tokens, ..Request::default() };
        let facts = Facts { max_output_tokens: most, ..Facts::default() };
        let found = Allowance::of(&request, &facts, Generation::of(model));
        (found.max_tokens, found.thinking.and_then(|thinking| thinking["budget_tokens"].as_u64()))
    }

    #[test]
    fn a_budget_is_smaller_than_the_maximum() {
        let old = "claude-3-7-sonnet-20250219";
        assert_eq!(allowance("medium", Some(20_000), None, old), (20_000, Some(8192)));
        assert_eq!(allowance("medium", Some(1000), None, old), (9192, Some(8192)));
        assert_eq!(allowance("high", Some(1000), Some(8192), old), (8192, Some(4096)));
        assert_eq!(allowance("low", Some(500), Some(1500), old), (500, None), "no room to think");
        assert_eq!(allowance("none", None, None, old), (4096, None));
        assert_eq!(allowance("none", None, Some(64_000), old), (64_000, None));
    }

    #[test]
    fn younger_models_are_told_an_effort() {
        let reasoning = Some(Reasoning::Effort("high".to_owned()));
        let request = Request { reasoning, ..Request::default() };
        let found = Allowance::of(&request, &Facts::default(), Generation::of("claude-opus-4-7"));
        assert_eq!(
            (found.effort, found.thinking.unwrap()["type"].as_str()),
            (Some("high"), Some("adaptive"))
        );
    }
}
