//! The rules of the documents as a test: how long they are, how wide, and that what they name is there.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

/// The documents that have to be read to the end, and their lines.
const LINES_MAX: &[(&str, usize)] =
    &[("README.md", 200), ("src/ARCHITECTURE.md", 225), (".deploy/README.md", 250), ("tests/load/README.md", 120)];

/// How wide a line of a document is at most.
const CHARACTERS_MAX: usize = 120;

/// Documents that a unit test of the library generates; their tables and examples are as wide as they are.
const GENERATED: &[&str] = &["src/http/rest.md", "src/protocol/socket.md"];

/// Folders that others fill.
const NOT_OURS: &[&str] = &["target", ".git", "node_modules"];

/// Top folders: what begins with one and stands in backticks is a path.
const TOP: &[&str] = &["src/", "tests/", "entity/", "migration/", ".deploy/", ".github/", ".cargo/", ".ci/"];

struct Document {
    /// From the root of the repository.
    path: PathBuf,
    text: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn documents() -> Vec<Document> {
    let mut found = Vec::new();
    collect(root(), &mut found);
    assert!(found.len() > LINES_MAX.len(), "the documents are found");
    found
}

fn collect(folder: &Path, found: &mut Vec<Document>) {
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        if path.is_dir() && !NOT_OURS.iter().any(|other| name == *other) {
            collect(&path, found);
        } else if path.extension().is_some_and(|end| end == "md") {
            let text = std::fs::read_to_string(&path).expect("UTF-8");
            let path = path.strip_prefix(root()).expect("inside the repository").to_owned();
            if !GENERATED.iter().any(|generated| path == Path::new(generated)) {
                found.push(Document { path, text });
            }
        }
    }
}

#[track_caller]
fn none(rule: &str, broken: &[String]) {
    assert!(broken.is_empty(), "{rule}:\n  {}\n", broken.join("\n  "));
}

#[test]
fn documents_are_short_enough_to_be_read_to_the_end() {
    let documents = documents();
    let mut broken = Vec::new();
    for (path, max) in LINES_MAX {
        let document = documents.iter().find(|document| document.path == Path::new(path));
        match document.map(|document| document.text.lines().count()) {
            Some(lines) if lines <= *max => {}
            Some(lines) => broken.push(format!("{path}: {lines} lines, at most {max}")),
            None => broken.push(format!("{path} is missing")),
        }
    }
    none("documents keep to their lines", &broken);
}

#[test]
fn lines_of_documents_fit_into_120_characters() {
    let mut broken = Vec::new();
    for Document { path, text } in documents() {
        let wide = text.lines().enumerate().filter(|(_, line)| line.chars().count() > CHARACTERS_MAX);
        broken.extend(wide.map(|(n, _)| format!("{}:{}", path.display(), n + 1)));
    }
    none("a line of a document has at most 120 characters", &broken);
}

/// The texts between `](` and `)` that are no addresses: paths, without what stands behind `#`.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let local = targets.filter(|target| !target.contains("://") && !target.starts_with('#'));
    local.filter_map(|target| target.split('#').next())
}

/// The texts in backticks that name a file or a folder of the repository.
fn paths(text: &str) -> impl Iterator<Item = &str> {
    let plain = |name: &&str| name.chars().all(|c| c.is_ascii_alphanumeric() || "._/-".contains(c));
    let ours = |name: &&str| TOP.iter().any(|top| name.starts_with(top));
    text.split('`').skip(1).step_by(2).filter(plain).filter(ours)
}

#[test]
fn links_of_documents_lead_to_files() {
    let mut broken = Vec::new();
    for Document { path, text } in documents() {
        let folder = root().join(&path).parent().expect("a file is in a folder").to_owned();
        let dead = links(&text).filter(|target| !folder.join(target).exists());
        broken.extend(dead.map(|target| format!("{}: {target}", path.display())));
    }
    none("links lead to files of this repository", &broken);
}

#[test]
fn paths_named_in_documents_exist() {
    let mut broken = Vec::new();
    // History stays as it was, also when what it names is gone; code blocks show what one may add.
    let is_history = |path: &Path| path.ends_with("DECISIONS.md") || path.ends_with("CHANGELOG.md");
    for Document { path, text } in documents().iter().filter(|document| !is_history(&document.path)) {
        let prose: String = text.split("```").step_by(2).collect();
        let dead = paths(&prose).filter(|name| !root().join(name).exists());
        broken.extend(dead.map(|name| format!("{}: {name}", path.display())));
    }
    none("paths in backticks exist", &broken);
}

#[test]
fn the_rules_see_links_and_paths() {
    let text = "[a](b.md#c) [d](https://e) [f](#g) `src/h.rs` `i` `src/{j}` `tests/k/`";
    assert_eq!(links(text).collect::<Vec<_>>(), ["b.md"]);
    assert_eq!(paths(text).collect::<Vec<_>>(), ["src/h.rs", "tests/k/"]);
}
