//! No circle of files across folders: each file, the files that it uses, and the sets of files that reach each other.

use std::collections::{BTreeMap, BTreeSet};

use super::source::{
    Source, folder_of, is_tests_only, module_of, named, none, sources, without_comments, without_tests,
};

/// Folders whose files may use each other in a circle with a folder inside them: an actix actor cannot change its type, so
/// what a state of a session began comes back through the session.
const CIRCLES: &[&str] = &["src/sessions"];

#[test]
fn no_files_use_each_other_in_a_circle_across_folders() {
    let files: Vec<Source> = sources(&["src"]).into_iter().filter(|source| !is_tests_only(&source.path)).collect();
    let by_module: BTreeMap<Vec<String>, &Source> = files.iter().map(|s| (module_of(&s.path), s)).collect();
    let mut graph: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for source in &files {
        let uses = named(&module_of(&source.path), without_tests(&source.text));
        let targets = uses.iter().filter_map(|used| defined_in(&by_module, &used.path));
        let targets = targets.filter(|target| *target != source.path && *target != "src/lib.rs");
        graph.entry(&source.path).or_default().extend(targets);
    }
    let circles = circles(&graph).into_iter().filter(|circle| {
        let folders: BTreeSet<&str> = circle.iter().map(|file| folder_of(file)).collect();
        folders.len() > 1 && !CIRCLES.iter().any(|known| folders.iter().all(|folder| folder.starts_with(known)))
    });
    let edges = |circle: Vec<&str>| {
        let inside = |file: &&str| {
            graph[*file].iter().filter(|to| circle.contains(to)).map(|to| format!("{file} -> {to}")).collect::<Vec<_>>()
        };
        circle.iter().flat_map(inside).collect::<Vec<_>>().join("\n  ")
    };
    none("no circle of files across folders", &circles.map(edges).collect::<Vec<_>>());
}

/// The file that defines what a path names: that of the longest module in it, or the one that this re-exports it from.
fn defined_in<'a>(by_module: &BTreeMap<Vec<String>, &'a Source>, path: &[String]) -> Option<&'a str> {
    let (source, rest) = (1..=path.len()).rev().find_map(|n| Some((*by_module.get(&path[..n])?, &path[n..])))?;
    let exported = rest.first().and_then(|name| re_exports(source).into_iter().find(|path| path.last() == Some(name)));
    match exported {
        Some(path) if file_of_module(by_module, &path) != Some(source) => defined_in(by_module, &path),
        _ => Some(&source.path),
    }
}

fn file_of_module<'a>(by_module: &BTreeMap<Vec<String>, &'a Source>, path: &[String]) -> Option<&'a Source> {
    (1..=path.len()).rev().find_map(|n| by_module.get(&path[..n]).copied())
}

/// The paths that a file re-exports by `pub use`.
fn re_exports(source: &Source) -> Vec<Vec<String>> {
    let code = without_comments(without_tests(&source.text));
    let (mut text, mut inside) = (String::new(), false);
    for line in code.lines() {
        inside |= line.starts_with("pub use ") || line.starts_with("pub(crate) use ");
        if inside || line.ends_with(';') && line.contains("mod ") {
            text += line;
            text.push('\n');
        }
        inside &= !line.ends_with(';');
    }
    named(&module_of(&source.path), &text).into_iter().map(|named| named.path).collect()
}

/// Sets of more than one file, each of which reaches each other.
fn circles<'a>(graph: &BTreeMap<&'a str, BTreeSet<&'a str>>) -> Vec<Vec<&'a str>> {
    let reach: BTreeMap<&str, BTreeSet<&str>> = graph.keys().map(|file| (*file, reached(graph, file))).collect();
    let mut found: Vec<Vec<&str>> = Vec::new();
    for file in graph.keys() {
        let circle: Vec<&str> =
            graph.keys().copied().filter(|other| reach[file].contains(other) && reach[other].contains(file)).collect();
        if circle.len() > 1 && !found.contains(&circle) {
            found.push(circle);
        }
    }
    found
}

fn reached<'a>(graph: &BTreeMap<&'a str, BTreeSet<&'a str>>, from: &str) -> BTreeSet<&'a str> {
    let (mut seen, mut open) = (BTreeSet::new(), graph.get(from).into_iter().flatten().copied().collect::<Vec<_>>());
    while let Some(file) = open.pop() {
        if seen.insert(file) {
            open.extend(graph.get(file).into_iter().flatten());
        }
    }
    seen
}

#[test]
fn a_re_export_leads_to_the_file_that_defines_the_name() {
    let file = |path: &str, text: &str| Source { path: path.to_owned(), text: text.to_owned() };
    let (top, error) =
        (file("src/store/mod.rs", "mod error;\npub use error::{Lost, Full};\n"), file("src/store/error.rs", ""));
    let by_module = BTreeMap::from([(module_of(&top.path), &top), (module_of(&error.path), &error)]);
    let path = |last: &str| ["store", last].map(str::to_owned);
    assert_eq!(defined_in(&by_module, &path("Lost")), Some("src/store/error.rs"));
    assert_eq!(defined_in(&by_module, &path("Store")), Some("src/store/mod.rs"));
}

#[test]
fn a_circle_is_found_and_a_chain_is_none() {
    let edges = [("a/x", "b/y"), ("b/y", "c/z"), ("c/z", "a/x"), ("c/z", "d/w")];
    let mut graph: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::from([("d/w", BTreeSet::new())]);
    for (from, to) in edges {
        graph.entry(from).or_default().insert(to);
    }
    assert_eq!(circles(&graph), [["a/x", "b/y", "c/z"]]);
}
