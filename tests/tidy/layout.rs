//! The order of the modules, circles of files, and impls and closures that would hide a use.

use std::collections::BTreeSet;

use super::source::{
    Named, Source, is_tests_only, module_of, named, none, root, sources, without_comments, without_tests,
};

/// The modules of `src`, from the top down. Each uses those below it only; modules in one row do not know each other.
const ORDER: &[&[&str]] = &[
    &["main"],
    &["app"],
    &["http"],
    &["cluster"],
    &["sessions"],
    &["service"],
    &["rooms"],
    &["push"],
    &["connections"],
    &["broker"],
    &["delivery"],
    &["websocket"],
    &["protocol"],
    &["problem"],
    &["auth", "limits"],
    &["store"],
    &["telemetry", "metrics"],
    &["config"],
    &["domain"],
];

/// What stands outside the order: the list of modules itself, and the client of the public API, which knows these only.
const LIBRARY: &str = "lib";
const CLIENT: (&str, &[&str]) = ("terminal", &["domain", "protocol"]);

/// The modules that may read the configuration.
const CONFIG_READERS: &[&str] = &["main", "app", "telemetry", "auth", "limits", "store"];

/// Impls of a foreign trait for another module's type.
const FOREIGN_IMPLS: &[(&str, &str)] = &[("src/http/refusal.rs", "ResponseError for Problem")];

/// Files that store a closure: one of the module above, with the reason beside it, or, in `auth`, one of their own.
const CLOSURES: &[&str] = &["src/auth/password.rs", "src/push/notifier/mod.rs", "src/push/notifier/supervisor.rs"];

fn rank(module: &str) -> Option<usize> {
    ORDER.iter().position(|row| row.contains(&module))
}

/// Whether one module may use another.
fn may_use(own: &str, other: &str) -> bool {
    if own == other || own == LIBRARY {
        return true;
    }
    if own == CLIENT.0 {
        return CLIENT.1.contains(&other);
    }
    if other == CLIENT.0 {
        return own == "main";
    }
    let in_order = match (rank(own), rank(other)) {
        (Some(own), Some(other)) => own < other,
        _ => false,
    };
    in_order && (other != "config" || CONFIG_READERS.contains(&own))
}

/// Modules at the top of the crate: other names behind `crate::` are items of `lib.rs`.
fn modules() -> BTreeSet<String> {
    let entries = std::fs::read_dir(root().join("src")).expect("src").flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names
        .filter(|name| !name.contains('.') || name.ends_with(".rs"))
        .map(|n| n.trim_end_matches(".rs").into())
        .collect()
}

/// Every use of another module in the product code of a file.
fn uses<'a>(source: &'a Source, modules: &'a BTreeSet<String>) -> impl Iterator<Item = Named> + 'a {
    let module = module_of(&source.path);
    let code = if is_tests_only(&source.path) { "" } else { without_tests(&source.text) };
    named(&module, code).into_iter().filter(|named| named.path.first().is_some_and(|module| modules.contains(module)))
}

#[test]
fn each_module_uses_those_below_it_only() {
    let (modules, mut broken) = (modules(), Vec::new());
    for source in sources(&["src"]) {
        let own = module_of(&source.path).remove(0);
        if rank(&own).is_none() && own != LIBRARY && own != CLIENT.0 {
            broken.push(format!("{}: {own} stands nowhere in the order", source.path));
        }
        for used in uses(&source, &modules) {
            if !may_use(&own, &used.path[0]) {
                broken.push(format!("{}:{} {own} must not use {}", source.path, used.line, used.path.join("::")));
            }
        }
    }
    none("each module uses those below it in the order only", &broken);
}

#[test]
fn the_order_refuses_what_points_upwards_or_sideways() {
    assert!(may_use("http", "rooms") && may_use("rooms", "store") && may_use("terminal", "protocol"));
    assert!(!may_use("rooms", "http") && !may_use("auth", "limits") && !may_use("terminal", "store"));
    assert!(!may_use("rooms", "config") && !may_use("http", "terminal") && !may_use("nowhere", "domain"));
}

/// Impl blocks of a file: line, trait where there is one, and type.
fn impls(text: &str) -> Vec<(usize, Option<String>, String)> {
    let code = without_comments(without_tests(text));
    let mut found = Vec::new();
    for (n, line) in code.lines().enumerate().filter(|(_, line)| line.starts_with("impl")) {
        let head = line.trim_start_matches("impl").trim_start();
        let head = if head.starts_with('<') { after_generics(head) } else { head };
        let (of, on) = match head.split_once(" for ") {
            Some((of, on)) => (Some(base_name(of)), base_name(on)),
            None => (None, base_name(head)),
        };
        found.push((n + 1, of, on));
    }
    found
}

fn after_generics(head: &str) -> &str {
    let mut depth = 0;
    for (at, c) in head.char_indices() {
        match c {
            '<' => depth += 1,
            '>' if !head[..at].ends_with('-') => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return head[at + 1..].trim_start();
        }
    }
    head
}

/// `Error` of `std::error::Error`, `From` of `From<StoreError>`.
fn base_name(text: &str) -> String {
    let text = text.trim().trim_start_matches('&');
    let path: String = text.chars().take_while(|c| c.is_alphanumeric() || *c == '_' || *c == ':').collect();
    path.rsplit("::").next().unwrap_or_default().to_owned()
}

/// An impl of a type stands in its module or in the module of the trait; elsewhere it would be a use that no `use` shows.
#[test]
fn impls_stand_in_the_module_of_their_type_or_trait() {
    let (modules, mut broken) = (modules(), Vec::new());
    for source in sources(&["src"]).iter().filter(|source| !is_tests_only(&source.path)) {
        let own = module_of(&source.path).remove(0);
        let uses: Vec<Named> = uses(source, &modules).collect();
        let from_elsewhere = |name: &str| {
            uses.iter().any(|used| used.path[0] != own && used.path.last().is_some_and(|last| last == name))
        };
        let known = |of: &str, on: &str| {
            FOREIGN_IMPLS.iter().any(|(file, what)| source.path == *file && *what == format!("{of} for {on}"))
        };
        for (line, of, on) in impls(&source.text).into_iter().filter(|(_, _, on)| from_elsewhere(on)) {
            let of = of.unwrap_or_else(|| "methods".to_owned());
            let trait_is_own = source.text.contains(&format!("trait {of}"));
            if !trait_is_own && !known(&of, &on) {
                broken.push(format!("{}:{line} {of} for {on}", source.path));
            }
        }
    }
    none("an impl stands in the module of its type, or in that of its trait", &broken);
}

#[test]
fn an_impl_is_seen_with_its_trait_and_type() {
    let text =
        "impl<T: Into<u8>> From<T> for super::Problem {\n}\nimpl Room {\n}\nimpl std::fmt::Display for Code {\n}\n";
    let found: Vec<_> = impls(text).into_iter().map(|(line, of, on)| (line, of.unwrap_or_default(), on)).collect();
    let own = |of: &str, on: &str| (of.to_owned(), on.to_owned());
    assert_eq!(found[0], (1, own("From", "Problem").0, own("From", "Problem").1));
    assert_eq!((found[1].1.as_str(), found[1].2.as_str()), ("", "Room"));
    assert_eq!((found[2].1.as_str(), found[2].2.as_str()), ("Display", "Code"));
}

/// A stored closure can carry a use of the module above into the module below.
#[test]
fn closures_are_kept_in_few_named_files() {
    let mut broken = Vec::new();
    for source in sources(&["src"]).iter().filter(|source| !CLOSURES.contains(&source.path.as_str())) {
        let code = without_comments(without_tests(&source.text));
        for (n, _) in code.lines().enumerate().filter(|(_, line)| keeps_closure(line)) {
            broken.push(format!("{}:{}", source.path, n + 1));
        }
    }
    none("no boxed closure but where the table says so: use a trait or a type of the module below", &broken);
}

fn keeps_closure(line: &str) -> bool {
    ["Box<dyn Fn", "Arc<dyn Fn", "Rc<dyn Fn"].iter().any(|kept| line.contains(kept))
}

#[test]
fn a_boxed_closure_is_seen() {
    assert!(keeps_closure("type Tell = Box<dyn FnOnce(u8) + Send>;") && !keeps_closure("f: impl Fn(u8)"));
}

/// `store/mod.rs`, never `store.rs` beside `store/`; so a folder says all that is in it.
#[test]
fn a_module_with_children_is_a_folder_with_mod_rs() {
    let broken = sources(&["src", "entity", "migration"]).into_iter().filter(|source| {
        let folder = root().join(source.path.trim_end_matches(".rs"));
        !source.path.ends_with("/mod.rs") && folder.is_dir() && folder.read_dir().is_ok_and(|mut d| d.any(is_rust))
    });
    none("a module with children is a folder with mod.rs", &broken.map(|s| s.path).collect::<Vec<_>>());
}

fn is_rust(entry: std::io::Result<std::fs::DirEntry>) -> bool {
    entry.is_ok_and(|entry| entry.path().extension().is_some_and(|e| e == "rs"))
}

#[test]
fn no_module_is_called_like_one_around_it() {
    let broken = sources(&["src"]).into_iter().filter(|source| {
        let module = module_of(&source.path);
        let distinct: BTreeSet<&String> = module.iter().collect();
        distinct.len() < module.len()
    });
    none("no second file of the same name on one path", &broken.map(|s| s.path).collect::<Vec<_>>());
}

/// `tests/it` starts the real binary; only `tests/contract` calls the library.
#[test]
fn black_box_tests_do_not_call_the_library() {
    let broken = sources(&["tests/it"]).into_iter().filter(|source| source.text.contains("hyper_chat::"));
    none("tests/it does not name the library", &broken.map(|s| s.path).collect::<Vec<_>>());
}
