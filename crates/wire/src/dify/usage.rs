//! What a run cost in tokens, as Dify writes it beside an answer: prices are decimal strings.

use serde::{Deserialize, Serialize};

/// Dify's `LLMUsage`, in its order. Prices are zero as long as nobody tells what a model costs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    pub prompt_tokens: u64,
    pub prompt_unit_price: String,
    pub prompt_price_unit: String,
    pub prompt_price: String,
    pub completion_tokens: u64,
    pub completion_unit_price: String,
    pub completion_price_unit: String,
    pub completion_price: String,
    pub total_tokens: u64,
    pub total_price: String,
    pub currency: String,
    /// Seconds.
    pub latency: f64,
    /// Seconds; `None` when nothing was streamed.
    pub time_to_first_token: Option<f64>,
    pub time_to_generate: Option<f64>,
}

impl Default for Usage {
    fn default() -> Usage {
        Usage {
            prompt_tokens: 0,
            prompt_unit_price: "0.0".to_owned(),
            prompt_price_unit: "0.0".to_owned(),
            prompt_price: "0.0".to_owned(),
            completion_tokens: 0,
            completion_unit_price: "0.0".to_owned(),
            completion_price_unit: "0.0".to_owned(),
            completion_price: "0.0".to_owned(),
            total_tokens: 0,
            total_price: "0.0".to_owned(),
            currency: "USD".to_owned(),
            latency: 0.0,
            time_to_first_token: None,
            time_to_generate: None,
        }
    }
}
