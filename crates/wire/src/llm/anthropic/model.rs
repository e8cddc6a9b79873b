//! What the generations of Claude accept, by their names. Anything else that speaks the dialect gets its oldest form.

/// Major and minor version, as in `claude-opus-4-7`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::llm) struct Generation(u32, u32);

impl Generation {
    /// The oldest for names that are not Claude's.
    pub(in crate::llm) fn of(model: &str) -> Generation {
        let Some(at) = model.find("claude") else { return Generation(0, 0) };
        let mut numbers = model[at..]
            .split(['-', '.', '@', ':', '_'])
            // Dates have eight digits, versions one or two.
            .filter(|part| part.len() <= 2)
            .filter_map(|part| part.parse().ok());
        let major = numbers.next().unwrap_or(0);
        Generation(major, numbers.next().unwrap_or(0))
    }

    /// `thinking: {"type": "adaptive"}` with an effort, in place of a budget.
    pub(in crate::llm) fn thinks_adaptively(self) -> bool {
        self >= Generation(4, 6)
    }

    /// An assistant's turn at the end, to be continued, is refused.
    pub(in crate::llm) fn refuses_prefill(self) -> bool {
        self >= Generation(4, 6)
    }

    /// Temperature and its kind are refused, and thoughts are left out unless asked for.
    pub(in crate::llm) fn refuses_sampling(self) -> bool {
        self >= Generation(4, 7)
    }

    /// Either temperature or top_p.
    pub(in crate::llm) fn takes_one_of_sampling(self) -> bool {
        self >= Generation(4, 1)
    }

    /// `output_config.format`
    pub(in crate::llm) fn takes_schemas(self) -> bool {
        self >= Generation(4, 5)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generations_are_read_from_all_spellings_of_a_name() {
        for (name, expected) in [
            ("claude-3-5-sonnet-20241022", Generation(3, 5)),
            ("claude-opus-4-20250514", Generation(4, 0)),
            ("claude-haiku-4-5-20251001", Generation(4, 5)),
            ("anthropic/claude-opus-4.6", Generation(4, 6)),
            ("claude-opus-4-7", Generation(4, 7)),
            ("claude-sonnet-5", Generation(5, 0)),
            ("claude-sonnet-4@20250514", Generation(4, 0)),
            ("MiniMax-M2", Generation(0, 0)),
        ] {
            assert_eq!(Generation::of(name), expected, "{name}");
        }
    }
}
