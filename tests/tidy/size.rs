//! How long files and functions may be, and how a file begins.

use super::source::{everything, none, without_tests};

const FUNCTION_LINES_MAX: usize = 70;
const FILE_LINES_MAX: usize = 300;

/// Words that name no role.
const DRAWERS: &[&str] = &["util", "utils", "helper", "helpers", "common", "manager", "misc"];

#[test]
fn every_file_opens_with_its_role() {
    let broken: Vec<String> =
        everything().iter().filter(|s| !s.text.starts_with("//! ")).map(|s| s.path.clone()).collect();
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
    let long = everything().into_iter().filter_map(|source| {
        let lines = without_tests(&source.text).lines().count();
        (lines > FILE_LINES_MAX).then(|| format!("{}: {lines} lines", source.path))
    });
    none("a file has at most 300 lines without its tests", &long.collect::<Vec<_>>());
}

#[test]
fn no_file_is_a_drawer() {
    let broken =
        everything().into_iter().filter(|source| source.path.split(['/', '.']).any(|part| DRAWERS.contains(&part)));
    none("no file is called helper, util or the like", &broken.map(|s| s.path).collect::<Vec<_>>());
}

/// The functions of a formatted file: name, first line, number of lines.
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

/// The name of the function that a line begins.
pub fn function_name(line: &str) -> Option<String> {
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
