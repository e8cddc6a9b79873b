//! How the generations of Gemini are told to think: not at all, by a budget, by a level.

use serde_json::{Value, json};

use super::super::Reasoning;

/// Major and minor version, as in `gemini-2.5-flash`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Generation(u32, u32);

impl Generation {
    /// `None` for names that are not Gemini's.
    pub(super) fn of(model: &str) -> Option<Generation> {
        let name = model.rsplit('/').next().unwrap_or(model).strip_prefix("gemini-")?;
        let mut numbers = name.split('-').next()?.split('.').map(str::parse);
        let major = numbers.next()?.ok()?;
        Some(Generation(major, numbers.next().and_then(Result::ok).unwrap_or(0)))
    }

    /// Calls must be signed, thinking has levels, results may hold media, and JSON goes with tools.
    pub(super) fn is_third(model: &str) -> bool {
        Generation::of(model).is_some_and(|generation| generation >= Generation(3, 0))
    }
}

/// `thinkingConfig`; `None`: the model does not know it and refuses it.
pub(super) fn config(reasoning: &Reasoning, model: &str) -> Option<Value> {
    let generation = Generation::of(model);
    if generation.is_some_and(|generation| generation < Generation(2, 5)) {
        return None;
    }
    Some(match Generation::is_third(model) {
        true => level(reasoning, model, generation),
        false => budget(reasoning, model),
    })
}

/// These models cannot be told not to think; the least is `minimal`, of the pro models `low`. The first pro knows
/// nothing between `low` and `high`.
fn level(reasoning: &Reasoning, model: &str, generation: Option<Generation>) -> Value {
    let effort = match reasoning {
        Reasoning::Effort(effort) => effort.as_str(),
        Reasoning::BudgetTokens(0) => "none",
        Reasoning::BudgetTokens(1..=4096) => "low",
        Reasoning::BudgetTokens(4097..=12_288) => "medium",
        Reasoning::BudgetTokens(_) => "high",
    };
    let is_first_pro = generation == Some(Generation(3, 0)) && model.contains("pro");
    match effort {
        "none" | "minimal" => {
            json!({"thinkingLevel": if model.contains("flash") { "minimal" } else { "low" }})
        }
        "low" => json!({"thinkingLevel": "low", "includeThoughts": true}),
        "medium" if !is_first_pro => json!({"thinkingLevel": "medium", "includeThoughts": true}),
        _ => json!({"thinkingLevel": "high", "includeThoughts": true}),
    }
}

/// The budgets are those of Google's own OpenAI endpoint, within what each model takes.
fn budget(reasoning: &Reasoning, model: &str) -> Value {
    let wanted = match reasoning {
        Reasoning::BudgetTokens(budget) => *budget,
        Reasoning::Effort(effort) => match effort.as_str() {
            "none" => 0,
            "minimal" | "low" => 1024,
            "medium" => 8192,
            _ => 24_576,
        },
    };
    let (least, most) = match model {
        model if model.contains("flash-lite") => (512, 24_576),
        model if model.contains("flash") => (1, 24_576),
        model if model.contains("pro") => (128, 32_768),
        _ => (1, 24_576),
    };
    match wanted {
        // Only the pro models cannot be told not to think.
        0 if least != 128 => json!({"thinkingBudget": 0}),
        0 => json!({"thinkingBudget": least}),
        wanted => json!({"thinkingBudget": wanted.clamp(least, most), "includeThoughts": true}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(effort: &str, model: &str) -> String {
        let reasoning = match effort.parse() {
            Ok(tokens) => Reasoning::BudgetTokens(tokens),
            Err(_) => Reasoning::Effort(effort.to_owned()),
        };
        match config(&reasoning, model) {
            None => "-".to_owned(),
            Some(config) => {
                let said = config.get("thinkingBudget").or_else(|| config.get("thinkingLevel"));
                said.map(|said| said.to_string().replace('"', "")).unwrap_or_default()
            }
        }
    }

    #[test]
    fn every_model_is_told_what_it_takes() {
        for (effort, model, expected) in [
            ("high", "gemini-2.0-flash", "-"),
            ("high", "gemini-1.5-pro", "-"),
            ("none", "gemini-2.5-flash", "0"),
            ("none", "gemini-2.5-pro", "128"),
            ("0", "gemini-2.5-pro-preview-06-05", "128"),
            ("100", "models/gemini-2.5-flash-lite", "512"),
            ("32768", "gemini-2.5-flash", "24576"),
            ("64000", "gemini-2.5-pro", "32768"),
            ("medium", "gemini-flash-latest", "8192"),
            ("medium", "gemini-3-pro-preview", "high"),
            ("medium", "gemini-3.1-pro-preview", "medium"),
            ("minimal", "gemini-3.1-pro-preview", "low"),
            ("0", "gemini-3-flash-preview", "minimal"),
            ("10000", "gemini-3-flash-preview", "medium"),
        ] {
            assert_eq!(shown(effort, model), expected, "{effort} of {model}");
        }
    }
}
