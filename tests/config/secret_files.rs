//! `…_FILE`: files that hold secrets in place of the environment.

use super::keys::shown;
use super::{SECRET, load, refusal};

/// Every secret: its variable, its key, a content of the file, and the value that this makes.
fn secrets() -> Vec<(&'static str, &'static str, String, String)> {
    let url = "sqlite://from-a-file.db".to_owned();
    let old = format!("{SECRET}\nanother-{SECRET}");
    vec![
        ("DATABASE_URL", "database.url", url.clone(), url.clone()),
        ("HYPER_CHAT__DATABASE__URL", "database.url", url.clone(), url),
        ("HYPER_CHAT__AUTH__JWT_SECRET", "auth.jwt_secret", format!(" {SECRET} "), format!(" {SECRET} ")),
        ("HYPER_CHAT__AUTH__JWT_SECRETS_OLD", "auth.jwt_secrets_old", old.clone(), old.replace('\n', ",")),
    ]
}

#[test]
fn e3_every_secret_may_stand_in_a_file_and_one_newline_at_its_end_does_not_count() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("secret");
    let path = file.to_str().expect("a text");
    for (variable, key, content, value) in secrets() {
        let name = format!("{variable}_FILE");
        for end in ["", "\n", "\r\n"] {
            std::fs::write(&file, format!("{content}{end}")).expect("written");
            let config = load(&[(&name, path)], "").unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!(shown(&config, key), value, "{name} with {end:?}");
        }
        // An empty variable beside it counts as unset, as in compose files.
        assert_eq!(shown(&load(&[(&name, path), (variable, "")], "").expect("one of them"), key), value);
        let both = refusal(&[(&name, path), (variable, "hunter2")], "");
        assert!(both.contains(&format!("{name}: {variable} is set too")) && !both.contains("hunter2"), "{both}");
    }
    std::fs::write(&file, format!("{SECRET}\n\n")).expect("written");
    let config = load(&[("HYPER_CHAT__AUTH__JWT_SECRET_FILE", path)], "").expect("long enough");
    assert_eq!(shown(&config, "auth.jwt_secret"), format!("{SECRET}\n"), "one newline, not two");
}

#[test]
fn e3_redis_and_google_credentials_may_stand_in_files() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        let file = folder.path().join(name);
        std::fs::write(&file, text).expect("written");
        file.to_str().expect("a text").to_owned()
    };
    let (redis, secret) = (write("redis", "redis://:hunter2@127.0.0.1\n"), write("secret", &format!("{SECRET}\n")));
    let postgres = write("postgres", "postgres://u:hunter2@127.0.0.1/x\n");
    let (database, jwt) = (("DATABASE_URL_FILE", &*postgres), ("HYPER_CHAT__AUTH__JWT_SECRET_FILE", &*secret));
    for name in ["REDIS_URL_FILE", "HYPER_CHAT__REDIS__URL_FILE"] {
        let config = load(&[(name, &redis), database, jwt], "").expect("all in files");
        assert_eq!(shown(&config, "redis.url"), "redis://:hunter2@127.0.0.1");
    }
    let google = write("google.json", "{}");
    let config = load(&[("HYPER_CHAT__FCM__SERVICE_ACCOUNT_FILE", &google)], "").expect("a file with the key");
    assert_eq!(shown(&config, "fcm.service_account"), google);
}

#[test]
fn e3_a_file_that_gives_no_secret_is_refused_with_the_variable_and_the_path_and_never_its_content() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).to_str().expect("a text").to_owned();
    for (file, content) in [
        ("empty", &b""[..]),
        ("newline", b"\n"),
        ("binary", b"hunter2\xff"),
        ("short", b"hunter2"),
        ("long", &[b'x'; 70_000]),
    ] {
        std::fs::write(path(file), content).expect("written");
    }
    std::fs::create_dir(path("folder")).expect("made");
    for (file, why) in [
        ("missing", "cannot read"),
        ("folder", "cannot read"),
        ("empty", "is empty"),
        ("newline", "is empty"),
        ("binary", "must be UTF-8 text"),
        ("short", "must have at least 32 bytes"),
        ("long", "has more than 65536 bytes"),
    ] {
        let name = "HYPER_CHAT__AUTH__JWT_SECRET_FILE";
        let refused = refusal(&[(name, &path(file))], "");
        assert_eq!(refused.lines().count(), 2, "{file}: {refused}");
        let named = refused.contains(name) && refused.contains(&path(file)) && refused.contains(why);
        assert!(named && !refused.contains("hunter2"), "{file}: {refused}");
    }
    let refused = refusal(&[("DATABASE_URL_FILE", &path("short"))], "");
    let wanted = format!("DATABASE_URL_FILE ({}): must begin with sqlite: or postgres://", path("short"));
    assert!(refused.contains(&wanted) && !refused.contains("hunter2"), "{refused}");
}
