//! A parsed configuration value, parsed and printed as Kafka does. It must never know which key it belongs to.

use std::fmt;

use super::java;
use super::key::Kind;

#[derive(Clone, PartialEq)]
pub enum Value {
    Boolean(bool),
    String(String),
    Int(i32),
    Short(i16),
    Long(i64),
    Double(f64),
    List(Vec<String>),
    Class(String),
    Password(String),
}

impl Value {
    /// Parses `text` without the space around it. `None`: it is not a value of this kind.
    pub fn parse(kind: Kind, text: &str) -> Option<Value> {
        Some(match kind {
            Kind::Boolean => Value::Boolean(java::boolean(text)?),
            Kind::String => Value::String(text.to_owned()),
            Kind::Int => Value::Int(java::whole(text)?.try_into().ok()?),
            Kind::Short => Value::Short(java::whole(text)?.try_into().ok()?),
            Kind::Long => Value::Long(java::whole(text)?),
            Kind::Double => Value::Double(java::double(text)?),
            Kind::List => Value::List(java::items(text)),
            Kind::Class => Value::Class(text.to_owned()),
            Kind::Password => Value::Password(text.to_owned()),
        })
    }

    pub fn as_whole(&self) -> Option<i64> {
        match *self {
            Value::Int(n) => Some(n.into()),
            Value::Short(n) => Some(n.into()),
            Value::Long(n) => Some(n),
            _ => None,
        }
    }

    /// The text in DescribeConfigs. Never called for a secret: there the answer is null.
    pub fn to_text(&self) -> String {
        match self {
            Value::Boolean(b) => b.to_string(),
            Value::Int(n) => n.to_string(),
            Value::Short(n) => n.to_string(),
            Value::Long(n) => n.to_string(),
            Value::Double(x) => java::double_text(*x),
            Value::List(items) => items.join(","),
            Value::String(s) | Value::Class(s) => s.clone(),
            Value::Password(_) => HIDDEN.to_owned(),
        }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_text())
    }
}

/// Shown in place of a secret.
pub const HIDDEN: &str = "[hidden]";

/// How a typed field takes its value from the table. A mismatch is a bug in the table, not an error of the input.
pub(super) trait FromValue: Sized {
    fn from_value(value: Option<Value>) -> Option<Self>;
}

macro_rules! from_value {
    ($($variant:ident => $type:ty;)*) => {$(
        impl FromValue for $type {
            fn from_value(value: Option<Value>) -> Option<$type> {
                match value {
                    Some(Value::$variant(inner)) => Some(inner),
                    _ => None,
                }
            }
        }
    )*};
}

from_value! {
    Boolean => bool;
    String => String;
    Int => i32;
    Short => i16;
    Long => i64;
    Double => f64;
    List => Vec<String>;
}

impl<T: FromValue> FromValue for Option<T> {
    fn from_value(value: Option<Value>) -> Option<Option<T>> {
        match value {
            None => Some(None),
            value => T::from_value(value).map(Some),
        }
    }
}
