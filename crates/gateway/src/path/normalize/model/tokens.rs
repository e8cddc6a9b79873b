//! How many tokens a prompt has, without its tokenizer: an estimate for choosing targets and for reserving money, never
//! for a bill that a provider's usage can settle.
//!
//! The rule, in quarters of a token for each character: ASCII 1, other letters of two bytes in UTF-8 (Latin with marks,
//! Greek, Cyrillic, Hebrew, Arabic) 2, of three bytes (Chinese, Japanese, Korean, Thai, …) 4, of four bytes (emoji)
//! 8. A message costs 4 tokens besides; an image, a sound and a file cost a flat number each, because their
//! size in bytes says little.

/// Between what OpenAI (765 for 1024 × 1024 in detail) and Anthropic (about 1600 for the same) count.
const IMAGE_TOKENS: u64 = 1_200;
/// Two and a half minutes at ten tokens a second.
const AUDIO_TOKENS: u64 = 1_500;
/// A document of one or two pages.
const FILE_TOKENS: u64 = 3_000;
const MESSAGE_TOKENS: u64 = 4;

/// What was counted of a prompt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Weight {
    quarters: u64,
    pub(crate) messages: u64,
    pub(crate) images: u64,
    pub(crate) sounds: u64,
    pub(crate) files: u64,
}

impl Weight {
    pub(crate) fn add_text(&mut self, text: &str) {
        self.quarters = self.quarters.saturating_add(quarters(text));
    }

    /// Text that is tokens already: embeddings and completions take their ids.
    pub(crate) fn add_token(&mut self) {
        self.quarters = self.quarters.saturating_add(4);
    }

    pub(crate) fn tokens(&self) -> u64 {
        let Weight { quarters, messages, images, sounds, files } = *self;
        of_quarters(quarters)
            .saturating_add(messages * MESSAGE_TOKENS)
            .saturating_add(images * IMAGE_TOKENS)
            .saturating_add(sounds * AUDIO_TOKENS)
            .saturating_add(files * FILE_TOKENS)
    }
}

/// What a text weighs, in quarters of a token.
pub(crate) fn quarters(text: &str) -> u64 {
    if text.is_ascii() {
        return text.len() as u64;
    }
    text.bytes().map(quarters_of_byte).sum()
}

/// Of one byte of UTF-8; one that continues a character was counted with its first.
pub(crate) fn quarters_of_byte(byte: u8) -> u64 {
    match byte {
        0x00..=0x7f => 1,
        0x80..=0xbf => 0,
        0xc0..=0xdf => 2,
        0xe0..=0xef => 4,
        0xf0..=0xff => 8,
    }
}

/// Of one unit of UTF-16, as JSON's escapes are; the two of a pair weigh what their character does.
pub(crate) fn quarters_of_unit(unit: u16) -> u64 {
    match unit {
        0x0000..=0x007f => 1,
        0x0080..=0x07ff => 2,
        0x0800..=0xffff => 4,
    }
}

/// Tokens of text that weighs so much.
pub(crate) fn of_quarters(quarters: u64) -> u64 {
    quarters.div_ceil(4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_weigh_by_their_script() {
        for (text, tokens) in [
            ("", 0),
            ("a", 1),
            ("Hello, world", 3),
            ("Привет", 3),
            ("你好世界", 4),
            ("こんにちは", 5),
            ("🙂", 2),
            ("naïve", 2),
        ] {
            let mut weight = Weight::default();
            weight.add_text(text);
            assert_eq!(weight.tokens(), tokens, "{text}");
        }
    }

    #[test]
    fn what_is_no_text_has_a_flat_weight() {
        let mut weight = Weight { messages: 2, images: 1, ..Weight::default() };
        weight.add_text("abcd");
        weight.add_token();
        assert_eq!(weight.tokens(), 2 + 2 * MESSAGE_TOKENS + IMAGE_TOKENS);
    }
}
