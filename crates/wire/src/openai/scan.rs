//! A look at JSON without building anything: one pass, no allocation, and the bytes are checked on the way.
//!
//! A cursor accepts exactly what a JSON parser accepts, up to a depth, so that what it walked over is known to be JSON.

/// Deeper nesting is refused.
const MAX_DEPTH: u32 = 128;

/// Why a look ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// The bytes ended inside a value.
    Short,
    /// They are not JSON.
    Wrong,
}

type Look<T> = Result<T, Broken>;

#[derive(Clone, Debug)]
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    depth: u32,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Cursor<'a> {
        Cursor { bytes, at: 0, depth: 0 }
    }

    /// Where the next byte is read, white space skipped.
    pub(crate) fn position(&mut self) -> usize {
        self.skip_space();
        self.at
    }

    /// Where the last thing read ended.
    pub(crate) fn end_of_last(&self) -> usize {
        self.at
    }

    /// The first byte of the next value.
    pub(crate) fn peek(&mut self) -> Look<u8> {
        self.skip_space();
        self.bytes.get(self.at).copied().ok_or(Broken::Short)
    }

    /// Nothing but white space is left.
    pub(crate) fn at_end(&mut self) -> bool {
        self.skip_space();
        self.at == self.bytes.len()
    }

    /// Calls `field` with each name (as it is written, without quotes); `field` must read the value.
    pub(crate) fn object(
        &mut self,
        mut field: impl FnMut(&'a [u8], &mut Cursor<'a>) -> Look<()>,
    ) -> Look<()> {
        self.enter(b'{')?;
        if !self.takes(b'}')? {
            loop {
                let name = self.string()?;
                self.expect(b':')?;
                field(name, self)?;
                if !self.takes(b',')? {
                    self.expect(b'}')?;
                    break;
                }
            }
        }
        self.depth -= 1;
        Ok(())
    }

    /// Calls `item` for each; `item` must read the value.
    pub(crate) fn array(&mut self, mut item: impl FnMut(&mut Cursor<'a>) -> Look<()>) -> Look<()> {
        self.enter(b'[')?;
        if !self.takes(b']')? {
            loop {
                item(self)?;
                if !self.takes(b',')? {
                    self.expect(b']')?;
                    break;
                }
            }
        }
        self.depth -= 1;
        Ok(())
    }

    /// The inside of a string, escapes as they are written.
    pub(crate) fn string(&mut self) -> Look<&'a [u8]> {
        self.expect(b'"')?;
        let start = self.at;
        loop {
            self.at += plain_length(&self.bytes[self.at..]);
            match self.next()? {
                b'"' => return Ok(&self.bytes[start..self.at - 1]),
                b'\\' => self.escape()?,
                0..=0x1f => return Err(Broken::Wrong),
                _ => {}
            }
        }
    }

    /// Steps over a value and gives its bytes.
    pub(crate) fn skip(&mut self) -> Look<&'a [u8]> {
        let start = self.position();
        match self.peek()? {
            b'"' => self.string().map(drop)?,
            b'{' => self.object(|_, value| value.skip().map(drop))?,
            b'[' => self.array(|item| item.skip().map(drop))?,
            b't' => self.word(b"true")?,
            b'f' => self.word(b"false")?,
            b'n' => self.word(b"null")?,
            _ => self.number()?,
        }
        Ok(&self.bytes[start..self.at])
    }

    fn enter(&mut self, bracket: u8) -> Look<()> {
        if self.depth == MAX_DEPTH {
            return Err(Broken::Wrong);
        }
        self.depth += 1;
        self.expect(bracket)
    }

    fn skip_space(&mut self) {
        while matches!(self.bytes.get(self.at), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    fn next(&mut self) -> Look<u8> {
        let byte = self.bytes.get(self.at).copied().ok_or(Broken::Short)?;
        self.at += 1;
        Ok(byte)
    }

    fn expect(&mut self, wanted: u8) -> Look<()> {
        if self.takes(wanted)? { Ok(()) } else { Err(Broken::Wrong) }
    }

    fn takes(&mut self, wanted: u8) -> Look<bool> {
        let is_next = self.peek()? == wanted;
        self.at += usize::from(is_next);
        Ok(is_next)
    }

    fn escape(&mut self) -> Look<()> {
        match self.next()? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Ok(()),
            b'u' => {
                for _ in 0..4 {
                    if !self.next()?.is_ascii_hexdigit() {
                        return Err(Broken::Wrong);
                    }
                }
                Ok(())
            }
            _ => Err(Broken::Wrong),
        }
    }

    fn word(&mut self, word: &[u8]) -> Look<()> {
        for wanted in word {
            if self.next()? != *wanted {
                return Err(Broken::Wrong);
            }
        }
        Ok(())
    }

    fn number(&mut self) -> Look<()> {
        if self.bytes.get(self.at) == Some(&b'-') {
            self.at += 1;
        }
        match self.next()? {
            b'0' => {}
            b'1'..=b'9' => self.digits(),
            _ => return Err(Broken::Wrong),
        }
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.some_digits()?;
        }
        if let Some(b'e' | b'E') = self.bytes.get(self.at) {
            self.at += 1;
            if let Some(b'+' | b'-') = self.bytes.get(self.at) {
                self.at += 1;
            }
            self.some_digits()?;
        }
        Ok(())
    }

    fn some_digits(&mut self) -> Look<()> {
        if !self.next()?.is_ascii_digit() {
            return Err(Broken::Wrong);
        }
        self.digits();
        Ok(())
    }

    fn digits(&mut self) {
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
    }
}

/// Most names and many values end within it: a search that begins with so many bytes at a time costs more than they do.
const SHORT: usize = 16;
/// Bytes that are looked at together.
const STRIDE: usize = 64;

/// How many bytes at the start are nothing but themselves inside a JSON string.
fn plain_length(text: &[u8]) -> usize {
    let is_special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..=0x1f);
    let start = &text[..text.len().min(SHORT)];
    if let Some(at) = start.iter().position(is_special) {
        return at;
    }
    let rest = &text[start.len()..];
    let end = memchr::memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
    start.len() + control(&rest[..end]).unwrap_or(end)
}

/// Where the first control character stands.
fn control(text: &[u8]) -> Option<usize> {
    // Without an early way out a stride is done many bytes at a time.
    let has_one = |stride: &[u8]| stride.iter().fold(false, |found, byte| found | (*byte < 0x20));
    let stride = text.chunks(STRIDE).position(has_one)?;
    let before = stride * STRIDE;
    text[before..].iter().position(|byte| *byte < 0x20).map(|at| before + at)
}

/// How many characters a string has whose inside is written so. A pair of surrogates is one.
pub(crate) fn characters(inside: &[u8]) -> usize {
    let mut count = 0;
    let mut rest = inside;
    loop {
        let (plain, escape) = rest.split_at(memchr::memchr(b'\\', rest).unwrap_or(rest.len()));
        count += characters_of_utf8(plain);
        rest = match escape {
            [_, b'u', hex @ ..] => {
                let is_second_half = matches!(hex, [b'd' | b'D', b'c'..=b'f' | b'C'..=b'F', ..]);
                count += usize::from(!is_second_half);
                hex.get(4..).unwrap_or_default()
            }
            [_, _, rest @ ..] => {
                count += 1;
                rest
            }
            _ => return count,
        };
    }
}

fn characters_of_utf8(text: &[u8]) -> usize {
    // Bytes 10xxxxxx continue a character. So few are counted in one byte, many at a time.
    let begun = |stride: &[u8]| stride.iter().map(|byte| u8::from(byte & 0xc0 != 0x80)).sum::<u8>();
    text.chunks(STRIDE).map(|stride| usize::from(begun(stride))).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::de::IgnoredAny;

    use super::*;

    fn look(bytes: &[u8]) -> Look<()> {
        let mut cursor = Cursor::new(bytes);
        cursor.skip()?;
        if cursor.at_end() { Ok(()) } else { Err(Broken::Wrong) }
    }

    #[test]
    fn an_early_end_is_told_from_nonsense() {
        for (text, expected) in [
            (r#"{"a":[1,2.5e-3,"x\u00e9"],"b":null} "#, Ok(())),
            (r#"{"a":[1"#, Err(Broken::Short)),
            (r#"{"a":"hal"#, Err(Broken::Short)),
            ("tru", Err(Broken::Short)),
            ("", Err(Broken::Short)),
            ("<html>", Err(Broken::Wrong)),
            ("{'a':1}", Err(Broken::Wrong)),
            ("{} x", Err(Broken::Wrong)),
            ("01", Err(Broken::Wrong)),
            ("\"\u{1}\"", Err(Broken::Wrong)),
        ] {
            assert_eq!(look(text.as_bytes()), expected, "{text}");
        }
        assert_eq!(look(&[b'['; 1000]), Err(Broken::Wrong));
    }

    proptest! {
        #[test]
        fn what_a_parser_accepts_the_cursor_accepts(text in r#"[\[\]{}:,"\\a-f0-2.eEtrulns \-]{0,16}"#) {
            let parsed = serde_json::from_str::<IgnoredAny>(&text).is_ok();
            prop_assert_eq!(look(text.as_bytes()).is_ok(), parsed, "{}", text);
        }

        #[test]
        fn long_strings_are_read_as_a_parser_would(text in r#"[a-zé]{0,90}[\\"\x01é ]{0,2}[a-z]{0,90}"#) {
            let quoted = format!("\"{text}\"");
            let parsed = serde_json::from_str::<IgnoredAny>(&quoted).is_ok();
            prop_assert_eq!(look(quoted.as_bytes()).is_ok(), parsed, "{}", quoted);
        }

        #[test]
        fn characters_are_counted_as_a_parser_would(text in "\\PC{0,200}", escape_all in any::<bool>()) {
            let mut quoted = serde_json::to_string(&text).unwrap();
            if escape_all {
                let units: String = text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
                quoted = format!("\"{units}\"");
            }
            let inside = &quoted.as_bytes()[1..quoted.len() - 1];
            prop_assert_eq!(characters(inside), text.chars().count());
        }

        #[test]
        fn a_prefix_of_json_is_short_and_never_wrong(items in prop::collection::vec("[a-z\"\\\\]{0,4}", 1..5), cut in 0.0..1.0) {
            let text = serde_json::to_string(&serde_json::json!({"a": items, "b": {"c": [true, null]}})).unwrap();
            let end = (text.len() as f64 * cut) as usize;
            prop_assert_eq!(look(&text.as_bytes()[..end]), Err(Broken::Short));
        }
    }
}
