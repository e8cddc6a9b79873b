//! Small questions to the inner form that every dialect asks.

use super::{Answer, Finish, Media, Part, ToolCall};

impl Media {
    /// A `data:` URL with base64 in it is data; every other one is a URL.
    pub fn of_url(url: &str) -> Media {
        let data = url.strip_prefix("data:").and_then(|rest| rest.split_once(";base64,"));
        match data {
            Some((media_type, base64)) => {
                // Parameters, as a charset, are nothing that a provider takes.
                let media_type = media_type.split(';').next().unwrap_or_default().trim();
                let media_type = if media_type == "image/jpg" { "image/jpeg" } else { media_type };
                Media::Data { media_type: media_type.to_owned(), base64: base64.to_owned() }
            }
            None => Media::Url(url.to_owned()),
        }
    }

    pub fn url(&self) -> String {
        match self {
            Media::Url(url) => url.clone(),
            Media::Data { media_type, base64 } => format!("data:{media_type};base64,{base64}"),
        }
    }
}

impl Part {
    pub fn text(&self) -> Option<&str> {
        match self {
            Part::Text(text) => Some(text),
            _ => None,
        }
    }

    pub fn refusal(&self) -> Option<&str> {
        match self {
            Part::Refusal(text) => Some(text),
            _ => None,
        }
    }

    pub fn tool_call(&self) -> Option<&ToolCall> {
        match self {
            Part::ToolCall(call) => Some(call),
            _ => None,
        }
    }

    /// Characters of what a model wrote here.
    pub fn chars(&self) -> usize {
        match self {
            Part::Text(text) | Part::Refusal(text) | Part::Reasoning { text, .. } => text.chars().count(),
            Part::ToolCall(call) => call.name.chars().count() + call.arguments.chars().count(),
            Part::Image { .. } | Part::Audio(_) | Part::File { .. } => 1,
            Part::ToolResult { parts, .. } => parts.iter().map(Part::chars).sum(),
        }
    }
}

impl Answer {
    /// The visible text of the first choice.
    pub fn text(&self) -> String {
        self.choices
            .first()
            .into_iter()
            .flat_map(|choice| choice.parts.iter().filter_map(Part::text))
            .collect()
    }

    /// Nothing was said, in no choice.
    pub fn is_empty(&self) -> bool {
        self.choices.iter().all(|choice| choice.parts.iter().all(|part| part.chars() == 0))
    }
}

impl Finish {
    pub fn of_openai(reason: &str) -> Finish {
        match reason {
            "stop" => Finish::Stop,
            "length" => Finish::Length,
            "tool_calls" | "function_call" => Finish::ToolCalls,
            "content_filter" => Finish::ContentFilter,
            other => Finish::Other(other.to_owned()),
        }
    }

    pub fn as_openai(&self) -> &str {
        match self {
            Finish::Stop => "stop",
            Finish::Length => "length",
            Finish::ToolCalls => "tool_calls",
            Finish::ContentFilter => "content_filter",
            Finish::Other(reason) => reason,
        }
    }
}
