//! Some code reads every key that the table calls honoured: otherwise the key would be silently ignored.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::config::{BROKER_KEYS, ConfigKey, Support, TOPIC_KEYS};

#[test]
fn every_honoured_key_is_read_somewhere() {
    let mut words = BTreeSet::new();
    let mut literals = BTreeSet::new();
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the folder of all packages");
    read(sources, &mut words, &mut literals);
    let supplied: BTreeSet<&str> =
        TOPIC_KEYS.iter().flat_map(|key| key.broker_synonyms).map(|synonym| synonym.name).collect();
    let honoured = |key: &&ConfigKey| key.support == Support::Honoured && !supplied.contains(key.name);
    let is_read = |key: &&ConfigKey| {
        let field = RENAMED.iter().find(|(name, _)| *name == key.name);
        let field = field.map_or_else(|| key.name.replace('.', "_"), |(_, field)| (*field).to_owned());
        words.contains(&field) || literals.contains(key.name)
    };
    let keys = BROKER_KEYS.iter().chain(TOPIC_KEYS);
    let unread: Vec<&str> = keys.filter(honoured).filter(|key| !is_read(key)).map(|key| key.name).collect();
    assert_eq!(unread, [] as [&str; 0], "nothing reads them");
}

/// A field is for what the code acts on, and users hear at the start which of their settings have no effect.
#[test]
fn a_key_with_a_field_is_honoured() {
    let fields = include_str!("../broker.rs");
    let has_field = |key: &&ConfigKey| fields.contains(&format!(" = \"{}\",", key.name));
    let accepted = BROKER_KEYS.iter().filter(|key| key.support == Support::Accepted);
    let found: Vec<&str> = accepted.filter(has_field).map(|key| key.name).collect();
    assert_eq!(found, [] as [&str; 0], "the table calls them accepted");
}

fn read(folder: &Path, words: &mut BTreeSet<String>, literals: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            if !PASSED_OVER.iter().any(|folder| path.ends_with(folder)) {
                read(&path, words, literals);
            }
        } else if path.extension().is_some_and(|kind| kind == "rs")
            && !DECLARES.iter().any(|file| path.ends_with(file))
        {
            let text = fs::read_to_string(&path).expect("a source");
            words.extend(text.split(|c: char| !c.is_alphanumeric() && c != '_').map(str::to_owned));
            literals.extend(text.split('"').map(str::to_owned));
        }
    }
}

/// Folders where keys are declared, listed or tested, which does not count as reading them.
const PASSED_OVER: [&str; 3] = ["model/config/table", "tests", "target"];
const DECLARES: [&str; 4] =
    ["model/config/broker.rs", "model/config/topic.rs", "model/config/load.rs", "model/config/describe.rs"];
/// Keys whose fields have other names.
const RENAMED: [(&str, &str); 2] = [("broker.rack", "rack"), ("process.roles", "has_role")];
