//! Which files may name a foreign package, and whether the paths that the architecture names exist.

use std::fmt::Write as _;

use super::source::{none, root, sources, without_tests};

/// Which files may name a foreign package; a folder stands for all in it.
const PACKAGES: &[(&str, &[&str])] = &[
    ("sea_orm", &["src/store/", "src/domain/ids.rs", "entity/", "migration/"]),
    ("entity", &["src/store/"]),
    ("migration", &["src/store/"]),
    ("config", &["src/config/layers.rs"]),
    ("toml", &["src/config/document.rs"]),
    ("strsim", &["src/config/names.rs"]),
    ("actix_web_actors", &["src/websocket/transport.rs"]),
    ("reqwest", &["src/auth/issuers/", "src/push/", "src/terminal/"]),
    ("tokio_tungstenite", &["src/terminal/"]),
    ("jsonwebtoken", &["src/auth/", "src/push/fcm/"]),
    ("argon2", &["src/auth/password.rs", "src/auth/hasher.rs"]),
    ("redis", &["src/broker/redis/"]),
    ("clap", &["src/main.rs", "src/terminal/"]),
    ("utoipa", &["src/http/", "src/protocol/", "src/domain/ids.rs"]),
    ("prometheus_client", &["src/http/metrics.rs"]),
];

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
