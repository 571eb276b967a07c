//! Values that can be written in more than one way.

use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::de::{At, Pairs};

/// Text, written as a string, a number or a boolean.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scalar(pub String);

/// One string, or a list of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words(pub Vec<At<String>>);

/// A command line: text for a shell, or program and arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Text for the stage's shell.
    Shell(At<String>),
    /// Program and arguments.
    Exec(Vec<At<String>>),
}

/// Names of ARGs, some of them with a default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ArgNames(pub Vec<(At<String>, Option<At<Scalar>>)>);

/// A health check.
#[derive(Clone, Debug)]
pub enum Healthcheck {
    /// None, also where the base has one.
    None,
    /// A command.
    Check(Box<Check>),
}

/// A health check that is a command.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Check {
    /// Text for the shell, or program and arguments.
    pub cmd: Command,
    /// `--interval`, as `30s`.
    pub interval: Option<At<String>>,
    /// `--timeout`.
    pub timeout: Option<At<String>>,
    /// `--start-period`.
    pub start_period: Option<At<String>>,
    /// `--start-interval`.
    pub start_interval: Option<At<String>>,
    /// `--retries`.
    pub retries: Option<At<Scalar>>,
}

/// A number of bytes: `512MB`, or a number. As everywhere in Docker, units are powers of 1024.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size(pub u64);

/// A time: `90s`, `1h30m`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Duration(pub std::time::Duration);

/// What a value looks like before it is known what it means.
enum Raw<T> {
    Scalar(String),
    List(Vec<T>),
    Table(Pairs<At<Scalar>>),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Raw<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct RawVisitor<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for RawVisitor<T> {
            type Value = Raw<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, a number, a boolean, a list or a table")
            }

            fn visit_bool<E>(self, value: bool) -> Result<Raw<T>, E> {
                Ok(Raw::Scalar(value.to_string()))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Raw<T>, E> {
                Ok(Raw::Scalar(value.to_string()))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Raw<T>, E> {
                Ok(Raw::Scalar(value.to_string()))
            }

            fn visit_str<E>(self, value: &str) -> Result<Raw<T>, E> {
                Ok(Raw::Scalar(value.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Raw<T>, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = items.next_element()? {
                    list.push(item);
                }
                Ok(Raw::List(list))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw<T>, A::Error> {
                let mut pairs = Vec::new();
                while let Some(key) = map.next_key()? {
                    pairs.push((key, map.next_value()?));
                }
                Ok(Raw::Table(Pairs(pairs)))
            }
        }
        deserializer.deserialize_any(RawVisitor(PhantomData))
    }
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Raw::<serde::de::IgnoredAny>::deserialize(deserializer)? {
            Raw::Scalar(text) => Ok(Self(text)),
            Raw::List(_) | Raw::Table(_) => {
                Err(D::Error::custom("should be a string, a number or a boolean"))
            }
        }
    }
}

impl<'de> Deserialize<'de> for Words {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let At { value, place } = At::<Raw<At<String>>>::deserialize(deserializer)?;
        match value {
            Raw::Scalar(text) => Ok(Self(vec![At::new(text, place)])),
            Raw::List(list) => Ok(Self(list)),
            Raw::Table(_) => Err(D::Error::custom("should be a string or a list of strings")),
        }
    }
}

impl<'de> Deserialize<'de> for Command {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let At { value, place } = At::<Raw<At<String>>>::deserialize(deserializer)?;
        match value {
            Raw::Scalar(text) => Ok(Self::Shell(At::new(text, place))),
            Raw::List(list) => Ok(Self::Exec(list)),
            Raw::Table(_) => Err(D::Error::custom("should be a string or a list of strings")),
        }
    }
}

impl<'de> Deserialize<'de> for ArgNames {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let At { value, place } = At::<Raw<At<String>>>::deserialize(deserializer)?;
        Ok(Self(match value {
            Raw::Scalar(text) => vec![(At::new(text, place), None)],
            Raw::List(list) => list.into_iter().map(|name| (name, None)).collect(),
            Raw::Table(pairs) => pairs.0.into_iter().map(|(name, value)| (name, Some(value))).collect(),
        }))
    }
}

impl<'de> Deserialize<'de> for Healthcheck {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The tables of this form are told apart by the deserializer, which sees the whole value.
        #[derive(Deserialize)]
        #[serde(rename_all = "kebab-case")]
        enum Form {
            None,
            Cmd(Box<Check>),
        }
        Ok(match Form::deserialize(deserializer)? {
            Form::None => Self::None,
            Form::Cmd(check) => Self::Check(check),
        })
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Scalar(text) = Scalar::deserialize(deserializer)?;
        crate::dockerfile::parse_size(&text).map(Self).ok_or_else(|| {
            D::Error::custom(format!("`{text}` is not a size: write a number of bytes, or `512MB`"))
        })
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Scalar(text) = Scalar::deserialize(deserializer)?;
        let nanoseconds = crate::dockerfile::parse_duration(&text).and_then(|time| u64::try_from(time).ok());
        nanoseconds
            .filter(|time| *time > 0)
            .map(|time| Self(std::time::Duration::from_nanos(time)))
            .ok_or_else(|| {
                D::Error::custom(format!(
                    "`{text}` is not a time: write numbers with units, as `90s` or `1h30m`"
                ))
            })
    }
}

macro_rules! schema {
    ($type:ty, $name:literal, |$generator:ident| $schema:expr) => {
        impl JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                $name.into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema($generator: &mut SchemaGenerator) -> Schema {
                $schema
            }
        }
    };
}

schema!(Scalar, "Scalar", |_generator| json_schema!({ "type": ["string", "number", "boolean"] }));
schema!(Size, "Size", |_generator| json_schema!({ "type": ["string", "integer"] }));
schema!(Duration, "Duration", |_generator| json_schema!({ "type": "string" }));
schema!(Words, "Words", |_generator| json_schema!({
    "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }],
}));
schema!(Command, "Command", |_generator| json_schema!({
    "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }],
}));
schema!(ArgNames, "ArgNames", |_generator| json_schema!({
    "anyOf": [
        { "type": "string" },
        { "type": "array", "items": { "type": "string" } },
        { "type": "object", "additionalProperties": { "type": ["string", "number", "boolean"] } },
    ],
}));
schema!(Healthcheck, "Healthcheck", |generator| {
    let check = generator.subschema_for::<Check>();
    json_schema!({ "anyOf": [{ "const": "none" }, check] })
});
