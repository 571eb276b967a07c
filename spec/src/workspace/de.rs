//! The tree to typed values, by serde. A value that wants its place is an [`At`].

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::value::{StrDeserializer, U64Deserializer};
use serde::de::{
    DeserializeOwned, DeserializeSeed, EnumAccess, Error as _, IntoDeserializer as _, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};
use serde::{Deserialize, Deserializer, forward_to_deserialize_any};

use super::node::{Key, Node, Place, Value};
use crate::{Diagnostic, FileId, Span};

/// What [`At`] asks the deserializer for.
const AT: &str = "$kairn::At";

/// A value with its place in the user's files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct At<T> {
    /// What was read.
    pub value: T,
    /// Where.
    pub place: Place,
}

impl<T> At<T> {
    /// Joins a value with its place.
    pub const fn new(value: T, place: Place) -> Self {
        Self { value, place }
    }
}

/// The entries of a table, in the order of the text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pairs<T>(pub Vec<(At<String>, T)>);

/// A value cannot be read.
#[derive(Clone, Debug)]
pub(super) struct Error {
    message: String,
    place: Option<Place>,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl serde::de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self { message: message.to_string(), place: None }
    }
}

impl Error {
    fn at(mut self, place: Place) -> Self {
        self.place = self.place.or(Some(place));
        self
    }
}

/// Reads a typed value.
pub(super) fn read<T: DeserializeOwned>(node: &Node) -> Result<T, Diagnostic> {
    T::deserialize(Reader(node))
        .map_err(|error| error.place.unwrap_or(node.place).error("invalid-value", error.message))
}

/// Reads a node.
#[derive(Clone, Copy)]
struct Reader<'n>(&'n Node);

impl<'de> Deserializer<'de> for Reader<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let result = match &self.0.value {
            Value::String(text) => visitor.visit_str(text),
            Value::Integer(number) => visitor.visit_i64(*number),
            Value::Float(number) => visitor.visit_f64(*number),
            Value::Boolean(value) => visitor.visit_bool(*value),
            Value::Array(items) => visitor.visit_seq(Items(items.iter())),
            Value::Table(table) => visitor.visit_map(Entries { left: table.0.iter(), value: None }),
        };
        result.map_err(|error| error.at(self.0.place))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        if name == AT {
            return visitor.visit_seq(Parts { place: self.0.place, of: Of::Node(self.0), next: 0 });
        }
        self.deserialize_any(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let error = |text: String| Error::custom(text).at(self.0.place);
        let (name, table) = match &self.0.value {
            Value::String(text) => (text.as_str(), None),
            // A table is of the kind that one of its keys names.
            Value::Table(table) => {
                let found = variants.iter().find(|name| table.get(name).is_some());
                let name = found.ok_or_else(|| error(format!("needs one of {}", variants.join(", "))))?;
                (*name, Some(self.0))
            }
            _ => return Err(error("should be a string or a table".to_owned())),
        };
        visitor.visit_enum(Variant { name, table }).map_err(|error| error.at(self.0.place))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq
        tuple map struct identifier ignored_any
    }
}

struct Items<'n>(std::slice::Iter<'n, Node>);

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        let read = |node: &Node| seed.deserialize(Reader(node)).map_err(|error| error.at(node.place));
        self.0.next().map(read).transpose()
    }
}

struct Entries<'n> {
    left: std::slice::Iter<'n, (Key, Node)>,
    value: Option<&'n Node>,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let Some((key, node)) = self.left.next() else { return Ok(None) };
        self.value = Some(node);
        seed.deserialize(KeyReader(key)).map(Some).map_err(|error| error.at(key.place))
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Error> {
        let node = self.value.take().ok_or_else(|| Error::custom("a value before its key"))?;
        seed.deserialize(Reader(node)).map_err(|error| error.at(node.place))
    }
}

/// Reads a key: its name, or with its place.
struct KeyReader<'n>(&'n Key);

impl<'de> Deserializer<'de> for KeyReader<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_str(&self.0.name)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_seq(Parts { place: self.0.place, of: Of::Key(self.0), next: 0 })
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple map struct enum identifier ignored_any
    }
}

/// What an [`At`] is read from: file, first and last byte, value.
struct Parts<'n> {
    place: Place,
    of: Of<'n>,
    next: usize,
}

#[derive(Clone, Copy)]
enum Of<'n> {
    Node(&'n Node),
    Key(&'n Key),
}

impl<'de> SeqAccess<'de> for Parts<'_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        let Place { file, span } = self.place;
        self.next += 1;
        let number = |number: u64| -> U64Deserializer<Error> { number.into_deserializer() };
        match (self.next, self.of) {
            (1, _) => seed.deserialize(number(u64::from(file.0))).map(Some),
            (2, _) => seed.deserialize(number(span.start as u64)).map(Some),
            (3, _) => seed.deserialize(number(span.end as u64)).map(Some),
            (4, Of::Node(node)) => seed.deserialize(Reader(node)).map(Some),
            (4, Of::Key(key)) => {
                let name: StrDeserializer<'_, Error> = key.name.as_str().into_deserializer();
                seed.deserialize(name).map(Some)
            }
            _ => Ok(None),
        }
    }
}

/// A name, or the table that it is a key of.
struct Variant<'n> {
    name: &'n str,
    table: Option<&'n Node>,
}

impl<'de> EnumAccess<'de> for Variant<'_> {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<(T::Value, Self), Error> {
        let name: StrDeserializer<'_, Error> = self.name.into_deserializer();
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        match self.table {
            None => Ok(()),
            Some(_) => Err(Error::custom(format!("`{}` stands alone", self.name))),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Error> {
        let table = self.table.ok_or_else(|| Error::custom(format!("`{}` needs a table", self.name)))?;
        seed.deserialize(Reader(table))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, _visitor: V) -> Result<V::Value, Error> {
        Err(Error::custom("a name with values"))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        _visitor: V,
    ) -> Result<V::Value, Error> {
        Err(Error::custom("a name with values"))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for At<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PartsVisitor<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for PartsVisitor<T> {
            type Value = At<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value with its place")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<At<T>, A::Error> {
                let missing = || A::Error::custom("a value without its place");
                let file: u32 = parts.next_element()?.ok_or_else(missing)?;
                let start: usize = parts.next_element()?.ok_or_else(missing)?;
                let end: usize = parts.next_element()?.ok_or_else(missing)?;
                let value = parts.next_element()?.ok_or_else(missing)?;
                Ok(At::new(value, Place { file: FileId(file), span: Span::new(start, end) }))
            }
        }
        deserializer.deserialize_tuple_struct(AT, 4, PartsVisitor(std::marker::PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for At<T> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        T::schema_name()
    }

    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Pairs<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PairsVisitor<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for PairsVisitor<T> {
            type Value = Pairs<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs<T>, A::Error> {
                let mut pairs = Vec::new();
                while let Some(key) = map.next_key()? {
                    pairs.push((key, map.next_value()?));
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(PairsVisitor(std::marker::PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for Pairs<T> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("Table_of_{}", T::schema_name()).into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let of = generator.subschema_for::<T>();
        schemars::json_schema!({ "type": "object", "additionalProperties": of })
    }
}
