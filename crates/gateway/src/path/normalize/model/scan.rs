//! One pass over a JSON body: what the gateway must know of it, and where in the bytes two things stand. No tree is
//! built, nothing is copied but two names.
//!
//! A field that is not known is read over, never refused. What is known must have its type and stand once: a body that
//! two readers could understand differently is sent to nobody.

use std::{borrow::Cow, fmt, ops::Range};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::tokens::Weight;

/// Counts above it are no counts: beyond it not every reader knows every whole number.
const MAX_COUNT: f64 = 9_007_199_254_740_992.0;
/// A `data:` URL of this length or more is a file in disguise, not a text that a model reads.
const LONG_DATA_URL_BYTES: usize = 256;

/// What a body says.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Scanned {
    pub(crate) model: Option<String>,
    pub(crate) spots: Spots,
    pub(crate) streams: bool,
    pub(crate) include_usage: bool,
    pub(crate) temperature: Option<f64>,
    /// Answers wanted; 1 unless said.
    pub(crate) choices: Option<u64>,
    pub(crate) max_output_tokens: Option<u64>,
    pub(crate) tools: bool,
    pub(crate) structured_output: bool,
    pub(crate) user: Option<String>,
    pub(crate) prompt: Weight,
}

/// Where things stand in the bytes, so that they can be replaced without reading the body again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Spots {
    /// The model's value, quotes included.
    pub(crate) model: Option<Range<usize>>,
    pub(crate) stream_options: Option<Range<usize>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// Not JSON, nested too deep, or not an object.
    Json(String),
    /// Not a form that every reader would read alike.
    Form(&'static str),
    /// A known field of the wrong type, or twice.
    Field { name: &'static str, why: &'static str },
}

pub(crate) fn scan(body: &[u8]) -> Result<Scanned, Unreadable> {
    let mut scan = Scan { body, found: Scanned::default(), seen: 0, wrong: None };
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let read = (&mut scan).deserialize(&mut deserializer).and_then(|()| deserializer.end());
    match (read, scan.wrong) {
        (Ok(()), _) => Ok(scan.found),
        (Err(_), Some(wrong)) => Err(wrong),
        (Err(error), None) => Err(Unreadable::Json(error.to_string())),
    }
}

/// The fields that decide something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    Model,
    Stream,
    StreamOptions,
    Temperature,
    Choices,
    MaxTokens,
    MaxCompletionTokens,
    MaxOutputTokens,
    Tools,
    Functions,
    ResponseFormat,
    Text,
    User,
    Messages,
    Input,
    Prompt,
    Instructions,
    Query,
    Documents,
    /// One of [`BINDING`], in another case.
    Misspelt,
    Other,
}

/// What a virtual key, a budget or the form of the answer hangs on.
const BINDING: [&str; 6] =
    ["model", "stream", "n", "max_tokens", "max_completion_tokens", "max_output_tokens"];

/// Readers written in Go (Ollama, LocalAI, many relays) take `Model`, and even `\u{17f}tream`, for the field itself, and
/// the last one wins: what was asked for would not be what was admitted.
fn is_misspelt(name: &str) -> bool {
    if name.len() > 2 * "max_completion_tokens".len() {
        return false;
    }
    let folded = || {
        name.chars().map(|letter| match letter {
            '\u{17f}' => 's',
            '\u{212a}' => 'k',
            letter => letter.to_ascii_lowercase(),
        })
    };
    BINDING.iter().any(|field| folded().eq(field.chars()))
}

impl Key {
    fn of(name: &str) -> Key {
        match name {
            "model" => Key::Model,
            "stream" => Key::Stream,
            "stream_options" => Key::StreamOptions,
            "temperature" => Key::Temperature,
            "n" => Key::Choices,
            "max_tokens" => Key::MaxTokens,
            "max_completion_tokens" => Key::MaxCompletionTokens,
            "max_output_tokens" => Key::MaxOutputTokens,
            "tools" => Key::Tools,
            "functions" => Key::Functions,
            "response_format" => Key::ResponseFormat,
            "text" => Key::Text,
            "user" => Key::User,
            "messages" => Key::Messages,
            "input" => Key::Input,
            "prompt" => Key::Prompt,
            "instructions" => Key::Instructions,
            "query" => Key::Query,
            "documents" => Key::Documents,
            name if is_misspelt(name) => Key::Misspelt,
            _ => Key::Other,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Key::Model => "model",
            Key::Stream => "stream",
            Key::StreamOptions => "stream_options",
            Key::Temperature => "temperature",
            Key::Choices => "n",
            Key::MaxTokens => "max_tokens",
            Key::MaxCompletionTokens => "max_completion_tokens",
            Key::MaxOutputTokens => "max_output_tokens",
            Key::Tools => "tools",
            Key::Functions => "functions",
            Key::ResponseFormat => "response_format",
            Key::Text => "text",
            Key::User => "user",
            Key::Messages => "messages",
            Key::Input => "input",
            Key::Prompt => "prompt",
            Key::Instructions => "instructions",
            Key::Query => "query",
            Key::Documents => "documents",
            Key::Misspelt => "the case of a field's name",
            Key::Other => "",
        }
    }
}

struct KeySeed;

impl<'de> DeserializeSeed<'de> for KeySeed {
    type Value = Key;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Key, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for KeySeed {
    type Value = Key;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a field's name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Key, E> {
        Ok(Key::of(name))
    }
}

/// The body as a whole.
struct Scan<'b> {
    body: &'b [u8],
    found: Scanned,
    /// One bit for each known key.
    seen: u32,
    /// Why the pass was broken off, when it was not JSON's fault.
    wrong: Option<Unreadable>,
}

impl<'de> DeserializeSeed<'de> for &mut Scan<'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for &mut Scan<'de> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        while let Some(key) = fields.next_key_seed(KeySeed)? {
            if key != Key::Other {
                let bit = 1 << key as u32;
                if self.seen & bit != 0 {
                    return Err(self.refuse(key, "is there twice"));
                }
                self.seen |= bit;
            }
            self.field(key, &mut fields)?;
        }
        Ok(())
    }
}

impl<'de> Scan<'de> {
    fn refuse<E: serde::de::Error>(&mut self, key: Key, why: &'static str) -> E {
        self.wrong = Some(Unreadable::Field { name: key.name(), why });
        E::custom(why)
    }

    fn field<A: MapAccess<'de>>(&mut self, key: Key, fields: &mut A) -> Result<(), A::Error> {
        match key {
            Key::Misspelt => {
                Err(self.refuse(key, "must be lower: some providers read such a field as the known one"))
            }
            Key::Other => fields.next_value_seed(Over),
            Key::Messages | Key::Input | Key::Prompt | Key::Instructions | Key::Query | Key::Documents => {
                let shape =
                    fields.next_value_seed(Weigh { weight: &mut self.found.prompt, is_schema: false })?;
                self.content(key, shape)
            }
            Key::Tools | Key::Functions => {
                let shape =
                    fields.next_value_seed(Weigh { weight: &mut self.found.prompt, is_schema: true })?;
                match shape {
                    Shape::Null | Shape::List(0) => {}
                    Shape::List(_) => self.found.tools = true,
                    Shape::Text | Shape::Scalar | Shape::Object => {
                        return Err(self.refuse(key, "must be a list"));
                    }
                }
                Ok(())
            }
            _ => {
                let raw: &'de RawValue = fields.next_value()?;
                self.small(key, raw).map_err(|why| match why {
                    Why::Field(why) => self.refuse(key, why),
                    Why::Json(error) => A::Error::custom(error),
                })
            }
        }
    }

    /// Content of the wrong type would not have been counted as what a provider makes of it.
    fn content<E: serde::de::Error>(&mut self, key: Key, shape: Shape) -> Result<(), E> {
        let why = match (key, shape) {
            (_, Shape::Null) | (Key::Messages | Key::Documents, Shape::List(_)) => return Ok(()),
            (Key::Messages | Key::Documents, _) => "must be a list",
            (Key::Instructions | Key::Query, Shape::Text) => return Ok(()),
            (Key::Instructions | Key::Query, Shape::List(_)) => return Ok(()),
            (Key::Input | Key::Prompt, Shape::Text | Shape::List(_)) => return Ok(()),
            // A stored prompt of the Responses API is named by an object; a query and an input may have parts.
            (Key::Prompt | Key::Query | Key::Input, Shape::Object) => return Ok(()),
            _ => "must be a text or a list",
        };
        Err(self.refuse(key, why))
    }

    fn small(&mut self, key: Key, raw: &'de RawValue) -> Result<(), Why> {
        let found = &mut self.found;
        match key {
            Key::Model => {
                found.model = name(raw)?;
                found.spots.model = found.model.is_some().then(|| spot(self.body, raw)).flatten();
            }
            Key::Stream => found.streams = flag(raw)?,
            Key::StreamOptions => {
                found.include_usage = include_usage(raw)?;
                found.spots.stream_options = spot(self.body, raw);
            }
            Key::Temperature => found.temperature = number(raw)?,
            Key::Choices => found.choices = count(raw)?,
            Key::MaxTokens | Key::MaxCompletionTokens | Key::MaxOutputTokens => {
                // Whoever says it twice in two spellings may get the larger one.
                found.max_output_tokens = found.max_output_tokens.max(count(raw)?);
            }
            Key::ResponseFormat => {
                found.structured_output |= is_structured(raw)?;
                weigh(raw, &mut found.prompt)?;
            }
            Key::Text => {
                found.structured_output |= text_is_structured(raw)?;
                weigh(raw, &mut found.prompt)?;
            }
            Key::User => found.user = user(raw)?,
            _ => {}
        }
        Ok(())
    }
}

/// Why a small field cannot be read.
enum Why {
    Field(&'static str),
    Json(serde_json::Error),
}

fn spot(body: &[u8], raw: &RawValue) -> Option<Range<usize>> {
    // The raw value borrows from `body`, so the distance of the two addresses is where it stands.
    let start = (raw.get().as_ptr() as usize).checked_sub(body.as_ptr() as usize)?;
    let end = start.checked_add(raw.get().len())?;
    (end <= body.len()).then_some(start..end)
}

fn read<'a, T: Deserialize<'a>>(raw: &'a RawValue, why: &'static str) -> Result<Option<T>, Why> {
    serde_json::from_str(raw.get()).map_err(|_| Why::Field(why))
}

fn name(raw: &RawValue) -> Result<Option<String>, Why> {
    let name: Option<Cow<'_, str>> = read(raw, "must be a text")?;
    match name {
        Some(name) if name.contains(char::is_control) => Err(Why::Field("has control characters in it")),
        name => Ok(name.map(Cow::into_owned)),
    }
}

fn user(raw: &RawValue) -> Result<Option<String>, Why> {
    let user: Option<Cow<'_, str>> = read(raw, "must be a text")?;
    // It is only kept for the records: an odd one is no reason to refuse.
    Ok(user.filter(|user| !user.is_empty() && !user.contains(char::is_control)).map(Cow::into_owned))
}

fn flag(raw: &RawValue) -> Result<bool, Why> {
    Ok(read(raw, "must be true or false")?.unwrap_or(false))
}

fn number(raw: &RawValue) -> Result<Option<f64>, Why> {
    read(raw, "must be a number")
}

/// A whole number that is not negative; `512.0` is one.
fn count(raw: &RawValue) -> Result<Option<u64>, Why> {
    let why = "must be a whole number that is not negative";
    match read::<f64>(raw, why)? {
        None => Ok(None),
        Some(count) if (0.0..=MAX_COUNT).contains(&count) && count.fract() == 0.0 => Ok(Some(count as u64)),
        Some(_) => Err(Why::Field(why)),
    }
}

fn include_usage(raw: &RawValue) -> Result<bool, Why> {
    #[derive(Deserialize)]
    struct Options {
        include_usage: Option<bool>,
    }
    let why = "must be an object whose include_usage is true or false";
    is_object_or_null(raw, why)?;
    let options: Option<Options> = read(raw, why)?;
    Ok(options.and_then(|options| options.include_usage).unwrap_or(false))
}

#[derive(Deserialize)]
struct Format<'a> {
    #[serde(rename = "type", borrow)]
    kind: Option<Cow<'a, str>>,
}

impl Format<'_> {
    fn is_structured(&self) -> bool {
        matches!(self.kind.as_deref(), Some("json_schema" | "json_object"))
    }
}

fn is_structured(raw: &RawValue) -> Result<bool, Why> {
    // Of images and speech the format is a word.
    if raw.get().starts_with('"') {
        return Ok(false);
    }
    let why = "must be an object whose type is a text";
    is_object_or_null(raw, why)?;
    Ok(read::<Format<'_>>(raw, why)?.is_some_and(|format| format.is_structured()))
}

/// `text` of the Responses API: `{"format": {"type": …}}`.
fn text_is_structured(raw: &RawValue) -> Result<bool, Why> {
    #[derive(Deserialize)]
    struct Text<'a> {
        #[serde(borrow)]
        format: Option<Format<'a>>,
    }
    if !raw.get().starts_with('{') {
        return Ok(false);
    }
    let text: Option<Text<'_>> = read(raw, "must be an object whose format has a type")?;
    Ok(text.and_then(|text| text.format).is_some_and(|format| format.is_structured()))
}

/// serde takes a list for a struct.
fn is_object_or_null(raw: &RawValue, why: &'static str) -> Result<(), Why> {
    match raw.get().as_bytes().first() {
        Some(b'{' | b'n') => Ok(()),
        _ => Err(Why::Field(why)),
    }
}

fn weigh(raw: &RawValue, weight: &mut Weight) -> Result<(), Why> {
    let mut deserializer = serde_json::Deserializer::from_str(raw.get());
    Weigh { weight, is_schema: true }.deserialize(&mut deserializer).map(drop).map_err(Why::Json)
}

/// Reads over a value, no deeper than serde_json goes (128).
struct Over;

/// Counts what a model would read of a value.
struct Weigh<'w> {
    weight: &'w mut Weight,
    /// Names of fields count, and an `image_url` is a name like any other.
    is_schema: bool,
}

/// What a value was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Null,
    Text,
    /// A number, true or false.
    Scalar,
    List(usize),
    Object,
}

impl<'de> DeserializeSeed<'de> for Over {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Over {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(Over)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        while fields.next_key::<IgnoredAny>()?.is_some() {
            fields.next_value_seed(Over)?;
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Weigh<'_> {
    type Value = Shape;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Shape, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Weigh<'_> {
    type Value = Shape;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Shape, E> {
        Ok(Shape::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Shape, E> {
        Ok(Shape::Scalar)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Shape, E> {
        self.weight.add_token();
        Ok(Shape::Scalar)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Shape, E> {
        self.weight.add_token();
        Ok(Shape::Scalar)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Shape, E> {
        self.weight.add_token();
        Ok(Shape::Scalar)
    }

    fn visit_str<E>(self, text: &str) -> Result<Shape, E> {
        match text.len() >= LONG_DATA_URL_BYTES && text.starts_with("data:") {
            true => self.weight.files += 1,
            false => self.weight.add_text(text),
        }
        Ok(Shape::Text)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Shape, A::Error> {
        let mut count = 0;
        let Weigh { weight, is_schema } = self;
        while items.next_element_seed(Weigh { weight: &mut *weight, is_schema })?.is_some() {
            count += 1;
        }
        Ok(Shape::List(count))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Shape, A::Error> {
        let Weigh { weight, is_schema } = self;
        while let Some(part) = fields.next_key_seed(PartSeed { weight: &mut *weight, is_schema })? {
            match part {
                Part::Plain => {
                    fields.next_value_seed(Weigh { weight: &mut *weight, is_schema })?;
                    continue;
                }
                Part::Image => weight.images += 1,
                Part::Sound => weight.sounds += 1,
                Part::File => weight.files += 1,
                Part::Role => weight.messages += 1,
            }
            fields.next_value_seed(Over)?;
        }
        Ok(Shape::Object)
    }
}

/// What the name of a field inside a message says of its value.
enum Part {
    Plain,
    Image,
    Sound,
    File,
    Role,
}

struct PartSeed<'w> {
    weight: &'w mut Weight,
    is_schema: bool,
}

impl<'de> DeserializeSeed<'de> for PartSeed<'_> {
    type Value = Part;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Part, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for PartSeed<'_> {
    type Value = Part;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a field's name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Part, E> {
        if self.is_schema {
            self.weight.add_text(name);
            return Ok(Part::Plain);
        }
        Ok(match name {
            "image_url" | "images" => Part::Image,
            "input_audio" => Part::Sound,
            "file" | "file_data" => Part::File,
            "role" => Part::Role,
            _ => Part::Plain,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(body: &str) -> Scanned {
        scan(body.as_bytes()).unwrap()
    }

    #[test]
    fn what_decides_something_is_found() {
        let body = r#"{ "messages": [{"role":"system","content":"Be brief."},
            {"role":"user","content":[{"type":"text","text":"What is this?"},
            {"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}}]}],
            "model" : "small", "stream":true,"stream_options":{"include_usage":true,"x":1},
            "temperature": 0, "n":2,"max_completion_tokens":50,"max_tokens":512.0,
            "tools":[{"type":"function","function":{"name":"f"}}],
            "response_format":{"type":"json_schema","json_schema":{"name":"a"}},
            "user":"u-1","unknown":{"deep":[1,2.5e10,null,"\u0000"]}}"#;
        let found = read(body);
        assert_eq!(found.model.as_deref(), Some("small"));
        let at = |spot: &Option<Range<usize>>| body.get(spot.clone().unwrap()).unwrap();
        assert_eq!(at(&found.spots.model), "\"small\"");
        assert_eq!(at(&found.spots.stream_options), r#"{"include_usage":true,"x":1}"#);
        assert!(found.streams && found.include_usage && found.tools && found.structured_output);
        assert_eq!(
            (found.temperature, found.choices, found.max_output_tokens),
            (Some(0.0), Some(2), Some(512))
        );
        assert_eq!(found.user.as_deref(), Some("u-1"));
        assert_eq!((found.prompt.messages, found.prompt.images), (2, 1));
        assert!(found.prompt.tokens() > 1200 && found.prompt.tokens() < 1300, "{}", found.prompt.tokens());
    }

    #[test]
    fn every_endpoints_prompt_is_weighed() {
        for (body, tokens) in [
            (r#"{"messages":[{"role":"user","content":"12345678"}]}"#, 6),
            (r#"{"prompt":["12345678","12345678"]}"#, 4),
            (r#"{"prompt":[1,2,3]}"#, 3),
            (r#"{"input":[[1,2],[3]]}"#, 3),
            (r#"{"input":"你好世界"}"#, 4),
            (r#"{"query":"1234","documents":["12345678",{"text":"1234"}]}"#, 4),
            (r#"{"instructions":"1234","input":[{"type":"message","role":"user","content":"1234"}]}"#, 8),
            (r#"{"messages":null,"tools":null,"user":null,"stream":null,"max_tokens":null}"#, 0),
        ] {
            assert_eq!(read(body).prompt.tokens(), tokens, "{body}");
        }
        let file = format!(r#"{{"input":"data:application/pdf;base64,{}"}}"#, "A".repeat(100_000));
        assert!(read(&file).prompt.tokens() < 5_000, "a file in disguise is not text");
    }

    #[test]
    fn structured_output_is_found_in_both_spellings() {
        for (body, expected) in [
            (r#"{"response_format":{"type":"json_object"}}"#, true),
            (r#"{"text":{"format":{"type":"json_schema","schema":{}}}}"#, true),
            (r#"{"response_format":{"type":"text"},"text":{"format":{"type":"text"}}}"#, false),
            (r#"{"response_format":"b64_json","text":"free"}"#, false),
            (r#"{"tools":[],"functions":[]}"#, false),
        ] {
            let found = read(body);
            assert_eq!((found.structured_output, found.tools), (expected, false), "{body}");
        }
    }

    #[test]
    fn a_known_field_of_the_wrong_type_or_twice_is_named() {
        for (body, field) in [
            (r#"{"model":7}"#, "model"),
            (r#"{"model":["a"]}"#, "model"),
            (r#"{"model":"a\u0000b"}"#, "model"),
            (r#"{"model":"a","model":"b"}"#, "model"),
            (r#"{"model":"a","mod\u0065l":"b"}"#, "model"),
            // Go's encoding/json takes these for `model`, `stream` and `max_tokens`.
            (r#"{"model":"a","MODEL":"b"}"#, "the case of a field's name"),
            (r#"{"model":"a","\u004dodel":"b"}"#, "the case of a field's name"),
            ("{\"model\":\"a\",\"\u{17f}tream\":true}", "the case of a field's name"),
            ("{\"model\":\"a\",\"max_to\u{212a}ens\":9}", "the case of a field's name"),
            (r#"{"model":"a","N":9}"#, "the case of a field's name"),
            (r#"{"stream":"true"}"#, "stream"),
            (r#"{"stream":1}"#, "stream"),
            (r#"{"stream_options":[true]}"#, "stream_options"),
            (r#"{"stream_options":{"include_usage":"yes"}}"#, "stream_options"),
            (r#"{"temperature":"0"}"#, "temperature"),
            (r#"{"n":-1}"#, "n"),
            (r#"{"max_tokens":1.5}"#, "max_tokens"),
            (r#"{"max_tokens":1e300}"#, "max_tokens"),
            (r#"{"max_tokens":1e999}"#, "max_tokens"),
            (r#"{"max_output_tokens":"9"}"#, "max_output_tokens"),
            (r#"{"max_tokens":1,"max_tokens":2}"#, "max_tokens"),
            (r#"{"messages":"hi"}"#, "messages"),
            (r#"{"messages":{}}"#, "messages"),
            (r#"{"input":5}"#, "input"),
            (r#"{"prompt":true}"#, "prompt"),
            (r#"{"tools":{}}"#, "tools"),
            (r#"{"response_format":[]}"#, "response_format"),
            (r#"{"user":5}"#, "user"),
            (r#"{"user":"a","user":"b"}"#, "user"),
        ] {
            match scan(body.as_bytes()) {
                Err(Unreadable::Field { name, .. }) => assert_eq!(name, field, "{body}"),
                other => panic!("{body}: {other:?}"),
            }
        }
    }

    #[test]
    fn what_is_not_json_is_refused_however_it_is_dressed() {
        let deep = format!(r#"{{"x":{}1{}}}"#, "[".repeat(200), "]".repeat(200));
        let deep_prompt = format!(r#"{{"messages":{}1{}}}"#, "[".repeat(200), "]".repeat(200));
        let endless = format!(r#"{{"x":{}"#, "[".repeat(1_000_000));
        for body in [
            "",
            "null",
            "[]",
            "\"a\"",
            "7",
            "{",
            "{\"model\":",
            "{\"model\":\"a\"} x",
            "{\"model\":\"a\"}{}",
            "\u{feff}{}",
            "{\"a\":1,}",
            "{'a':1}",
            "{\"a\":\"\u{0}\"}",
            "{\"a\":1e999}",
            "{\"a\":01}",
            "{\"a\":NaN}",
            "{\"a\":\"\\ud800\"}",
            &deep,
            &deep_prompt,
            &endless,
        ] {
            let short: String = body.chars().take(40).collect();
            assert!(matches!(scan(body.as_bytes()), Err(Unreadable::Json(_))), "{short}");
        }
        assert!(scan(b"{\"model\":\"\xff\"}").is_err());
        assert!(scan(b"{\"x\":\"\xff\"}").is_err());
    }

    #[test]
    fn nesting_ends_where_the_operators_page_says() {
        let most = crate::path::normalize::model::MAX_NESTING;
        for field in ["x", "messages"] {
            let nested =
                |depth: usize| format!(r#"{{"{field}":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
            assert!(scan(nested(most - 1).as_bytes()).is_ok(), "with the body itself that is {most}");
            assert!(matches!(scan(nested(most).as_bytes()), Err(Unreadable::Json(_))));
        }
    }

    #[test]
    fn what_is_not_known_is_never_a_reason_to_refuse() {
        let body =
            r#"{"model":"a","x":1,"x":2,"seed":"odd","User":5,"models":5,"metadata":{"a":[[[{}]]]},"":null}"#;
        assert_eq!(read(body).model.as_deref(), Some("a"));
        assert_eq!(read(r#"{"user":"a\u0007b"}"#).user, None, "an odd user is not kept, and not refused");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = scan(&body);
        }

        #[test]
        fn a_body_that_is_taken_has_the_same_model_for_a_strict_reader(
            body in "\\{(\"(model|stream|n|user|x|input)\":|\"a\"|\"\\\\u006dodel\":|[\\[\\]{},]|true|null|1e2|-1| ){0,12}\\}"
        ) {
            if let Ok(found) = scan(body.as_bytes()) {
                let strict: serde_json::Value = serde_json::from_str(&body).unwrap();
                prop_assert_eq!(found.model.as_deref(), strict["model"].as_str());
            }
        }

        #[test]
        fn a_name_is_found_where_it_stands(name in "[a-z\"\\\\é/ ]{0,20}", padding in "[ \\n\\t]{0,9}") {
            let quoted = serde_json::to_string(&name).unwrap();
            let body = format!("{{{padding}\"x\":{{\"model\":\"no\"}},\"model\":{padding}{quoted}{padding}}}");
            let found = scan(body.as_bytes()).unwrap();
            prop_assert_eq!(found.model.as_deref(), Some(name.as_str()));
            prop_assert_eq!(&body[found.spots.model.unwrap()], quoted);
        }
    }
}
