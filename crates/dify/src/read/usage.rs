//! What a model used, from the JSON texts that Dify keeps. They may be cut, offloaded or no JSON at all; then it is
//! not known.

use serde_json::Value;

/// Zero where it is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub total_tokens: i64,
    pub input_tokens: i64,
    pub output_tokens: i64,
    /// Billionths of a unit of the currency, which is as Dify has it; a model without prices gives 0 `USD`.
    pub price_nanos: i64,
    pub currency: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Model {
    /// `langgenius/openai_api_compatible/openai_api_compatible`.
    pub provider: String,
    pub name: String,
}

#[derive(serde::Deserialize)]
struct Metadata<'a> {
    #[serde(default)]
    total_tokens: Option<Value>,
    #[serde(default)]
    total_price: Option<Value>,
    #[serde(default, borrow)]
    currency: Option<std::borrow::Cow<'a, str>>,
}

/// Of a node's `execution_metadata`. `None` when it is no JSON object; what is in it and we do not know is passed over.
pub(super) fn of_metadata(text: &str) -> Option<Usage> {
    // A list would be taken for the fields in their order.
    if text.trim_start().starts_with('[') {
        return None;
    }
    // `null` is how an empty one is written by some versions.
    let Metadata { total_tokens, total_price, currency } = serde_json::from_str::<Option<Metadata<'_>>>(text)
        .ok()?
        .unwrap_or(Metadata { total_tokens: None, total_price: None, currency: None });
    Some(Usage {
        total_tokens: total_tokens.as_ref().and_then(whole).unwrap_or(0),
        price_nanos: total_price.as_ref().and_then(price).unwrap_or(0),
        currency: currency.map(std::borrow::Cow::into_owned).unwrap_or_default(),
        ..Usage::default()
    })
}

/// With what the end of `process_data` says of input and output.
pub(super) fn with_tail(mut usage: Usage, tail: &str) -> Usage {
    let Some(said) = object(tail, "\"usage\":") else { return usage };
    let number = |name: &str| said.get(name).and_then(whole).unwrap_or(0);
    usage.input_tokens = number("prompt_tokens");
    usage.output_tokens = number("completion_tokens");
    if usage.total_tokens == 0 {
        usage.total_tokens = number("total_tokens");
    }
    if usage.price_nanos == 0 {
        usage.price_nanos = said.get("total_price").and_then(price).unwrap_or(0);
    }
    if usage.currency.is_empty() {
        usage.currency = said.get("currency").and_then(Value::as_str).unwrap_or_default().to_owned();
    }
    usage
}

/// Which model it was. Quotes within prompts are escaped in the text, so that no prompt can look like these keys.
pub(super) fn model(tail: &str) -> Option<Model> {
    let word = |key: &str| {
        let (_, rest) = tail.rsplit_once(key)?;
        let (word, _) = rest.trim_start().strip_prefix('"')?.split_once('"')?;
        Some(word.to_owned())
    };
    let name = word("\"model_name\":")?;
    Some(Model { provider: word("\"model_provider\":").unwrap_or_default(), name })
}

/// A decimal as Python prints it: `0.000007050`, `7.05E-7`. In billionths; `None` for what is no amount.
pub(super) fn nanos(text: &str) -> Option<i64> {
    let amount: f64 = text.trim().parse().ok()?;
    let nanos = (amount * 1e9).round();
    #[expect(clippy::cast_possible_truncation, reason = "bounded by the condition")]
    let nanos = (0.0..9e18).contains(&nanos).then_some(nanos as i64);
    nanos
}

/// The flat object after the last `key`.
fn object(text: &str, key: &str) -> Option<Value> {
    let (_, rest) = text.rsplit_once(key)?;
    let end = rest.find('}')?;
    serde_json::from_str(rest[..=end].trim_start()).ok()
}

fn whole(value: &Value) -> Option<i64> {
    let number = value.as_i64().or_else(|| value.as_str().and_then(|text| text.parse().ok()));
    number.filter(|number| *number >= 0)
}

fn price(value: &Value) -> Option<i64> {
    match value {
        Value::String(text) => nanos(text),
        Value::Number(number) => nanos(&number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As recorded from 1.12.1.
    const TAIL: &str = r#"files": []}], "usage": {"prompt_tokens": 15, "prompt_unit_price": "0.15", "prompt_price_unit": "0.000001", "prompt_price": "0.000002250", "completion_tokens": 8, "completion_unit_price": "0.60", "completion_price_unit": "0.000001", "completion_price": "0.000004800", "total_tokens": 23, "total_price": "0.000007050", "currency": "USD", "latency": 6.102, "time_to_first_token": 6.082, "time_to_generate": 0.02}, "finish_reason": "stop", "model_provider": "langgenius/openai_api_compatible/openai_api_compatible", "model_name": "fake-chat"}"#;

    #[test]
    fn metadata_are_read_as_far_as_they_are_json() {
        let read = |text| {
            of_metadata(text).map(|usage| (usage.total_tokens, usage.price_nanos, usage.currency.clone()))
        };
        let recorded = r#"{"total_tokens": 23, "total_price": "0.000007050", "currency": "USD"}"#;
        assert_eq!(read(recorded), Some((23, 7050, "USD".to_owned())));
        assert_eq!(read(r#"{"total_price": 7.05E-7}"#), Some((0, 705, String::new())));
        assert_eq!(read(r#"{"total_tokens": "5", "iteration_id": {"a": [1]}}"#), Some((5, 0, String::new())));
        assert_eq!(read("{}"), Some((0, 0, String::new())));
        assert_eq!(read("null"), Some((0, 0, String::new())));
        for broken in ["", "{", "NaN", "[1]", "{\"total_tokens\": NaN}", "{\"currency\": 5}", "\u{0}"] {
            assert_eq!(read(broken), None, "{broken}");
        }
        assert_eq!(read(r#"{"total_tokens": -5, "total_price": "-1"}"#), Some((0, 0, String::new())));
        assert_eq!(read(r#"{"total_price": "1e300"}"#), Some((0, 0, String::new())));
    }

    #[test]
    fn the_end_of_process_data_tells_model_and_tokens() {
        let usage = with_tail(Usage::default(), TAIL);
        let expected = Usage {
            total_tokens: 23,
            input_tokens: 15,
            output_tokens: 8,
            price_nanos: 7050,
            currency: "USD".to_owned(),
        };
        assert_eq!(usage, expected);
        let provider = "langgenius/openai_api_compatible/openai_api_compatible".to_owned();
        assert_eq!(model(TAIL), Some(Model { provider, name: "fake-chat".to_owned() }));
        for (from, to) in [(0, 20), (200, 300), (0, TAIL.len() - 1)] {
            let _ = with_tail(Usage::default(), &TAIL[from..to]);
            let _ = model(&TAIL[from..to]);
        }
        // What a user typed is not taken for Dify's own word.
        assert_eq!(model(r#""prompts": [{"text": "{\"model_name\": \"evil\"}"}]"#), None);
    }
}
