//! What an event says was used, under any of the names that it has.

use mainstay_wire::llm::Usage;
use serde::Deserialize;

/// Under OpenAI's older names and its newer ones; some say both.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Counts {
    prompt_tokens: Option<u64>,
    input_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    output_tokens: Option<u64>,
    prompt_tokens_details: Option<Details>,
    input_tokens_details: Option<Details>,
    completion_tokens_details: Option<Details>,
    output_tokens_details: Option<Details>,
    /// DeepSeek's word.
    prompt_cache_hit_tokens: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Details {
    cached_tokens: Option<u64>,
    reasoning_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct Counted {
    usage: Option<Counts>,
}

pub(super) fn usage(data: &[u8]) -> Option<Usage> {
    serde_json::from_slice::<Counted>(data).ok()?.usage.map(Counts::read)
}

pub(super) fn usage_of_response(data: &[u8]) -> Option<Usage> {
    #[derive(Deserialize)]
    struct Event {
        response: Counted,
    }
    serde_json::from_slice::<Event>(data).ok()?.response.usage.map(Counts::read)
}

impl Counts {
    fn read(self) -> Usage {
        let Counts {
            prompt_tokens,
            input_tokens,
            completion_tokens,
            output_tokens,
            prompt_tokens_details,
            input_tokens_details,
            completion_tokens_details,
            output_tokens_details,
            prompt_cache_hit_tokens,
        } = self;
        Usage {
            input: prompt_tokens.or(input_tokens).unwrap_or_default(),
            output: completion_tokens.or(output_tokens).unwrap_or_default(),
            cached_input: prompt_tokens_details
                .or(input_tokens_details)
                .and_then(|details| details.cached_tokens)
                .or(prompt_cache_hit_tokens),
            reasoning: completion_tokens_details
                .or(output_tokens_details)
                .and_then(|details| details.reasoning_tokens),
            ..Usage::default()
        }
    }
}
