//! What a model would read of a value, counted while it is read over, or read over alone. No deeper than serde_json
//! goes (128).

use std::fmt;

use serde::{
    Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use super::Weight;

/// A `data:` URL of this length or more is a file in disguise, not a text that a model reads.
const LONG_DATA_URL_BYTES: usize = 256;

/// Reads over a value, no deeper than serde_json goes (128).
pub(super) struct Over;

/// Counts what a model would read of a value.
pub(super) struct Weigh<'w> {
    pub(super) weight: &'w mut Weight,
    /// Names of fields count, and an `image_url` is a name like any other.
    pub(super) is_schema: bool,
}

/// What a value was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
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
