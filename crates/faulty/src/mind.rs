//! What is asked and what is said, whatever the dialect. The answer is a pure function of the question.

use std::sync::Arc;

/// A question, as far as an answer needs it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Question {
    pub model: String,
    /// The last system prompt.
    pub system: String,
    /// What the user said, oldest first.
    pub user: Vec<String>,
    /// Names of the tools that may be used.
    pub tools: Vec<String>,
    /// The tool that must be used.
    pub forced_tool: Option<String>,
    /// Results of tools that were used already.
    pub tool_results: Vec<String>,
    pub wants_json: bool,
    pub streams: bool,
    /// Whether a stream is to end with usage.
    pub wants_usage: bool,
    /// What the assistant said last, when the question ends with it.
    pub prefix: String,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Said {
    pub text: String,
    pub tool: Option<ToolUse>,
    pub input_tokens: u64,
    pub output_tokens: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ToolUse {
    pub name: String,
    /// JSON.
    pub arguments: String,
}

/// What a provider thinks with.
pub type Mind = Arc<dyn Fn(&Question) -> Said + Send + Sync>;

/// Says which model it is and repeats the last question. `[[tool]]` in it uses the first tool, `[[words:N]]` answers with
/// N words. A tool that must be used gets the question as `echo`. Tokens are words.
pub fn echo(question: &Question) -> Said {
    let last = question.user.last().cloned().unwrap_or_default();
    let forced = question.forced_tool.as_ref().map(|name| ToolUse {
        name: name.clone(),
        arguments: serde_json::json!({ "echo": last }).to_string(),
    });
    let asks = last.contains("[[tool]]") && question.tool_results.is_empty();
    let asked = question.tools.first().filter(|_| asks).map(|name| ToolUse {
        name: name.clone(),
        arguments: format!("{{\"city\":\"{}\"}}", question.model),
    });
    let tool = forced.or(asked);
    let text = match (&tool, words_wanted(&last)) {
        (Some(_), _) => String::new(),
        (None, Some(count)) => {
            (0..count).map(|number| format!("word{number} ")).collect::<String>().trim_end().to_owned()
        }
        (None, None) if question.wants_json => serde_json::json!({ "echo": last }).to_string(),
        (None, None) if !question.tool_results.is_empty() => {
            format!("The tool said: {}", question.tool_results.join("; "))
        }
        (None, None) => format!("Echo from {}: {last}", question.model),
    };
    let words = |text: &str| text.split_whitespace().count() as u64;
    Said {
        input_tokens: question.user.iter().map(|text| words(text)).sum::<u64>() + words(&question.system),
        output_tokens: words(&text).max(1),
        text,
        tool,
    }
}

fn words_wanted(text: &str) -> Option<usize> {
    const MOST: usize = 100_000;
    let (_, rest) = text.split_once("[[words:")?;
    let count: usize = rest.split_once("]]")?.0.parse().ok()?;
    Some(count.min(MOST))
}
