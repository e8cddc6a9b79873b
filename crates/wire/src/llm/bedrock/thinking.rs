//! How the models behind Bedrock are told to think: each maker's in its own words.

use super::super::{Facts, Reasoning, Request, ToolChoice};

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
    // Claude does not think before a call that it is made to make.
    if matches!(request.tool_choice, Some(ToolChoice::Required | ToolChoice::Tool(_))) {
        return Thinking::None;
    }
    if claude_version(&request.model) >= Some((4, 6)) {
        return Thinking::ClaudeEffort(effort);
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

/// The numbers in `claude-opus-4-6-v1` and `claude-3-7-sonnet-20250219`; dates are no versions.
fn claude_version(model: &str) -> Option<(u32, u32)> {
    let (_, name) = model.rsplit_once("claude-")?;
    let mut numbers = name.split('-').filter(|word| word.len() <= 2).filter_map(|word| word.parse().ok());
    Some((numbers.next()?, numbers.next().unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_names() {
        for (model, version) in [
            ("eu.anthropic.claude-opus-4-6-v1", Some((4, 6))),
            ("anthropic.claude-sonnet-4-20250514-v1:0", Some((4, 0))),
            ("anthropic.claude-3-7-sonnet-20250219-v1:0", Some((3, 7))),
            ("anthropic.claude-opus-5", Some((5, 0))),
            ("anthropic.claude-v2:1", None),
            ("amazon.nova-pro-v1:0", None),
        ] {
            assert_eq!(claude_version(model), version, "{model}");
        }
    }
}
