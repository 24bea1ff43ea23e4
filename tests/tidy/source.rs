//! The Rust files of the repository, and the names in them: what a file declares, what it uses, where its tests begin.

use std::path::{Path, PathBuf};

/// One Rust file.
#[derive(PartialEq, Eq)]
pub struct Source {
    /// From the root of the repository, with `/`.
    pub path: String,
    pub text: String,
}

/// A path that a file names, as `crate::store::Store`, resolved from `super::` where need be.
#[derive(Debug, PartialEq, Eq)]
pub struct Named {
    /// Counted from 1.
    pub line: usize,
    /// The segments behind `crate`.
    pub path: Vec<String>,
}

/// The folder of `Cargo.toml`.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The Rust files below these folders.
pub fn sources(folders: &[&str]) -> Vec<Source> {
    let mut found = Vec::new();
    for folder in folders {
        collect(&root().join(folder), &mut found);
    }
    assert!(!found.is_empty(), "{folders:?} hold no Rust");
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn collect(folder: &Path, found: &mut Vec<Source>) {
    for entry in std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())).flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            let short = path.strip_prefix(root()).expect("inside the repository");
            let text = std::fs::read_to_string(&path).expect("UTF-8");
            found.push(Source { path: short.to_string_lossy().replace('\\', "/"), text });
        }
    }
}

/// Every Rust file of the repository.
pub fn everything() -> Vec<Source> {
    sources(&["src", "entity", "migration", "tests"])
}

/// Fails with the list of what breaks a rule.
#[track_caller]
pub fn none(rule: &str, broken: &[String]) {
    assert!(broken.is_empty(), "{rule}:\n  {}\n", broken.join("\n  "));
}

/// The text before the unit tests, which stand last in a file.
pub fn without_tests(text: &str) -> &str {
    text.find("\n#[cfg(test)]\nmod tests").map_or(text, |at| &text[..=at])
}

/// Modules of `src` that are compiled for tests: they generate the documents that the server serves.
const GENERATORS: &[&str] = &["src/http/openapi/", "src/protocol/schema.rs"];

/// Whether the file holds tests only, such as `store/order/tests.rs`.
pub fn is_tests_only(path: &str) -> bool {
    if GENERATORS.iter().any(|generator| path.starts_with(generator)) {
        return true;
    }
    path.split('/').any(|part| part == "tests" || part == "tests.rs") && path.starts_with("src/")
}

/// The module that a file of `src` is, as segments: `["store", "pool"]` for `src/store/pool.rs`.
pub fn module_of(path: &str) -> Vec<String> {
    let inside = path.strip_prefix("src/").unwrap_or(path).trim_end_matches(".rs").trim_end_matches("/mod");
    inside.split('/').map(str::to_owned).collect()
}

/// The folder of a file: `src/store` for `src/store/pool.rs` and for `src/store/mod.rs`.
pub fn folder_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// Every path that the code names behind `crate::`, `hyper_chat::`, `super::`, `self::` or one of the file's child modules,
/// lists in braces taken apart.
pub fn named(module: &[String], text: &str) -> Vec<Named> {
    let code = without_comments(text);
    let mut found = Vec::new();
    let children = child_modules(&code);
    let words = ["crate::", "hyper_chat::", "super::", "self::"].map(str::to_owned).into_iter();
    for word in words.chain(children.iter().map(|child| format!("{child}::"))) {
        for (at, _) in code.match_indices(word.as_str()) {
            let before = code[..at].chars().next_back();
            let is_visibility = code[..at].ends_with("(in ");
            if is_visibility || before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
                continue;
            }
            let line = code[..at].matches('\n').count() + 1;
            let (mut base, mut rest) = (Vec::new(), &code[at + word.len()..]);
            match word.as_str() {
                "crate::" | "hyper_chat::" => {}
                "super::" => {
                    base = parent(module);
                    while let Some(after) = rest.strip_prefix("super::") {
                        (base, rest) = (parent(&base), after);
                    }
                }
                "self::" => base = module.to_vec(),
                child => {
                    base = module.to_vec();
                    base.push(child.trim_end_matches(':').to_owned());
                }
            }
            paths_of(&base, rest, &mut |path| found.push(Named { line, path }));
        }
    }
    found
}

/// The modules that a file declares without a body.
fn child_modules(code: &str) -> Vec<String> {
    let declared = code.lines().filter_map(|line| line.trim_end().strip_suffix(';'));
    declared.filter_map(|line| line.rsplit_once("mod ").map(|(_, name)| name.to_owned())).collect()
}

fn parent(module: &[String]) -> Vec<String> {
    module[..module.len().saturating_sub(1)].to_vec()
}

/// Gives each path that begins here: `a::{b, c::d}` is `a::b` and `a::c::d`.
fn paths_of(base: &[String], text: &str, give: &mut dyn FnMut(Vec<String>)) {
    let text = text.trim_start();
    if let Some(list) = text.strip_prefix('{') {
        for item in items(list) {
            paths_of(base, item, give);
        }
        return;
    }
    let name: String = text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    if name.is_empty() {
        return give(base.to_vec());
    }
    let mut path = base.to_vec();
    if name != "self" {
        path.push(name.clone());
    }
    match text[name.len()..].strip_prefix("::") {
        Some(rest) if !rest.starts_with('<') && !rest.starts_with('*') => paths_of(&path, rest, give),
        _ => give(path),
    }
}

/// The items of a braced list, up to its end.
fn items(list: &str) -> Vec<&str> {
    let (mut depth, mut from, mut found) = (0, 0, Vec::new());
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                found.push(&list[from..at]);
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                found.push(&list[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    found.retain(|item| !item.trim().is_empty());
    found
}

/// The same lines, empty where they are comments.
pub fn without_comments(text: &str) -> String {
    text.lines().map(|l| if l.trim_start().starts_with("//") { "\n" } else { l }.trim_end().to_owned() + "\n").collect()
}

#[test]
fn paths_in_lists_and_behind_super_are_resolved() {
    let module = ["rooms".to_owned(), "commit".to_owned()];
    let text = "// crate::no\nuse crate::{store::{self, a}, wire::b,\n    domain};\nlet x = super::y();\nmycrate::z";
    let paths: Vec<String> = named(&module, text).into_iter().map(|n| n.path.join("::")).collect();
    assert_eq!(paths, ["store", "store::a", "wire::b", "domain", "rooms::y"]);
    let text = "mod deliver;\npub mod host;\nuse deliver::fill;\nuse self::host::Host;\n";
    let paths: Vec<String> = named(&module[..1], text).into_iter().map(|n| n.path.join("::")).collect();
    assert_eq!(paths, ["rooms::host::Host", "rooms::deliver::fill"]);
}
