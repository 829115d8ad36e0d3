//! What one configuration key is: its type, default, allowed values, when it may change and whether this
//! broker acts on it. It must never know where a value came from.

use std::collections::BTreeSet;

use super::java;
use super::value::Value;

/// One row of the table: everything that validation, DescribeConfigs and the reference page need to know about a key.
#[derive(Clone, Copy, Debug)]
pub struct ConfigKey {
    pub name: &'static str,
    pub kind: Kind,
    /// The text in `server.properties`. `None`: null, or the key must be set.
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
    /// Only for keys of topics and groups: the broker keys that supply the default, strongest first.
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

/// What a value has to satisfy beyond its type.
#[derive(Clone, Copy, Debug)]
pub enum Valid {
    Any,
    AtLeast(i64),
    Between(i64, i64),
    Ratio(f64, f64),
    OneOf(&'static [&'static str]),
    OneOfAnyCase(&'static [&'static str]),
    NonEmpty,
    /// A list without empty items. With an empty `of`, any item is allowed. Duplicates are removed.
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
    /// A broker key that does not count in `server.properties`: it can only be set dynamically.
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
    /// Valid, but without effect so far.
    Accepted,
    /// Only listeners with this protocol need the key. A node that has such a listener, or reaches other nodes through
    /// one, does not start (`Sockets`). Any other node ignores the key with a note; Kafka ignores it without one.
    NeededBy(&'static str),
    /// Any value but the default stops the start, because to ignore it would break what the key promises.
    Refused(&'static str),
}

/// A broker key that supplies the default of a topic key, and the factor between their units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Synonym {
    pub name: &'static str,
    pub times: i64,
}

impl ConfigKey {
    /// What the value must be: the end of an error line, and a cell of the reference page.
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

    /// Parses a value as Kafka does, ignoring the space around it. The error is [`Self::allowed`].
    pub fn parse(&self, text: &str) -> Result<Value, String> {
        let mut value = Value::parse(self.kind, java::trim(text));
        if let (Valid::Items { .. }, Some(Value::List(items))) = (self.valid, &mut value) {
            let mut seen = BTreeSet::new();
            items.retain(|item| seen.insert(item.clone()));
        }
        value.filter(|value| self.valid.admits(value)).ok_or_else(|| self.allowed())
    }

    /// The parsed default. A test checks that the table's defaults are valid.
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
            // NaN is in every range, as in Kafka.
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
    /// Kafka's name.
    pub fn name(self) -> &'static str {
        match self {
            UpdateMode::ReadOnly => "read-only",
            UpdateMode::PerBroker => "per-broker",
            UpdateMode::ClusterWide => "cluster-wide",
        }
    }
}
