//! Which files of a crate use which others, read off their paths (`crate::`, `super::`, `self::` and the names of child
//! modules), and where that goes in circles. It knows as much of Rust as this takes, and no more: code under
//! `#[cfg(test)]` at the end of a file does not count, and macros are read as they stand.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The path of a module from the root of its crate.
type Module = Vec<String>;

/// A crate's files and what each uses.
#[derive(Default)]
pub struct Uses(BTreeMap<Module, BTreeSet<Module>>);

impl Uses {
    /// Of a crate whose files have these paths, from the folder of its root, and texts.
    pub fn of<P: AsRef<Path>>(files: &[(P, String)]) -> Uses {
        let modules: BTreeSet<Module> = files.iter().map(|(path, _)| module_of(path.as_ref())).collect();
        let uses = files.iter().map(|(path, text)| {
            let module = module_of(path.as_ref());
            let reading = Reading { tokens: tokens(product(text)), module, modules: &modules };
            let uses = reading.uses();
            (reading.module, uses)
        });
        Uses(uses.collect())
    }

    /// The circles, the largest first: sets of files of which each reaches every other.
    pub fn circles(&self) -> Vec<BTreeSet<String>> {
        let reached: BTreeMap<&Module, BTreeSet<&Module>> =
            self.0.keys().map(|module| (module, self.reached_from(module))).collect();
        let circle_of = |module: &Module| -> BTreeSet<String> {
            let around = reached[module].iter().filter(|other| reached[**other].contains(module));
            around.map(|module| module.join("/")).collect()
        };
        let circles: BTreeSet<_> = self.0.keys().map(circle_of).filter(|circle| circle.len() > 1).collect();
        let mut circles: Vec<_> = circles.into_iter().collect();
        circles.sort_by_key(|circle| std::cmp::Reverse(circle.len()));
        circles
    }

    fn reached_from(&self, module: &Module) -> BTreeSet<&Module> {
        let mut reached = BTreeSet::new();
        let mut left: Vec<&Module> = self.0[module].iter().collect();
        while let Some(next) = left.pop() {
            if reached.insert(next) {
                left.extend(&self.0[next]);
            }
        }
        reached
    }
}

fn module_of(path: &Path) -> Module {
    let mut module: Module =
        path.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()).collect();
    let is_root = module.len() == 1 && matches!(&*module[0], "lib" | "main");
    if is_root || module.last().is_some_and(|last| last == "mod") {
        module.pop();
    }
    module
}

/// What comes before a file's tests.
pub fn product(text: &str) -> &str {
    let tests = text.find("#[cfg(test)]\nmod ");
    &text[..tests.unwrap_or(text.len())]
}

// Names, `::`, and every other character by itself; without comments.
fn tokens(text: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    for line in text.lines() {
        let mut rest = line.split("//").next().unwrap_or_default();
        while let Some(first) = rest.chars().next() {
            let of_name = |c: char| c.is_alphanumeric() || c == '_';
            let len = match first {
                ':' if rest.starts_with("::") => 2,
                first if of_name(first) => rest.find(|c| !of_name(c)).unwrap_or(rest.len()),
                first => first.len_utf8(),
            };
            if !first.is_whitespace() {
                tokens.push(&rest[..len]);
            }
            rest = &rest[len..];
        }
    }
    tokens
}

/// One file while it is read.
struct Reading<'a> {
    tokens: Vec<&'a str>,
    module: Module,
    modules: &'a BTreeSet<Module>,
}

impl Reading<'_> {
    fn uses(&self) -> BTreeSet<Module> {
        let mut uses = BTreeSet::new();
        for at in 0..self.tokens.len() {
            let follows_a_path = at > 0 && matches!(self.tokens[at - 1], "::" | ".");
            if !follows_a_path && self.token(at + 1) == "::" {
                self.path(at, &[], &mut uses);
            }
        }
        uses.remove(&self.module);
        uses
    }

    fn token(&self, at: usize) -> &str {
        self.tokens.get(at).copied().unwrap_or_default()
    }

    // Reads the path from there on, and each of the paths in its braces. Returns what comes behind it.
    fn path(&self, mut at: usize, before: &[String], uses: &mut BTreeSet<Module>) -> usize {
        let mut path = before.to_vec();
        loop {
            if self.token(at) == "{" {
                at += 1;
                while !matches!(self.token(at), "}" | "") {
                    at = self.path(at, &path, uses);
                    while !matches!(self.token(at), "," | "}" | "") {
                        at += 1;
                    }
                    at += usize::from(self.token(at) == ",");
                }
                return at + 1;
            }
            path.push(self.token(at).to_owned());
            at += 1;
            if self.token(at) != "::" {
                uses.extend(self.resolve(&path));
                return at;
            }
            at += 1;
        }
    }

    // The innermost module that the path goes through, if it is one of this crate's.
    fn resolve(&self, path: &[String]) -> Option<Module> {
        let mut module = self.module.clone();
        let mut rest = path;
        match &*path[0] {
            "crate" => {
                module.clear();
                rest = &path[1..];
            }
            "super" | "self" => {}
            child => {
                module.push(child.to_owned());
                return self.modules.contains(&module).then(|| self.descend(module, &path[1..]));
            }
        }
        while let Some(step @ ("super" | "self")) = rest.first().map(String::as_str) {
            if step == "super" {
                module.pop();
            }
            rest = &rest[1..];
        }
        Some(self.descend(module, rest))
    }

    fn descend(&self, mut module: Module, path: &[String]) -> Module {
        for name in path {
            module.push(name.clone());
            if !self.modules.contains(&module) {
                module.pop();
                break;
            }
        }
        module
    }
}

#[test]
fn circles_are_found_through_every_kind_of_path() {
    // The text of a.rs, and the circle with b.rs and a/c.rs that it closes: both use it already.
    let rows: &[(&str, &[&str])] = &[
        ("use std::fmt;", &[]),
        ("use crate::b::Thing;", &["a", "b"]),
        ("use crate::{b::{self, Thing}, other};", &["a", "b"]),
        ("use super::{other, b::Thing as Other};", &["a", "b"]),
        ("fn f() -> crate::b::Thing {}", &["a", "b"]),
        ("mod c;\nfn f() { c::g() }", &["a", "a/c"]),
        ("use self::c::g;", &["a", "a/c"]),
        ("use crate::{b, a::c};", &["a", "a/c", "b"]),
        ("// crate::b\nfn f() { other::b::g() }", &[]),
        ("#[cfg(test)]\nmod tests {\n    use crate::b;\n}", &[]),
    ];
    for (text, circle) in rows {
        let files = [
            ("lib.rs", "mod a;\nmod b;\n".to_owned()),
            ("a.rs", (*text).to_owned()),
            ("a/c.rs", "use super::Item;\n".to_owned()),
            ("b.rs", "use crate::a::Item;\n".to_owned()),
        ];
        let found = Uses::of(&files).circles().into_iter().flatten().collect::<Vec<_>>();
        assert_eq!(found, *circle, "{text}");
    }
}
