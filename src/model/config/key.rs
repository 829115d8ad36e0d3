//! What one configuration key is: its type, default, allowed values, when it may change and whether this
//! broker acts on it. It must never know where a value came from.

use std::collections::BTreeSet;

use super::java;
use super::value::Value;

/// One row of the table: everything that validation, DescribeConfigs and the reference page say about a key.
#[derive(Clone, Copy, Debug)]
pub struct ConfigKey {
    pub name: &'static str,
    pub kind: Kind,
    /// As it would be written in `server.properties`; none means null, or that the key must be set.
    pub default: Option<&'static str>,
    /// There is no default: a broker cannot start without it.
    pub required: bool,
    pub valid: Valid,
    pub importance: Importance,
    pub update_mode: UpdateMode,
    pub scope: Scope,
    /// Kafka hides such keys from DescribeConfigs until they are set.
    pub internal: bool,
    /// The value is a secret: never shown, logged or described.
    pub sensitive: bool,
    pub support: Support,
    /// Keys of topics and groups only: the broker keys that supply the default, strongest first.
    pub broker_synonyms: &'static [Synonym],
    pub doc: &'static str,
}

/// Kafka's configuration types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Boolean,
    String,
    Int,
    Short,
    Long,
    Double,
    List,
    Class,
    Password,
}

/// What a value must satisfy beyond its type.
#[derive(Clone, Copy, Debug)]
pub enum Valid {
    Any,
    AtLeast(i64),
    Between(i64, i64),
    Ratio(f64, f64),
    OneOf(&'static [&'static str]),
    OneOfAnyCase(&'static [&'static str]),
    NonEmpty,
    /// A list without empty items; an empty `of` allows any item. An item that comes again is left out.
    Items {
        of: &'static [&'static str],
        empty: bool,
    },
    Custom {
        allowed: &'static str,
        check: fn(&Value) -> bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Importance {
    High,
    Medium,
    Low,
}

/// When a broker key may change: only at a restart, for one broker, or for one broker and all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpdateMode {
    ReadOnly,
    PerBroker,
    ClusterWide,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    Broker,
    /// A broker key that has no place in `server.properties`: it can only be set dynamically.
    DynamicBroker,
    Topic,
    Group,
    ClientMetrics,
}

/// What this broker does with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// The code acts on it.
    Honoured,
    /// Valid, but without effect yet.
    Accepted,
    /// Only listeners that speak this protocol need it. A node that has such a listener, or reaches others through
    /// one, does not start (`Sockets`); any other node passes the key over with a note, as Kafka does silently.
    NeededBy(&'static str),
    /// Set to anything but its default it stops the start: ignoring it would break what it promises.
    Refused(&'static str),
}

/// A broker key that supplies a topic key's default, and the factor from its unit to the topic key's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Synonym {
    pub name: &'static str,
    pub times: i64,
}

impl ConfigKey {
    /// What the value must be, as the end of an error line and as a cell of the reference page.
    pub fn allowed(&self) -> String {
        let kind = self.kind.allowed();
        match self.valid {
            Valid::Any => kind.to_owned(),
            Valid::AtLeast(min) => format!("{kind}, {min} or more"),
            Valid::Between(min, max) => format!("{kind} from {min} to {max}"),
            Valid::Ratio(min, max) => format!("{kind} from {min} to {max}"),
            Valid::OneOf(names) => format!("one of {}", names.join(", ")),
            Valid::OneOfAnyCase(names) => format!("one of {} in any case", names.join(", ")),
            Valid::NonEmpty => "a non-empty string".to_owned(),
            Valid::Items { of, empty } => {
                let list = if empty { "a list" } else { "a non-empty list" };
                let items = if of.is_empty() { String::new() } else { format!(" of {}", of.join(", ")) };
                format!("{list}{items} without empty items")
            }
            Valid::Custom { allowed, .. } => allowed.to_owned(),
        }
    }

    /// Reads a value as Kafka does: surrounding space is not part of it. The error is [`Self::allowed`].
    pub fn parse(&self, text: &str) -> Result<Value, String> {
        let mut value = Value::parse(self.kind, java::trim(text));
        if let (Valid::Items { .. }, Some(Value::List(items))) = (self.valid, &mut value) {
            let mut seen = BTreeSet::new();
            items.retain(|item| seen.insert(item.clone()));
        }
        value.filter(|value| self.valid.admits(value)).ok_or_else(|| self.allowed())
    }

    /// The parsed default. The table's own defaults are valid; a test sees to it.
    pub fn default_value(&self) -> Option<Value> {
        let text = self.default?;
        Some(
            Value::parse(self.kind, text)
                .unwrap_or_else(|| panic!("the default of {} is not a {:?}", self.name, self.kind)),
        )
    }
}

impl Kind {
    /// The codes of DescribeConfigs (KIP-569).
    pub fn code(self) -> i8 {
        match self {
            Kind::Boolean => 1,
            Kind::String => 2,
            Kind::Int => 3,
            Kind::Short => 4,
            Kind::Long => 5,
            Kind::Double => 6,
            Kind::List => 7,
            Kind::Class => 8,
            Kind::Password => 9,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Kind::Boolean => "boolean",
            Kind::String => "string",
            Kind::Int => "int",
            Kind::Short => "short",
            Kind::Long => "long",
            Kind::Double => "double",
            Kind::List => "list",
            Kind::Class => "class",
            Kind::Password => "password",
        }
    }

    fn allowed(self) -> &'static str {
        match self {
            Kind::Boolean => "true or false",
            Kind::String => "a string",
            Kind::Int => "a 32-bit whole number",
            Kind::Short => "a 16-bit whole number",
            Kind::Long => "a 64-bit whole number",
            Kind::Double => "a number",
            Kind::List => "a comma-separated list",
            Kind::Class => "a class name",
            Kind::Password => "a secret",
        }
    }
}

impl Valid {
    pub fn admits(&self, value: &Value) -> bool {
        match (*self, value) {
            (Valid::Any, _) => true,
            (Valid::AtLeast(min), value) => value.as_whole().is_some_and(|n| n >= min),
            (Valid::Between(min, max), value) => value.as_whole().is_some_and(|n| n >= min && n <= max),
            // As in Kafka, NaN is in every range.
            (Valid::Ratio(min, max), Value::Double(x)) => !(*x < min || *x > max),
            (Valid::OneOf(names), Value::String(s)) => names.contains(&s.as_str()),
            (Valid::OneOfAnyCase(names), Value::String(s)) => {
                names.iter().any(|n| n.to_uppercase() == s.to_uppercase())
            }
            (Valid::NonEmpty, Value::String(s)) => !s.is_empty(),
            (Valid::Items { of, empty }, Value::List(items)) => {
                (empty || !items.is_empty())
                    && items
                        .iter()
                        .all(|item| !item.is_empty() && (of.is_empty() || of.contains(&item.as_str())))
            }
            (Valid::Custom { check, .. }, value) => check(value),
            _ => false,
        }
    }
}

impl UpdateMode {
    /// Kafka's words.
    pub fn name(self) -> &'static str {
        match self {
            UpdateMode::ReadOnly => "read-only",
            UpdateMode::PerBroker => "per-broker",
            UpdateMode::ClusterWide => "cluster-wide",
        }
    }
}
