//! Token counts in OpenAI's words.

use serde_json::{Value, json};

use crate::{llm::Usage, openai};

pub(super) fn read(value: &Value) -> Option<Usage> {
    let told: openai::Usage = serde::Deserialize::deserialize(value).ok()?;
    Some(told.counted())
}

pub(super) fn write(usage: &Usage) -> Value {
    let Usage { input, output, cached_input, cache_write, reasoning, is_estimated } = *usage;
    let mut out = json!({"prompt_tokens": input, "completion_tokens": output, "total_tokens": usage.total()});
    if let Some(cached) = cached_input {
        out["prompt_tokens_details"]["cached_tokens"] = cached.into();
    }
    if let Some(written) = cache_write {
        out["prompt_tokens_details"]["cache_write_tokens"] = written.into();
    }
    if let Some(reasoning) = reasoning {
        out["completion_tokens_details"]["reasoning_tokens"] = reasoning.into();
    }
    if is_estimated {
        out["mainstay_estimated"] = true.into();
    }
    out
}
