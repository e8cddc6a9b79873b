//! How the models behind Bedrock are told to think: each maker's in its own words.

use super::super::{
    Facts, Reasoning, Request,
    anthropic::{
        model::Generation,
        thinking::{is_forced, lost_thoughts},
    },
};

/// Anthropic's least budget for thoughts.
const MIN_BUDGET: u64 = 1024;

/// A model that cannot be told, or not to, answers as it does by itself.
pub(super) enum Thinking {
    None,
    ClaudeBudget(u64),
    /// From 4.6 on the model finds its budget itself.
    ClaudeEffort(&'static str),
    OpenAiEffort(&'static str),
    NovaEffort(&'static str),
}

impl Thinking {
    pub(super) fn of(request: &Request, facts: &Facts<'_>) -> Thinking {
        let Some(reasoning) = &request.reasoning else { return Thinking::None };
        let model = request.model.as_str();
        let Some(effort) = effort(reasoning) else { return Thinking::None };
        if is_anthropic(model) {
            return claude(request, facts, reasoning, effort);
        }
        if model.contains("openai.") {
            return Thinking::OpenAiEffort(at_most_high(effort));
        }
        if model.contains("amazon.nova-2") {
            return Thinking::NovaEffort(at_most_high(effort));
        }
        Thinking::None
    }

    pub(super) fn is_anthropic(&self) -> bool {
        matches!(self, Thinking::ClaudeBudget(_) | Thinking::ClaudeEffort(_))
    }
}

fn claude(request: &Request, facts: &Facts<'_>, reasoning: &Reasoning, effort: &'static str) -> Thinking {
    if is_forced(request) {
        return Thinking::None;
    }
    if Generation::of(&request.model).thinks_adaptively() {
        return Thinking::ClaudeEffort(effort);
    }
    if lost_thoughts(&request.messages) {
        return Thinking::None;
    }
    let wanted = match (reasoning, effort) {
        (Reasoning::BudgetTokens(budget), _) => *budget,
        (_, "low") => 1024,
        (_, "medium") => 4096,
        _ => 16384,
    };
    // Thoughts count into the maximum; half of it stays for the answer.
    let room = request.max_tokens.or(facts.max_output_tokens).unwrap_or(u64::MAX);
    match wanted.max(MIN_BUDGET).min(room / 2) {
        budget if budget >= MIN_BUDGET => Thinking::ClaudeBudget(budget),
        _ => Thinking::None,
    }
}

/// `None`: no thoughts.
fn effort(reasoning: &Reasoning) -> Option<&'static str> {
    Some(match reasoning {
        Reasoning::BudgetTokens(0) => return None,
        Reasoning::BudgetTokens(1..2048) => "low",
        Reasoning::BudgetTokens(2048..8192) => "medium",
        Reasoning::BudgetTokens(_) => "high",
        Reasoning::Effort(effort) => match effort.as_str() {
            "none" => return None,
            "minimal" | "low" => "low",
            "medium" => "medium",
            "xhigh" => "xhigh",
            "max" => "max",
            _ => "high",
        },
    })
}

fn at_most_high(effort: &'static str) -> &'static str {
    if matches!(effort, "xhigh" | "max") { "high" } else { effort }
}

/// `anthropic.claude-…`, also behind a region (`eu.anthropic.…`) or in an ARN.
pub(super) fn is_anthropic(model: &str) -> bool {
    model.contains("anthropic.")
}
