//! Tokens of model calls, in the shape that Dify reports.

use serde_json::{Value, json};

/// What model calls used. Prices are unknown to the engine and reported as Dify reports an unpriced model.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    pub prompt_tokens: u64,
    pub completion_tokens: u64,
    pub total_tokens: u64,
    pub latency_s: f64,
    pub time_to_first_token_s: Option<f64>,
    pub time_to_generate_s: Option<f64>,
}

impl Usage {
    /// Sums tokens and latencies; the first call's time to first token stays.
    pub fn add(&mut self, other: &Usage) {
        let Usage {
            prompt_tokens,
            completion_tokens,
            total_tokens,
            latency_s,
            time_to_first_token_s,
            time_to_generate_s,
        } = other;
        self.prompt_tokens = self.prompt_tokens.saturating_add(*prompt_tokens);
        self.completion_tokens = self.completion_tokens.saturating_add(*completion_tokens);
        self.total_tokens = self.total_tokens.saturating_add(*total_tokens);
        self.latency_s += latency_s;
        self.time_to_first_token_s = self.time_to_first_token_s.or(*time_to_first_token_s);
        self.time_to_generate_s = match (self.time_to_generate_s, time_to_generate_s) {
            (Some(mine), Some(theirs)) => Some(mine + theirs),
            (mine, theirs) => mine.or(*theirs),
        };
    }

    /// Dify's `usage` object. Its prices are decimals written as strings.
    pub fn to_value(&self) -> Value {
        json!({
            "prompt_tokens": self.prompt_tokens,
            "prompt_unit_price": "0",
            "prompt_price_unit": "0",
            "prompt_price": "0",
            "completion_tokens": self.completion_tokens,
            "completion_unit_price": "0",
            "completion_price_unit": "0",
            "completion_price": "0",
            "total_tokens": self.total_tokens,
            "total_price": "0",
            "currency": "USD",
            "latency": milliseconds(self.latency_s),
            "time_to_first_token": self.time_to_first_token_s.map(milliseconds),
            "time_to_generate": self.time_to_generate_s.map(milliseconds),
        })
    }
}

/// Rounded to milliseconds, as Dify does.
fn milliseconds(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_keep_the_first_time_to_first_token() {
        let call = |first| Usage {
            prompt_tokens: 3,
            completion_tokens: 4,
            total_tokens: 7,
            latency_s: 0.5,
            time_to_first_token_s: first,
            time_to_generate_s: Some(0.25),
        };
        let mut sum = Usage::default();
        sum.add(&call(Some(0.1)));
        sum.add(&call(Some(0.9)));
        assert_eq!(
            (sum.total_tokens, sum.time_to_first_token_s, sum.time_to_generate_s),
            (14, Some(0.1), Some(0.5))
        );
        assert_eq!(sum.to_value()["latency"], 1.0);
        assert_eq!(sum.to_value()["total_price"], "0");
    }
}
