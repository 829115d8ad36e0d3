//! Command-line options as Kafka's tools take them: `--name value` or `--name=value`, a single dash too, and
//! any beginning of a name that only one option has. It must never know what an option means.

use crate::line::line_of;
use anyhow::Error;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::str::FromStr;

/// Why a tool ends early: both are printed, with exit code 0 and 1.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Help or version, which were asked for.
    Asked(String),
    /// Anything that went wrong.
    Wrong(String),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Wrong(line_of(&error))
    }
}

impl From<ottla_client::ClientError> for Failure {
    fn from(error: ottla_client::ClientError) -> Failure {
        Failure::Wrong(error.to_string())
    }
}

/// An option of a tool.
pub(crate) struct Spec {
    /// The long name, and the one letter that stands for it, if there is one.
    pub(crate) name: &'static str,
    pub(crate) letter: Option<char>,
    /// What its argument is called; `None` for a flag.
    pub(crate) argument: Option<&'static str>,
    pub(crate) about: &'static str,
}

impl Spec {
    pub(crate) const fn flag(name: &'static str, about: &'static str) -> Spec {
        Spec { name, letter: None, argument: None, about }
    }

    pub(crate) const fn value(name: &'static str, argument: &'static str, about: &'static str) -> Spec {
        Spec { name, letter: None, argument: Some(argument), about }
    }

    pub(crate) const fn or(self, letter: char) -> Spec {
        Spec { letter: Some(letter), ..self }
    }
}

/// A tool, or one of its commands.
pub(crate) struct Tool {
    pub(crate) about: &'static str,
    pub(crate) options: &'static [Spec],
}

/// What was given.
#[derive(Debug)]
pub(crate) struct Given {
    usage: String,
    values: BTreeMap<&'static str, Vec<String>>,
}

const VERSION: &str = env!("CARGO_PKG_VERSION");

impl Tool {
    /// Reads arguments. None at all, `--help` and `--version` end the tool.
    pub(crate) fn parse(&self, args: &[String]) -> Result<Given, Failure> {
        if args.is_empty() {
            return Err(Failure::Wrong(self.usage()));
        }
        let mut given = Given { usage: self.usage(), values: BTreeMap::new() };
        let mut rest = args.iter();
        while let Some(arg) = rest.next() {
            let Some(bare) =
                arg.strip_prefix("--").or_else(|| arg.strip_prefix('-')).filter(|bare| !bare.is_empty())
            else {
                return Err(given.wrong(format!("{arg} is not an option")));
            };
            let (name, attached) = match bare.split_once('=') {
                Some((name, value)) => (name, Some(value.to_string())),
                None => (bare, None),
            };
            match self.find(name) {
                Ok(Some(spec)) if spec.argument.is_some() => {
                    let value = attached.or_else(|| rest.next().cloned());
                    let value = value.ok_or_else(|| given.wrong(format!("--{name} needs a value")))?;
                    given.values.entry(spec.name).or_default().push(value);
                }
                Ok(Some(spec)) => given.values.entry(spec.name).or_default().push(String::new()),
                Ok(None) if name == "help" || name == "h" => return Err(Failure::Asked(self.usage())),
                Ok(None) if name == "version" => return Err(Failure::Asked(VERSION.into())),
                Ok(None) => return Err(given.wrong(format!("there is no option --{name}"))),
                Err(several) => {
                    return Err(given.wrong(format!("--{name} may be one of {several}")));
                }
            }
        }
        Ok(given)
    }

    fn find(&self, name: &str) -> Result<Option<&'static Spec>, String> {
        let is =
            |spec: &&Spec| spec.name == name || spec.letter.is_some_and(|letter| name.chars().eq([letter]));
        if let Some(spec) = self.options.iter().find(is) {
            return Ok(Some(spec));
        }
        let begun: Vec<&'static Spec> =
            self.options.iter().filter(|spec| spec.name.starts_with(name)).collect();
        match begun[..] {
            [] => Ok(None),
            [spec] => Ok(Some(spec)),
            _ => Err(begun.iter().map(|spec| spec.name).collect::<Vec<_>>().join(", ")),
        }
    }

    fn usage(&self) -> String {
        let mut usage = format!("{}\n{:<44} Description\n{:<44} -----------", self.about, "Option", "------");
        let name = |spec: &Spec| match (spec.letter, spec.argument) {
            (Some(letter), Some(argument)) => format!("-{letter}, --{} <{argument}>", spec.name),
            (Some(letter), None) => format!("-{letter}, --{}", spec.name),
            (None, Some(argument)) => format!("--{} <{argument}>", spec.name),
            (None, None) => format!("--{}", spec.name),
        };
        for spec in self.options {
            // Writing to a string does not fail.
            let _ = write!(usage, "\n{:<44} {}", name(spec), spec.about);
        }
        usage + "\n--help                                       Print usage information."
    }
}

impl Given {
    pub(crate) fn has(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// All values of an option that may be repeated.
    pub(crate) fn all(&self, name: &str) -> &[String] {
        self.values.get(name).map_or(&[], Vec::as_slice)
    }

    /// The value of an option that may be given once.
    pub(crate) fn one(&self, name: &str) -> Result<Option<&str>, Failure> {
        match self.all(name) {
            [] => Ok(None),
            [value] => Ok(Some(value)),
            several => {
                Err(self.wrong(format!("--{name} may be given once; it was given as {}", several.join(", "))))
            }
        }
    }

    /// The same as a number or another type that is written as text.
    pub(crate) fn parsed<T: FromStr>(&self, name: &str) -> Result<Option<T>, Failure> {
        let parse =
            |text: &str| text.trim().parse().map_err(|_| self.wrong(format!("--{name} cannot be '{text}'")));
        self.one(name)?.map(parse).transpose()
    }

    pub(crate) fn required(&self, name: &str) -> Result<&str, Failure> {
        self.one(name)?.ok_or_else(|| self.wrong(format!("--{name} is missing")))
    }

    /// An option that makes no sense together with others.
    pub(crate) fn excludes(&self, name: &str, others: &[&str]) -> Result<(), Failure> {
        match others.iter().find(|other| self.has(name) && self.has(other)) {
            Some(other) => Err(self.wrong(format!("--{name} does not go together with --{other}"))),
            None => Ok(()),
        }
    }

    /// `key=value` pairs of an option that may be repeated; the last one counts.
    pub(crate) fn pairs(&self, names: &[&str]) -> BTreeMap<String, String> {
        let pairs = names.iter().flat_map(|name| self.all(name));
        pairs
            .map(|pair| match pair.split_once('=') {
                Some((key, value)) => (key.to_string(), value.to_string()),
                None => (pair.clone(), String::new()),
            })
            .collect()
    }

    /// An error with the tool's usage below it.
    pub(crate) fn wrong(&self, message: impl Into<String>) -> Failure {
        Failure::Wrong(format!("{}\n{}", message.into(), self.usage))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOOL: Tool = Tool {
        about: "A tool.",
        options: &[
            Spec::value("topic", "topic", "A topic."),
            Spec::value("topic-id", "id", "An id."),
            Spec::flag("list", "Lists."),
            Spec::value("config", "key=value", "A config.").or('c'),
        ],
    };

    fn check(args: &str, expected: Result<&[(&str, &[&str])], &str>) {
        let words: Vec<String> = args.split_whitespace().map(String::from).collect();
        match (TOOL.parse(&words), expected) {
            (Ok(given), Ok(expected)) => {
                let values: Vec<(&str, Vec<&str>)> = given
                    .values
                    .iter()
                    .map(|(name, all)| (*name, all.iter().map(String::as_str).collect()))
                    .collect();
                let expected: Vec<(&str, Vec<&str>)> =
                    expected.iter().map(|(name, all)| (*name, all.to_vec())).collect();
                assert_eq!(values, expected, "{args}");
            }
            (Err(Failure::Wrong(error)), Err(part)) => assert!(error.contains(part), "{args}: {error}"),
            (Err(Failure::Asked(text)), Err(part)) => assert!(text.contains(part), "{args}: {text}"),
            (found, _) => panic!("{args}: {found:?}"),
        }
    }

    #[test]
    fn options_are_read_as_kafkas_tools_read_them() {
        check("--topic a --list", Ok(&[("list", &[""]), ("topic", &["a"])]));
        check("--topic=a", Ok(&[("topic", &["a"])]));
        check("-topic a", Ok(&[("topic", &["a"])]));
        check("--topic --list", Ok(&[("topic", &["--list"])]));
        check("--topic-i x", Ok(&[("topic-id", &["x"])]));
        check("--con a=b -c c=d=e", Ok(&[("config", &["a=b", "c=d=e"])]));
        check("--to a", Err("topic, topic-id"));
        check("--nothing", Err("there is no option --nothing"));
        check("--topic", Err("--topic needs a value"));
        check("word", Err("word is not an option"));
        check("", Err("A tool."));
        check("--help", Err("--topic <topic>"));
        check("--version", Err(VERSION));
    }
}
