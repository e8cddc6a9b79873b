//! One pass over a JSON body: what the gateway must know of it, and where in the bytes two things stand. No tree is
//! built, nothing is copied but two names.
//!
//! A field that is not known is read over, never refused. What is known must have its type and stand once: a body that
//! two readers could understand differently is sent to nobody.

use std::{borrow::Cow, fmt, ops::Range};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error as _, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use self::weigh::{Over, Shape, Weigh};
use super::tokens::Weight;

#[cfg(test)]
mod tests;
mod weigh;

/// Counts above it are no counts: beyond it not every reader knows every whole number.
const MAX_COUNT: f64 = 9_007_199_254_740_992.0;

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
    /// Texts at which the answer ends (`stop`) were named.
    pub(crate) stops: bool,
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
    Stop,
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
            "stop" => Key::Stop,
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
            Key::Stop => "stop",
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
            Key::Stop => found.stops = !matches!(raw.get(), "null" | "[]" | "\"\""),
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
