//! Every configuration key: its default, its description, its precedence, the README's ten, and the refusal of a
//! mistake.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]
#![allow(unreachable_pub, reason = "no crate uses a test program; its modules share what is pub")]

mod errors;
mod keys;
mod process;
mod secret_files;

use std::collections::BTreeSet;

use hyper_chat::config::{Config, ConfigError, DatabaseKind, File, SHORT_NAMES};
use secrecy::ExposeSecret;

use self::keys::{Key, another, in_file, keys, shown};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn env(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn load(pairs: &[(&str, &str)], file: &str) -> Result<Config, ConfigError> {
    Config::from_parts(env(pairs), Some(File { name: "hyper_chat.toml", text: file }))
}

/// Decides what a server that others can reach is asked for.
const DECIDED: (&str, &str) = ("HYPER_CHAT__ACCOUNTS__PUBLIC_DIRECTORY", "true");

fn refusal(pairs: &[(&str, &str)], file: &str) -> String {
    load(pairs, file).expect_err("it must be refused").to_string()
}

#[test]
fn every_key_has_a_default_and_can_be_overridden_by_the_file_and_the_environment() {
    let defaults = load(&[], "").expect("the defaults are valid");
    let decided = |key: &Key| match key.key.as_str() {
        "server.proxy_hops" => vec![DECIDED],
        _ => Vec::new(),
    };
    for key in keys().iter().filter(|key| key.key != "redis.url") {
        let (file, value) = (in_file(key, &another(key)), another(key));
        assert_ne!(shown(&defaults, &key.key), value, "{}", key.key);
        let from_file = load(&decided(key), &file).unwrap_or_else(|e| panic!("{}: {e}", key.key));
        assert_eq!(shown(&from_file, &key.key), value, "{} from the file", key.key);
        let variable = key.variable();
        let from_env = [decided(key), vec![(variable.as_str(), value.as_str())]].concat();
        let from_env = load(&from_env, "").unwrap_or_else(|e| panic!("{}: {e}", key.key));
        assert_eq!(shown(&from_env, &key.key), value, "{} from the environment", key.key);
        let default = shown(&defaults, &key.key);
        if key.default != "\"\"" && key.default != "[]" {
            let both = load(&[(&key.variable(), &default)], &file).unwrap_or_else(|e| panic!("{}: {e}", key.key));
            assert_eq!(shown(&both, &key.key), default, "{}: the environment beats the file", key.key);
        }
    }
}

#[test]
fn every_number_has_a_range_and_its_refusal_names_the_key_as_written() {
    for key in keys().iter().filter(|key| key.default.parse::<i64>().is_ok()) {
        for wrong in ["-1", "99999999999", "1.5", "abc", "", "true"] {
            let refused = refusal(&[(&key.variable(), wrong)], "");
            assert!(refused.contains(&format!("{}: must be", key.variable())), "{refused}");
        }
        for wrong in ["-1", "99999999999", "1.5", "\"1\"", "true", "[1]"] {
            let (section, name) = key.key.split_once('.').expect("a section");
            let refused = refusal(&[], &format!("[{section}]\n{name} = {wrong}"));
            assert!(refused.contains(&format!("{} in hyper_chat.toml, line 2: must be", key.key)), "{refused}");
        }
    }
}

#[test]
fn the_short_names_override_everything() {
    let file = "[server]\nport = 1\n[database]\nurl = \"sqlite://file.db\"";
    let long = [("HYPER_CHAT__SERVER__PORT", "2"), ("HYPER_CHAT__DATABASE__URL", "sqlite://env.db")];
    let short = [("PORT", "3"), ("DATABASE_URL", "sqlite://short.db")];
    assert_eq!(load(&[], file).expect("file").server.port, 1);
    assert_eq!(load(&long, file).expect("env").server.port, 2);
    let all = load(&[&long[..], &short, &[DECIDED]].concat(), file).expect("all");
    assert_eq!(all.server.port, 3);
    assert_eq!(all.database.kind(), DatabaseKind::Sqlite("short.db".into()));
    assert_eq!(load(&[("PORT", ""), ("DATABASE_URL", "")], file).expect("empty is unset").server.port, 1);
    assert!(refusal(&[("PORT", "http")], "").contains("PORT: must be a whole number"));
}

#[test]
fn the_host_is_all_interfaces_when_the_platform_sets_a_port() {
    assert_eq!(load(&[], "").expect("default").server.host, "127.0.0.1");
    assert_eq!(load(&[("PORT", "80"), DECIDED], "").expect("PORT").server.host, "0.0.0.0");
    assert_eq!(load(&[("HYPER_CHAT__SERVER__PORT", "80")], "").expect("long").server.host, "127.0.0.1");
    let both = load(&[("PORT", "80"), ("HYPER_CHAT__SERVER__HOST", "127.0.0.1")], "").expect("both");
    assert_eq!(both.server.host, "127.0.0.1");
}

#[test]
fn e15_a_server_that_others_can_reach_asks_whether_its_directory_is_public() {
    let host = |host| ("HYPER_CHAT__SERVER__HOST", host);
    let proxy = ("HYPER_CHAT__SERVER__PROXY_HOPS", "1");
    for open in
        [&[][..], &[host("127.0.0.1")], &[host("127.8.8.8"), ("PORT", "80")], &[host("::1")], &[host("localhost")]]
    {
        assert!(load(open, "").expect("nobody else can reach it").accounts.public_directory);
    }
    for reachable in
        [&[("PORT", "80")][..], &[host("0.0.0.0")], &[host("::")], &[host("10.0.0.1")], &[host("unix:/s")], &[proxy]]
    {
        let refused = refusal(reachable, "");
        let named = refused.contains("HYPER_CHAT__ACCOUNTS__PUBLIC_DIRECTORY: must be decided");
        assert!(named && refused.contains("true lists") && refused.contains("false asks"), "{refused}");
        assert_eq!(refused.lines().count(), 2, "one line below the heading: {refused}");
        for decision in ["true", "false"] {
            let decided = [reachable, &[(DECIDED.0, decision)]].concat();
            let config = load(&decided, "").expect("decided");
            assert_eq!(config.accounts.public_directory.to_string(), decision);
            let file = format!("[accounts]\npublic_directory = {decision}");
            assert!(load(reachable, &file).is_ok(), "in the file");
        }
    }
}

#[test]
fn google_credentials_only_fill_an_empty_key() {
    let google = ("GOOGLE_APPLICATION_CREDENTIALS", "/google.json");
    let path = |config: Config| config.fcm.service_account.expect("a path");
    assert_eq!(path(load(&[google], "").expect("alone")).to_str(), Some("/google.json"));
    let file = "[fcm]\nservice_account = \"/ours.json\"";
    assert_eq!(path(load(&[google], file).expect("with a file")).to_str(), Some("/ours.json"));
}

#[test]
fn unknown_keys_are_refused_and_the_known_ones_are_named() {
    let refused = refusal(&[("HYPER_CHAT__SERVER__PROT", "1")], "");
    assert!(refused.contains("HYPER_CHAT__SERVER__PROT: there is no such key"), "{refused}");
    assert!(refused.contains("HYPER_CHAT__SERVER__PORT"), "{refused}");
    for name in ["HYPER_CHAT__PORT", "HYPER_CHAT__", "HYPER_CHAT__SERVER__PORT__X", "HYPER_CHAT__Server__Port"] {
        assert!(refusal(&[(name, "1")], "").contains(&format!("{name}: there is no such key")), "{name}");
    }
    // Kubernetes sets such variables for a service of this name.
    assert!(load(&[("HYPER_CHAT_PORT", "tcp://10.0.0.1:80"), ("HYPER_CHAT_SERVICE_HOST", "10.0.0.1")], "").is_ok());
}

#[test]
fn all_problems_are_reported_at_once() {
    let refused = refusal(&[("PORT", "x"), ("HYPER_CHAT__LOG__FORMAT", "xml")], "[push]\nlease_ms = 0");
    for part in
        ["PORT: ", "HYPER_CHAT__LOG__FORMAT: must be text or json", "push.lease_ms in hyper_chat.toml, line 2: "]
    {
        assert!(refused.contains(part), "{part}: {refused}");
    }
}

#[test]
fn values_of_a_wrong_form_are_refused() {
    for (name, value) in [
        ("DATABASE_URL", "mysql://127.0.0.1/x"),
        ("DATABASE_URL", "sqlite://"),
        ("HYPER_CHAT__DATABASE__URL", ""),
        ("HYPER_CHAT__SERVER__HOST", "unix:"),
        ("HYPER_CHAT__SERVER__HOST", "unix:run/x.sock"),
        ("HYPER_CHAT__SERVER__SOCKET_MODE", "660x"),
        ("HYPER_CHAT__SERVER__SOCKET_MODE", "+660"),
        ("HYPER_CHAT__SERVER__SOCKET_MODE", "0888"),
        ("HYPER_CHAT__SERVER__SOCKET_MODE", "0"),
        ("HYPER_CHAT__SERVER__SOCKET_MODE", "4755"),
        ("HYPER_CHAT__FCM__BASE_URL", "fcm.example"),
        ("HYPER_CHAT__SERVER__ALLOWED_ORIGINS", "https://a.example/path"),
        ("HYPER_CHAT__SERVER__ALLOWED_ORIGINS", "*"),
        ("HYPER_CHAT__AUTH__JWT_ISSUER", " "),
        ("HYPER_CHAT__AUTH__ARGON2_PARALLELISM", "64"),
        ("HYPER_CHAT__ACCOUNTS__DELETION", "erase"),
        ("HYPER_CHAT__ACCOUNTS__PUBLIC_DIRECTORY", "yes"),
        ("HYPER_CHAT__ACCOUNTS__SIGN_UP", "ask"),
    ] {
        let memory = ("HYPER_CHAT__AUTH__ARGON2_MEMORY_KIB", "64");
        let refused = refusal(&[(name, value), memory], "");
        assert!(
            refused.contains(name) || name.ends_with("PARALLELISM") && refused.contains(memory.0),
            "{name}: {refused}"
        );
    }
}

#[test]
fn a_secret_is_long_and_required_where_instances_could_share_it() {
    let secret = "HYPER_CHAT__AUTH__JWT_SECRET";
    assert!(
        refusal(&[(secret, &SECRET[1..])], "").contains("HYPER_CHAT__AUTH__JWT_SECRET: must have at least 32 bytes")
    );
    let postgres = ("DATABASE_URL", "postgres://u:hunter2@127.0.0.1/x");
    assert!(refusal(&[postgres], "").contains("HYPER_CHAT__AUTH__JWT_SECRET: must be set with PostgreSQL"));
    assert!(
        refusal(&[("REDIS_URL", "redis://h")], "").contains("HYPER_CHAT__AUTH__JWT_SECRET: must be set with Redis")
    );
    let config = load(&[postgres, (secret, SECRET)], "").expect("with a secret");
    assert_eq!(config.jwt_secret().expect("the configured one").expose_secret(), SECRET);
    // A text of digits stays a text.
    let digits = load(&[(secret, "00000000000000000000000000000012")], "").expect("digits");
    assert_eq!(shown(&digits, "auth.jwt_secret"), "00000000000000000000000000000012");
}

#[test]
fn old_secrets_are_long_and_are_not_shown() {
    let old = "HYPER_CHAT__AUTH__JWT_SECRETS_OLD";
    let refused = refusal(&[(old, &format!("{SECRET},hunter2"))], "");
    assert!(refused.contains("HYPER_CHAT__AUTH__JWT_SECRETS_OLD: must list secrets of at least 32 bytes"), "{refused}");
    assert!(!refused.contains("hunter2"), "{refused}");
    let config = load(&[(old, SECRET)], "").expect("valid");
    assert!(!format!("{config:?}").contains(SECRET), "{config:?}");
    assert!(!format!("{:?}", config.signing_secrets().expect("made")).contains(SECRET));
}

#[test]
fn without_a_secret_sqlite_keeps_one_beside_its_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("sqlite://{}/a%20b.db?mode=rwc", folder.path().display());
    let config = load(&[("DATABASE_URL", &url)], "").expect("valid");
    let first = config.jwt_secret().expect("made");
    assert_eq!(first.expose_secret(), config.jwt_secret().expect("kept").expose_secret());
    assert!(folder.path().join("a b.db.secret").exists());
    for url in ["sqlite::memory:", "sqlite://:memory:", "sqlite://x?mode=memory"] {
        let allowed = ("HYPER_CHAT__DATABASE__UNSAFE_DURABILITY", "true");
        let config = load(&[("DATABASE_URL", url), allowed], "").expect("valid");
        assert_eq!(config.database.kind(), DatabaseKind::SqliteInMemory);
        let (one, two) = (config.jwt_secret().expect("random"), config.jwt_secret().expect("random"));
        assert_ne!(one.expose_secret(), two.expose_secret());
    }
}

#[test]
fn redis_needs_postgresql() {
    let redis = [("REDIS_URL", "redis://:hunter2@127.0.0.1"), ("HYPER_CHAT__AUTH__JWT_SECRET", SECRET)];
    let refused = refusal(&redis, "");
    assert!(
        refused.contains("REDIS_URL: is for several instances, which need PostgreSQL: set DATABASE_URL"),
        "{refused}"
    );
    assert!(!refused.contains("hunter2"), "{refused}");
    let with_postgres = [&redis[..], &[("DATABASE_URL", "postgres://127.0.0.1/x")]].concat();
    let config = load(&with_postgres, "").expect("valid");
    assert_eq!(shown(&config, "redis.url"), "redis://:hunter2@127.0.0.1");
    assert!(!format!("{config:?}").contains("hunter2"));
    let refused = refusal(&[with_postgres[1], with_postgres[2], ("REDIS_URL", "http://h")], "");
    assert!(refused.contains("REDIS_URL: must begin with redis:// or rediss://"), "{refused}");
}

#[test]
fn neither_debug_nor_a_refusal_shows_a_secret() {
    let url = "postgres://u:hunter2@127.0.0.1/x";
    let config = load(&[("DATABASE_URL", url), ("HYPER_CHAT__AUTH__JWT_SECRET", SECRET)], "").expect("valid");
    let debug = format!("{config:?}");
    assert!(!debug.contains("hunter2") && !debug.contains(SECRET), "{debug}");
    for file in ["[auth]\njwt_secret = \"hunter2", "[auth]\njwt_secret = hunter2", "[auth]\njwt_secret = [\"hunter2\"]"]
    {
        let refused = refusal(&[], file);
        assert!(!refused.contains("hunter2") && refused.contains("hyper_chat.toml"), "{refused}");
    }
    assert!(!refusal(&[("DATABASE_URL", "mysql://u:hunter2@h/x")], "").contains("hunter2"));
}

/// The rows of the table between the markers of README.md: key, short name (may be empty) and default.
fn rows_of_the_readme() -> Vec<[String; 3]> {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).expect("README.md");
    let (begin, end) = ("<!-- config:begin -->\n", "<!-- config:end -->");
    let table = readme.split_once(begin).and_then(|(_, rest)| rest.split_once(end)).map(|(table, _)| table);
    let rows = table.expect("a table between the markers").lines().skip(2);
    let cell = |text: Option<&str>| text.expect("a cell").trim().trim_matches('`').to_owned();
    rows.map(|row| {
        let mut cells = row.split('|').skip(1);
        [cell(cells.next()), cell(cells.next()), cell(cells.next())]
    })
    .collect()
}

#[test]
fn the_ten_settings_of_the_readme_exist_and_have_these_defaults() {
    let (keys, rows) = (keys(), rows_of_the_readme());
    assert_eq!(rows.len(), 10, "README.md shows ten settings");
    for [name, short, default] in &rows {
        let key = keys.iter().find(|key| key.key == *name);
        let key = key.unwrap_or_else(|| panic!("README.md: {name} is not in config.default.toml"));
        let shown = if key.default == "\"\"" { "empty" } else { key.default.as_str() };
        assert_eq!(default, shown, "README.md: the default of {name}");
        let known = SHORT_NAMES.iter().find(|(_, long)| long == name).map_or("", |(short, _)| *short);
        assert_eq!(short, known, "README.md: the short name of {name}");
    }
}

#[test]
fn every_key_stands_once_in_the_defaults_and_is_explained() {
    let keys = keys();
    assert_eq!(keys.iter().map(|key| &key.key).collect::<BTreeSet<_>>().len(), keys.len(), "a key stands twice");
    let unexplained: Vec<_> = keys.iter().filter(|key| key.meaning.is_empty()).map(|key| &key.key).collect();
    assert!(unexplained.is_empty(), "config.default.toml does not explain {unexplained:?}");
}
