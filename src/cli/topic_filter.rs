//! `--topic` as a regular expression over whole names, with a comma for "or". It must never ask a broker.

use crate::options::Failure;
use regex::Regex;

/// Topics that are Kafka's own.
pub(crate) const INTERNAL: [&str; 3] = ["__consumer_offsets", "__transaction_state", "__share_group_state"];

/// Which topics are meant.
pub(crate) struct TopicFilter {
    names: Option<Regex>,
    exclude_internal: bool,
}

impl TopicFilter {
    /// `None` is all names.
    pub(crate) fn new(pattern: Option<&str>, exclude_internal: bool) -> Result<TopicFilter, Failure> {
        let compile = |pattern: &str| {
            let trimmed = pattern.trim().replace(',', "|").replace(' ', "");
            let bare = trimmed.trim_start_matches(['"', '\'']).trim_end_matches(['"', '\'']);
            Regex::new(&format!("^(?:{bare})$"))
                .map_err(|_| Failure::Wrong(format!("{pattern} is not a regular expression")))
        };
        Ok(TopicFilter { names: pattern.map(compile).transpose()?, exclude_internal })
    }

    pub(crate) fn allows(&self, topic: &str) -> bool {
        self.names.as_ref().is_none_or(|names| names.is_match(topic))
            && !(self.exclude_internal && INTERNAL.contains(&topic))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_about_whole_names() {
        let check = |pattern, exclude_internal, allowed: &[&str]| {
            let filter = TopicFilter::new(pattern, exclude_internal).expect("a pattern");
            let names = ["a", "ab", "b.c", "__consumer_offsets"];
            let found: Vec<_> = names.into_iter().filter(|name| filter.allows(name)).collect();
            assert_eq!(found, allowed, "{pattern:?}");
        };
        check(None, false, &["a", "ab", "b.c", "__consumer_offsets"]);
        check(None, true, &["a", "ab", "b.c"]);
        check(Some("a"), false, &["a"]);
        check(Some("a.*"), false, &["a", "ab"]);
        check(Some("a, b.c"), false, &["a", "b.c"]);
        check(Some("'a|ab'"), false, &["a", "ab"]);
        check(Some(".*offsets"), false, &["__consumer_offsets"]);
        check(Some(".*offsets"), true, &[]);
        assert!(TopicFilter::new(Some("("), false).is_err());
    }
}
