//! The words of refusals: those of the place that was read, with the line and the nearest key.

use super::{SECRET, load, refusal};

/// The one refusal of this file.
fn of_file(file: &str) -> String {
    let refused = refusal(&[], file);
    assert_eq!(refused.lines().count(), 2, "one line below the heading: {refused}");
    assert!(!refused.contains("HYPER_CHAT__"), "the environment was not read: {refused}");
    refused.lines().nth(1).expect("counted").trim().to_owned()
}

#[test]
fn e3_a_key_of_the_file_is_named_as_written_there_with_its_line() {
    for (file, wanted) in [
        ("[server]\n\nport = 99_999", "server.port in hyper_chat.toml, line 3: must be from 0 to 65535, not 99999"),
        ("server.port = 0x1FFFF", "server.port in hyper_chat.toml, line 1: must be from 0 to 65535, not 131071"),
        (
            "# A comment\n[log]\nformat = \"xml\"",
            "log.format in hyper_chat.toml, line 3: must be text or json, not \"xml\"",
        ),
        ("[server]\nport = 99999999999999999999", "server.port in hyper_chat.toml, line 2: must be from 0 to 65535"),
        ("[server]\nport = 1979-05-27", "server.port in hyper_chat.toml, line 2: must be a whole number"),
        ("[server]\nport = 1.0", "server.port in hyper_chat.toml, line 2: must be a whole number"),
        ("[server.port]\nx = 1", "server.port in hyper_chat.toml, line 1: must be a whole number"),
        ("\nserver = 1", "server in hyper_chat.toml, line 2: must be a table, as in [server]"),
        ("[[server]]\nport = 1", "server in hyper_chat.toml, line 1: must be a table, as in [server]"),
        ("[server]\nallowed_origins = \"*\"", "server.allowed_origins in hyper_chat.toml, line 2: must be a list"),
        (
            "[server]\nallowed_origins = [\n\"https://a.example\",\n\"https://b.example/path\",\n]",
            "server.allowed_origins[1] in hyper_chat.toml, line 4: must list origins",
        ),
        (
            "[server]\nallowed_origins = [\n\"https://a.example\",\n5]",
            "server.allowed_origins[1] in hyper_chat.toml, line 4: must be a text",
        ),
        (
            "[server]\nallowed_origins = [{ url = \"https://a.example\" }]",
            "server.allowed_origins[0] in hyper_chat.toml, line 2: must be a text",
        ),
        (
            "[auth]\njwt_secrets_old = [\n\"short\"]",
            "auth.jwt_secrets_old[0] in hyper_chat.toml, line 3: must list secrets of at least 32 bytes",
        ),
        ("[server]\nport = 1\nport = 2", "hyper_chat.toml, line 3: this is not TOML: duplicate key"),
        ("[server]\nhost = \"hunter2", "hyper_chat.toml, line 2: this is not TOML: "),
    ] {
        let refused = of_file(file);
        assert!(refused.starts_with(wanted) && !refused.contains("hunter2"), "{file}: {refused}");
    }
}

#[test]
fn e3_a_misspelt_key_is_refused_with_the_nearest_one() {
    for (file, wanted) in [
        (
            "[server]\nprot = 1",
            "server.prot in hyper_chat.toml, line 2: there is no such key; did you mean server.port?",
        ),
        ("port = 1", "port in hyper_chat.toml, line 1: there is no such key; did you mean server.port?"),
        ("[servr]\nport = 1", "servr in hyper_chat.toml, line 1: there is no such section; did you mean [server]?"),
        ("\n[servr]", "servr in hyper_chat.toml, line 2: there is no such section; did you mean [server]?"),
        (
            "[cluster]\nx = 1",
            "cluster in hyper_chat.toml, line 1: there is no such section; the sections are accounts, ",
        ),
        ("[auth]\nport = 1", "auth.port in hyper_chat.toml, line 2: there is no such key; did you mean server.port?"),
        (
            "[cleanup]\ncolour = 1",
            "cleanup.colour in hyper_chat.toml, line 2: there is no such key; section cleanup has cl",
        ),
        ("[server.tls]\ncert = 1", "server.tls in hyper_chat.toml, line 1: there is no such key"),
        ("\"server.port\" = 1", "server\".\"port in hyper_chat.toml, line 1: there is no such key"),
    ] {
        let refused = of_file(file);
        assert!(refused.starts_with(wanted), "{file}: {refused}");
    }
    for (name, meant) in [
        ("HYPER_CHAT__SERVER__PROT", "did you mean HYPER_CHAT__SERVER__PORT?"),
        ("HYPER_CHAT__SERVER_PORT", "did you mean HYPER_CHAT__SERVER__PORT?"),
        ("HYPER_CHAT__Server__Port", "did you mean HYPER_CHAT__SERVER__PORT?"),
        ("HYPER_CHAT__PORT", "did you mean HYPER_CHAT__SERVER__PORT?"),
        ("HYPER_CHAT__SERVER__PORT_FILE", "did you mean HYPER_CHAT__SERVER__PORT?"),
        ("HYPER_CHAT__JWT_SECRET", "did you mean HYPER_CHAT__AUTH__JWT_SECRET?"),
        ("HYPER_CHAT__LOG__COLOUR", "section log has HYPER_CHAT__LOG__FILTER, HYPER_CHAT__LOG__FORMAT"),
    ] {
        let refused = refusal(&[(name, "1")], "");
        assert!(refused.contains(&format!("{name}: there is no such key; ")) && refused.contains(meant), "{refused}");
        assert!(!refused.contains("hyper_chat.toml"), "the file was not at fault: {refused}");
    }
}

#[test]
fn e3_a_key_that_is_missing_is_named_for_each_place_that_is_in_use() {
    let refused = refusal(&[], "[database]\nurl = \"postgres://127.0.0.1/x\"");
    let both = "HYPER_CHAT__AUTH__JWT_SECRET, or auth.jwt_secret in hyper_chat.toml: must be set with PostgreSQL";
    assert!(refused.contains(both), "{refused}");
}

#[test]
fn e3_a_near_miss_is_a_warning_and_stands_beside_the_refusal_that_it_causes() {
    let near = ("HYPER_CHAT_AUTH_JWT_SECRET", SECRET);
    let meant = "HYPER_CHAT_AUTH_JWT_SECRET is set and not read; did you mean HYPER_CHAT__AUTH__JWT_SECRET?";
    assert_eq!(load(&[near], "").expect("a warning stops nothing").warnings(), [meant]);
    let refused = refusal(&[near, ("DATABASE_URL", "postgres://127.0.0.1/x")], "");
    assert!(refused.contains("HYPER_CHAT__AUTH__JWT_SECRET: must be set") && refused.contains(meant), "{refused}");
    assert!(!refused.contains(SECRET), "{refused}");
    // Kubernetes sets such variables for a service of this name.
    let kubernetes = [
        ("HYPER_CHAT_PORT", "tcp://10.0.0.1:80"),
        ("HYPER_CHAT_SERVICE_HOST", "10.0.0.1"),
        ("HYPER_CHAT_SERVICE_PORT", "80"),
        ("HYPER_CHAT_PORT_80_TCP", "tcp://10.0.0.1:80"),
        ("HYPER_CHAT_PORT_80_TCP_PORT", "80"),
        ("HYPER_CHAT_PORT_80_TCP_ADDR", "10.0.0.1"),
    ];
    assert!(load(&kubernetes, "").expect("not ours").warnings().is_empty());
}

#[test]
fn d6_a_base_path_begins_with_a_slash_and_has_plain_parts() {
    let name = "HYPER_CHAT__SERVER__BASE_PATH";
    for path in ["", "/chat", "/a/b-c/D_1"] {
        assert_eq!(load(&[(name, path)], "").expect("valid").server.base_path, path);
    }
    for wrong in ["chat", "/", "/chat/", "//chat", "/a//b", "/../x", "/a.b", "/a%20b", "/ä", "/a?b", "/api", "/ws/x"] {
        let refused = refusal(&[(name, wrong)], "");
        assert!(refused.contains(&format!("{name}: must")), "{wrong}: {refused}");
    }
}
