//! The rules of the code as a test: role comments, lengths, who may know whom, paths in texts.
//!
//! To change a rule, change its table here in the same commit as the code that needs it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

const FUNCTION_LINES_MAX: usize = 70;
const FILE_LINES_MAX: usize = 300;

/// Which parts of `crate` each part of `src` may name; its own is always allowed. The longest prefix counts.
const MAY_KNOW: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("error", &[]),
    ("limits", &["domain", "error", "config"]),
    ("config", &["domain"]),
    ("telemetry", &["config"]),
    ("metrics", &[]),
    ("wire", &["domain", "error"]),
    ("store", &["domain", "metrics"]),
    ("push", &["domain"]),
    ("relay", &["domain"]),
    ("auth", &["domain", "config"]),
    ("actors/session", &["domain", "error", "limits", "metrics", "store", "auth", "push", "wire", "relay"]),
    ("actors/room", &["domain", "error", "limits", "metrics", "store", "push", "wire", "relay"]),
    ("actors", &["domain", "error", "limits", "metrics", "store", "push", "wire", "relay"]),
    ("http", &["domain", "wire", "auth", "store", "actors", "error", "limits", "metrics", "relay"]),
    ("terminal", &["domain", "wire"]),
    ("app", &["*"]),
    ("main", &["*"]),
    ("lib", &["*"]),
];

/// Parts that nobody may name but these.
const NAMED_ONLY_BY: &[(&str, &[&str])] =
    &[("http", &["app"]), ("app", &["main"]), ("config", &["app", "main", "telemetry", "auth", "limits"])];

/// Which files may name a foreign package; a folder stands for all in it.
const PACKAGES: &[(&str, &[&str])] = &[
    ("sea_orm", &["src/store/", "entity/", "migration/"]),
    ("entity", &["src/store/"]),
    ("migration", &["src/store/", "src/app.rs"]),
    ("config", &["src/config.rs", "src/config/"]),
    ("actix_web_actors", &["src/actors/session/socket.rs"]),
    ("reqwest", &["src/push/", "src/terminal/", "src/terminal.rs"]),
    ("tokio_tungstenite", &["src/terminal/", "src/terminal.rs"]),
    ("jsonwebtoken", &["src/auth/", "src/push/fcm.rs", "src/push/fcm/"]),
    ("argon2", &["src/auth/password.rs"]),
    ("redis", &["src/relay/"]),
    ("clap", &["src/main.rs", "src/terminal/"]),
    ("utoipa", &["src/http/", "src/wire/"]),
    ("prometheus_client", &["src/http/metrics.rs"]),
];

/// Words that name no role.
const DRAWERS: &[&str] = &["util", "utils", "helper", "helpers", "common", "manager", "misc"];

struct Source {
    /// From the root of the repository, with `/`.
    path: String,
    text: String,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folders: &[&str]) -> Vec<Source> {
    let mut found = Vec::new();
    for folder in folders {
        collect(&root().join(folder), &mut found);
    }
    assert!(!found.is_empty(), "{folders:?} hold no Rust");
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

fn everything() -> Vec<Source> {
    sources(&["src", "entity", "migration", "tests"])
}

/// The text before the unit tests, which stand last in a file.
fn without_tests(text: &str) -> &str {
    text.find("\n#[cfg(test)]\nmod ").map_or(text, |at| &text[..=at])
}

#[track_caller]
fn none(rule: &str, broken: &[String]) {
    assert!(broken.is_empty(), "{rule}:\n  {}\n", broken.join("\n  "));
}

#[test]
fn every_file_opens_with_its_role() {
    let broken =
        everything().iter().filter(|s| !s.text.starts_with("//! ")).map(|s| s.path.clone()).collect::<Vec<_>>();
    none("a file begins with `//! ` and its role", &broken);
}

#[test]
fn nothing_is_left_for_later() {
    let words = [["FIX", "ME"].concat(), ["TO", "DO"].concat(), ["XX", "X"].concat()];
    let mut broken = Vec::new();
    for source in everything() {
        for (n, line) in source.text.lines().enumerate() {
            if words.iter().any(|w| line.contains(w.as_str())) {
                broken.push(format!("{}:{}", source.path, n + 1));
            }
        }
    }
    none("no FIX-ME and its like", &broken);
}

#[test]
fn files_are_short() {
    let long = sources(&["src", "entity", "migration"]).into_iter().filter_map(|source| {
        let lines = without_tests(&source.text).lines().count();
        (lines > FILE_LINES_MAX).then(|| format!("{}: {lines} lines", source.path))
    });
    none("a file has at most 300 lines without its tests", &long.collect::<Vec<_>>());
}

/// The functions of a formatted file: name and number of lines.
///
/// rustfmt puts the closing brace of a function at the indentation of its first line.
fn functions(text: &str) -> Vec<(String, usize, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let Some(name) = function_name(line) else { continue };
        let indent = line.len() - line.trim_start().len();
        let closing = format!("{}}}", " ".repeat(indent));
        let one_line = line.ends_with('}') || line.ends_with(';');
        let end = if one_line { Some(start) } else { (start..lines.len()).find(|n| lines[*n] == closing) };
        if let Some(end) = end {
            found.push((name, start + 1, end - start + 1));
        }
    }
    found
}

fn function_name(line: &str) -> Option<String> {
    let mut rest = line.trim_start();
    loop {
        let before = rest;
        for word in ["pub ", "pub(crate) ", "pub(super) ", "const ", "async ", "unsafe "] {
            rest = rest.strip_prefix(word).unwrap_or(rest);
        }
        if rest == before {
            break;
        }
    }
    let name: String = rest.strip_prefix("fn ")?.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    (!name.is_empty()).then_some(name)
}

#[test]
fn functions_are_short() {
    let mut broken = Vec::new();
    for source in everything() {
        for (name, line, lines) in functions(&source.text) {
            if lines > FUNCTION_LINES_MAX {
                broken.push(format!("{}:{line} {name}: {lines} lines", source.path));
            }
        }
    }
    none("a function has at most 70 lines", &broken);
}

#[test]
fn the_measure_sees_long_functions() {
    let body = "    let x = 1;\n".repeat(80);
    let text = format!(
        "impl A {{\n    pub(crate) async fn long_one(\n        &self,\n    ) {{\n{body}    }}\n    fn short() {{}}\n}}\n"
    );
    let found = functions(&text);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].0 == "long_one" && found[0].2 > FUNCTION_LINES_MAX && found[1].2 == 1, "{found:?}");
}

/// The part of `src` that a file belongs to, such as `actors/room` for `src/actors/room/state.rs`.
fn part_of(path: &str) -> Option<String> {
    Some(path.strip_prefix("src/")?.trim_end_matches(".rs").trim_end_matches("/mod").to_owned())
}

/// What a file names right after this word, as in `crate::store::…` and `use crate::{store, wire::…}`.
fn named_after(text: &str, word: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let code: String =
        text.lines().map(|l| if l.trim_start().starts_with("//") { "\n" } else { l }.to_owned() + "\n").collect();
    for (at, _) in code.match_indices(word) {
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let line = code[..at].matches('\n').count();
        let rest = &code[at + word.len()..];
        match rest.strip_prefix('{') {
            Some(list) => found.extend(heads(list).into_iter().map(|name| (line, name))),
            None => found.push((line, identifier(rest))),
        }
    }
    found
}

fn identifier(text: &str) -> String {
    text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// The first names of a braced list, up to its end.
fn heads(list: &str) -> Vec<String> {
    let (mut depth, mut found, mut fresh) = (0, Vec::new(), true);
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => fresh = true,
            c if fresh && depth == 0 && (c.is_alphanumeric() || c == '_') => {
                found.push(identifier(&list[at..]));
                fresh = false;
            }
            _ => {}
        }
    }
    found
}

/// Modules at the top of the crate: only these are parts, other names after `crate::` are items.
fn parts() -> Vec<String> {
    let entries = std::fs::read_dir(root().join("src")).expect("src").flatten();
    entries.map(|e| e.file_name().to_string_lossy().trim_end_matches(".rs").to_owned()).collect()
}

#[test]
fn the_parts_know_only_whom_they_may() {
    let (parts, mut broken) = (parts(), Vec::new());
    for source in sources(&["src"]) {
        let part = part_of(&source.path).expect("in src");
        let own = part.split('/').next().unwrap_or_default().to_owned();
        let rule = MAY_KNOW.iter().filter(|(p, _)| part == *p || part.starts_with(&format!("{p}/")));
        let Some((_, allowed)) = rule.max_by_key(|(p, _)| p.len()) else {
            broken.push(format!("{}: {own} has no line in the table", source.path));
            continue;
        };
        let code = without_tests(&source.text);
        for (line, name) in named_after(code, "crate::").into_iter().chain(named_after(code, "hyper_chat::")) {
            let known =
                name == own || !parts.contains(&name) || allowed.contains(&"*") || allowed.contains(&name.as_str());
            let only = NAMED_ONLY_BY.iter().find(|(p, _)| *p == name);
            let closed = only.is_some_and(|(_, by)| name != own && own != "lib" && !by.contains(&own.as_str()));
            if !known || closed {
                broken.push(format!("{}:{} {part} must not know {name}", source.path, line + 1));
            }
        }
    }
    none("who may know whom", &broken);
}

#[test]
fn the_table_sees_names_in_lists_and_paths() {
    let text =
        "// crate::no\nuse crate::{store::{self, a}, wire::b,\n    domain};\nlet x = crate::http::y();\nmycrate::z";
    let names: Vec<_> = named_after(text, "crate::").into_iter().map(|(_, name)| name).collect();
    assert_eq!(names, ["store", "wire", "domain", "http"]);
}

#[test]
fn a_foreign_package_is_named_in_its_place_only() {
    let mut broken = Vec::new();
    for source in sources(&["src", "entity", "migration"]) {
        let code = without_tests(&source.text);
        for (package, places) in PACKAGES {
            if places.iter().any(|place| source.path.starts_with(place)) {
                continue;
            }
            for word in [format!("use {package}::"), format!("use {package};"), format!("{package}::")] {
                if let Some(line) = names_package(code, &word, package) {
                    broken.push(format!("{}:{} names {package}", source.path, line + 1));
                    break;
                }
            }
        }
    }
    none("one foreign package, one place", &broken);
}

/// The line that names the package itself: not a module of ours with the same name.
fn names_package(code: &str, word: &str, package: &str) -> Option<usize> {
    let imports_own = code.lines().any(|l| {
        let l = l.trim();
        (l.starts_with("use crate::") || l.starts_with("use super::") || l.starts_with("use hyper_chat::"))
            && l.split(|c: char| !c.is_alphanumeric() && c != '_').any(|name| name == package)
    });
    code.lines().position(|line| {
        let line = line.trim_start();
        let Some(at) = line.find(word).filter(|_| !line.starts_with("//")) else { return false };
        let before = &line[..at];
        let part_of_path = before.ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':');
        !part_of_path && (line.starts_with("use ") || !imports_own)
    })
}

#[test]
fn no_file_is_a_drawer() {
    let broken =
        everything().into_iter().filter(|source| source.path.split(['/', '.']).any(|part| DRAWERS.contains(&part)));
    none("no file is called helper, util or the like", &broken.map(|s| s.path).collect::<Vec<_>>());
}

#[test]
fn paths_named_in_the_architecture_exist() {
    let path = root().join("src/ARCHITECTURE.md");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("src/ARCHITECTURE.md: {e}"));
    let mut broken = String::new();
    for name in text.split('`').skip(1).step_by(2).filter(|name| looks_like_a_path(name)) {
        let there = [root().join(name), root().join("src").join(name)].iter().any(|p| p.exists());
        if !there {
            writeln!(broken, "  {name}").expect("writes to a text");
        }
    }
    assert!(broken.is_empty(), "src/ARCHITECTURE.md names what is not there:\n{broken}");
}

/// `store/mod.rs`, `actors/`, `Cargo.toml`; not `/api/chats`, not `a::b`, not a placeholder.
fn looks_like_a_path(name: &str) -> bool {
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || "._/-".contains(c));
    let file = [".rs", ".toml", ".md", ".sql", ".json", ".html", ".js", ".css"].iter().any(|end| name.ends_with(end));
    plain && !name.starts_with('/') && (file || name.ends_with('/'))
}
