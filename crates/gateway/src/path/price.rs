//! What a call costs: exact, in whole micro-dollars, rounded up to the next one.

use mainstay_base::{Usd, snapshot::Price};
use mainstay_wire::llm::Usage;

use super::normalize::Asked;

/// Prices are for so many tokens.
const PRICED_TOKENS: i128 = 1_000_000;

/// What an answer is taken to have at most when nobody said: neither the caller nor the target.
pub(crate) const DEFAULT_MAX_OUTPUT_TOKENS: u64 = 4_096;

/// What a call costs at most, if its input is as long as estimated. `max_output` is for all answers together.
pub(crate) fn worst_case(price: &Price, input_tokens: u64, max_output: u64) -> Usd {
    // A cache may also be dearer than none.
    let input = price.input.max(price.cached_input.unwrap_or(price.input));
    exact(&[(input_tokens, input), (max_output, price.output)])
}

/// What a call cost. Tokens written to a cache cost what input costs.
pub(crate) fn cost(price: &Price, usage: &Usage) -> Usd {
    let Usage { input, output, cached_input, cache_write: _, reasoning: _, is_estimated: _ } = *usage;
    let cached = cached_input.unwrap_or(0).min(input);
    exact(&[
        (input - cached, price.input),
        (cached, price.cached_input.unwrap_or(price.input)),
        (output, price.output),
    ])
}

/// The most tokens that a call's answers have together, at a target that writes at most `target_max` in one.
pub(crate) fn max_output(asked: &Asked, target_max: Option<u64>) -> u64 {
    if !asked.endpoint.writes_text() {
        return 0;
    }
    let most = match (asked.max_output_tokens, target_max) {
        (Some(asked), Some(target)) => asked.min(target),
        (Some(most), None) | (None, Some(most)) => most,
        (None, None) => DEFAULT_MAX_OUTPUT_TOKENS,
    };
    most.saturating_mul(asked.choices)
}

fn exact(parts: &[(u64, Usd)]) -> Usd {
    // A product is below 2^64 × 2^63, so three of them fit in an i128 as they are.
    let sum: i128 =
        parts.iter().map(|(tokens, price)| i128::from(*tokens) * i128::from(price.0.max(0))).sum();
    let micros = (sum + PRICED_TOKENS - 1) / PRICED_TOKENS;
    Usd(i64::try_from(micros).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn price(input: i64, output: i64, cached: Option<i64>) -> Price {
        Price { input: Usd(input), output: Usd(output), cached_input: cached.map(Usd) }
    }

    fn usage(input: u64, output: u64, cached_input: Option<u64>) -> Usage {
        Usage { input, output, cached_input, ..Usage::default() }
    }

    #[test]
    fn bills_are_exact_and_round_up() {
        // $2.50, $10 and $1.25 for a million tokens.
        let known = price(2_500_000, 10_000_000, Some(1_250_000));
        for (used, micros) in [
            (usage(1000, 100, None), 2_500 + 1_000),
            (usage(1000, 100, Some(400)), 1_500 + 500 + 1_000),
            (usage(1, 0, None), 3),
            (usage(0, 0, None), 0),
            (usage(10, 0, Some(99)), 13),
            (usage(u64::MAX, u64::MAX, None), i64::MAX),
        ] {
            assert_eq!(cost(&known, &used), Usd(micros), "{used:?}");
        }
        assert_eq!(
            cost(&price(-5, -5, None), &usage(1000, 1000, None)),
            Usd::ZERO,
            "nobody is paid for asking"
        );
    }

    proptest! {
        #[test]
        fn no_bill_exceeds_its_worst_case(
            input in 0u64..1 << 40, output in 0u64..1 << 40, cached in 0u64..1 << 40,
            prices in (0i64..1 << 40, 0i64..1 << 40, proptest::option::of(0i64..1 << 40)),
        ) {
            let price = price(prices.0, prices.1, prices.2);
            let billed = cost(&price, &usage(input, output, Some(cached)));
            prop_assert!(billed <= worst_case(&price, input, output));
        }
    }
}
