//! Checks that keep ARCHITECTURE.md true: which crate may use which, how many files may use each other in a circle, how
//! long a file or a function may be, and reference pages that say what their tables say.
//! `UPDATE_REFERENCE=1 cargo test -p ottla` writes the pages anew.

mod circles;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use circles::Uses;

/// Each crate and the crates of ours that it may use: the arrows of ARCHITECTURE.md.
const ARROWS: &[(&str, &[&str])] = &[
    ("protocol", &[]),
    ("model", &["protocol"]),
    ("log", &["protocol", "model"]),
    ("core", &["protocol", "model"]),
    ("node", &["core", "log", "protocol", "model"]),
    ("client", &["protocol", "model"]),
    ("broker", &["node", "core", "log", "client", "protocol", "model"]),
    ("sim", &["node", "core", "log", "protocol", "model"]),
    ("cli", &["client", "log", "protocol", "model"]),
    ("ottla", &["broker", "cli", "model", "protocol"]),
];

/// A longer file is two files.
const LINES_MAX: usize = 600;

/// A longer function does more than one thing. Tests are exempt: their rows are data.
const FUNCTION_LINES_MAX: usize = 80;

/// So many files may use each other in a circle. A parent whose children use its types is a circle, too.
const CIRCLE_FILES_MAX: usize = 5;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn dependencies_point_down() {
    let folders: BTreeSet<String> = fs::read_dir(root().join("src"))
        .expect("src")
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    let known: BTreeSet<String> = ARROWS.iter().map(|(name, _)| name.to_string()).collect();
    assert_eq!(folders, known, "every folder of src has its row, and every row its folder");
    for (name, may_use) in ARROWS {
        let manifest = read(&root().join("src").join(name).join("Cargo.toml"));
        let uses = manifest.lines().filter_map(|line| line.strip_prefix("ottla-")?.split(['.', ' ']).next());
        for used in uses.filter(|used| *used != *name) {
            assert!(may_use.contains(&used), "src/{name} may not use src/{used}");
        }
    }
}

// An error of ours ends with its cause: told with its chain, it would name the cause twice.
#[test]
fn errors_are_told_by_one_function() {
    let mut files = Vec::new();
    collect(&root().join("src"), &mut files);
    let chain = concat!(":#", "}");
    for file in files {
        assert!(!read(&file).contains(chain), "{}: ottla_cli::line_of makes the line", file.display());
    }
}

#[test]
fn files_are_short_and_say_what_they_own() {
    let mut files = Vec::new();
    for folder in ["src", "protocol-tests", "integration"] {
        collect(&root().join(folder), &mut files);
    }
    assert!(files.len() > 100, "only {} files were found", files.len());
    for file in files {
        let text = read(&file);
        assert!(text.starts_with("//!"), "{} does not begin with //!", file.display());
        let lines = text.lines().count();
        assert!(lines <= LINES_MAX, "{} has {lines} lines, more than {LINES_MAX}", file.display());
    }
}

#[test]
fn files_use_each_other_in_small_circles_only() {
    for (name, _) in ARROWS {
        let folder = root().join("src").join(name);
        let mut files = Vec::new();
        collect(&folder, &mut files);
        let inside = |path: &PathBuf| path.strip_prefix(&folder).expect("it is in the folder").to_owned();
        let files: Vec<(PathBuf, String)> = files.iter().map(|path| (inside(path), read(path))).collect();
        for circle in Uses::of(&files).circles() {
            let files = circle.len();
            assert!(files <= CIRCLE_FILES_MAX, "{files} files of src/{name} in a circle: {circle:?}");
        }
    }
}

#[test]
fn functions_fit_a_screen() {
    let mut files = Vec::new();
    collect(&root().join("src"), &mut files);
    for file in files {
        let path = file.strip_prefix(root()).expect("it is in the repository").to_string_lossy().into_owned();
        if path.contains("/tests") {
            continue;
        }
        for (function, lines) in functions(&read(&file)) {
            assert!(lines <= FUNCTION_LINES_MAX, "{path}: {function} has {lines} lines");
        }
    }
}

// The functions before a file's tests, and how many lines each has. It ends at the brace that stands as far to the right as
// its first line does, as rustfmt writes it.
fn functions(text: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = circles::product(text).lines().collect();
    let mut functions = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let begins = ["fn ", "pub fn ", "async fn ", "const fn ", "unsafe fn "];
        let begins = begins.iter().any(|word| line.trim_start().starts_with(word))
            || line.trim_start().starts_with("pub") && line.contains(" fn ");
        if !begins || line.ends_with(['}', ';']) {
            continue;
        }
        let end = format!("{}}}", &line[..indent]);
        // A trait's function without a body ends with the line of its answer.
        let declared = lines[at..]
            .iter()
            .find(|line| line.len() - line.trim_start().len() == indent && line.ends_with(['{', ';']));
        if declared.is_some_and(|line| line.ends_with(';')) {
            continue;
        }
        let name = line.split("fn ").nth(1).unwrap_or_default();
        let name = name.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
        let length = lines[at..].iter().position(|line| *line == end).unwrap_or(0);
        functions.push((name.to_owned(), length + 1));
    }
    functions
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    for entry in entries.filter_map(Result::ok) {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() && name != "target" && !name.to_string_lossy().starts_with('.') {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

#[test]
fn reference_pages_say_what_their_tables_say() {
    let apis = format!(
        "# API reference\n\nGenerated from the table in `src/protocol/api/mod.rs`; do not edit it.\n\n{}",
        ottla_protocol::api::reference_markdown()
    );
    let pages = [
        ("src/protocol/api/REFERENCE.md", apis),
        ("src/model/config/REFERENCE.md", ottla_model::config::reference_markdown()),
    ];
    for (path, page) in pages {
        let path = root().join(path);
        if std::env::var_os("UPDATE_REFERENCE").is_some() {
            fs::write(&path, &page).expect("a writable page");
        }
        let there = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            there == page,
            "{} is not what its table says: UPDATE_REFERENCE=1 cargo test -p ottla",
            path.display()
        );
    }
}
