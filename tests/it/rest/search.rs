//! Search in a room: substrings, in any case and any script, always literal.

use serde_json::json;

use super::chats::chat_path;
use crate::support::account::{contents, list, numbers};
use crate::support::rest::next_link;
use crate::support::{Db, Person, TestServer, on_all};

on_all![
    a_search_finds_substrings_newest_first,
    case_does_not_matter_in_any_script,
    one_korean_syllable_is_found,
    pattern_characters_are_literal,
    composed_and_decomposed_letters_match,
    a_search_stays_in_its_room,
    a_search_is_paged,
    queries_are_validated,
    c3_readers_find_what_looks_the_same,
    c3_a_chat_of_a_former_release_is_found_and_forgotten_alike,
];

async fn says_all(person: &Person, room: i64, texts: &[&str]) {
    for text in texts {
        person.says(room, text).await;
    }
}

async fn a_search_finds_substrings_newest_first(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    says_all(&ann, room, &["the old meeting", "something else", "a new meeting point"]).await;
    for person in [&ann, &bob] {
        assert_eq!(person.finds(room, "meeting").await, ["a new meeting point", "the old meeting"]);
        assert_eq!(person.finds(room, "eet").await.len(), 2, "inside a word");
        assert_eq!(person.finds(room, "ing p").await, ["a new meeting point"], "over a blank");
        assert!(person.finds(room, "absent").await.is_empty());
    }
    let found = ann.search(room, "something").await.expect(200);
    for key in ["id", "chatroom_id", "sender_id", "receiver_id", "seq", "version"] {
        assert!(found[0][key].is_i64(), "{key}: {found}");
    }
    assert!(found[0]["content"].is_string() && found[0]["create_time"].is_string(), "{found}");
}

async fn case_does_not_matter_in_any_script(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, _, room) = server.api().pair().await;
    for (text, queries) in [
        ("Hello World", ["hello", "WORLD", "LO wO"]),
        ("Καλημέρα ΟΔΟΣ", ["καλημέρα", "οδος", "ΚΑΛΗΜΈΡΑ"]),
        ("Привет, Мир", ["привет", "МИР", "ВЕТ, м"]),
        ("Lange Straße", ["STRASSE", "straße", "STRAẞE"]),
        ("ÉCOLE Ünïcode", ["école", "ÜNÏCODE", "ole ü"]),
    ] {
        ann.says(room, text).await;
        for query in queries {
            assert_eq!(ann.finds(room, query).await, [text], "{query}");
        }
    }
}

async fn one_korean_syllable_is_found(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, _, room) = server.api().pair().await;
    says_all(&ann, room, &["오늘 회의 있어요", "내일은 없어요", "회"]).await;
    assert_eq!(ann.finds(room, "회").await, ["회", "오늘 회의 있어요"]);
    assert_eq!(ann.finds(room, "회의").await, ["오늘 회의 있어요"]);
    assert_eq!(ann.finds(room, "요").await.len(), 2);
    assert_eq!(ann.finds(room, "늘 회").await, ["오늘 회의 있어요"]);
}

async fn pattern_characters_are_literal(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, _, room) = server.api().pair().await;
    let texts = ["100% sure", "snake_case", "back\\slash", "it's quoted", "plain words", "[a-z]* (x)?"];
    says_all(&ann, room, &texts).await;
    for (query, found) in
        [("%", texts[0]), ("_", texts[1]), ("\\", texts[2]), ("'", texts[3]), ("[a-z]*", texts[5]), ("0% s", texts[0])]
    {
        assert_eq!(ann.finds(room, query).await, [found], "{query}");
    }
    for query in ["%' OR 1=1--", "p%n", "p_ain", "plain_words", ".*", "%%"] {
        assert!(ann.finds(room, query).await.is_empty(), "{query}");
    }
}

async fn composed_and_decomposed_letters_match(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, _, room) = server.api().pair().await;
    let decomposed = "\u{1112}\u{116c}\u{110b}\u{1174} cafe\u{301}";
    ann.says(room, decomposed).await;
    assert_eq!(ann.finds(room, "회의").await, [decomposed]);
    assert_eq!(ann.finds(room, "CAFÉ").await, [decomposed]);
    ann.says(room, "회의 café").await;
    assert_eq!(ann.finds(room, "\u{1112}\u{116c}").await.len(), 2);
}

async fn a_search_stays_in_its_room(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    let cem = server.api().person("cem").await;
    let other = ann.room_with(&cem).await;
    ann.says(room, "needle for bob").await;
    ann.says(other, "needle for cem").await;
    assert_eq!(ann.finds(room, "needle").await, ["needle for bob"]);
    bob.search(other, "needle").await.problem(404, "not_found");
    cem.search(room, "needle").await.problem(404, "not_found");
    let path = format!("/api/chatrooms/{room}/chats/search");
    server.api().post(&path, &json!({"query": "needle"})).await.problem(401, "token_missing");
}

async fn a_search_is_paged(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, _, room) = server.api().pair().await;
    for n in 1..=9 {
        ann.says(room, &format!("needle number {n}")).await;
        ann.says(room, &format!("straw number {n}")).await;
    }
    let (mut seen, mut page) = (Vec::new(), Some(format!("/api/chatrooms/{room}/chats/search?limit=4")));
    while let Some(path) = page {
        let answer = ann.post(&path, &json!({"query": "needle"})).await;
        page = next_link(&answer);
        let found = list(answer);
        assert!(found.len() <= 4 && seen.len() <= 9, "pages overlap");
        assert!(contents(&found).iter().all(|c| c.starts_with("needle")));
        seen.extend(numbers(&found, "seq"));
    }
    assert_eq!(seen, (0..9).rev().map(|n| n * 2 + 1).collect::<Vec<_>>());
}

async fn c3_readers_find_what_looks_the_same(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, _, room) = server.api().pair().await;
    for (query, text) in [
        ("istanbul", "İstanbul"),
        ("işik", "IŞIK"),
        ("resume", "résumé"),
        ("tieng viet", "Tiếng Việt"),
        ("duong", "đường"),
        ("محمد", "مُحَمَّد"),
        ("שלום", "שָׁלוֹם"),
        ("wide 12", "ＷＩＤＥ　１２"),
        ("ガム", "ｶﾞﾑ"),
        ("❤ it", "❤\u{fe0f} it"),
        ("cooperate", "co\u{ad}operate"),
        ("10 km", "10\u{a0}km"),
        ("don't", "don’t"),
    ] {
        ann.says(room, text).await;
        assert_eq!(ann.finds(room, query).await, [text], "{query}");
        assert_eq!(ann.finds(room, text).await, [text], "by itself");
    }
    ann.says(room, "한국어").await;
    for no in ["하", "국\u{1100}", "カ"] {
        assert!(ann.finds(room, no).await.is_empty(), "{no}: a part of a syllable is none");
    }
    for nothing in ["\u{301}", "\u{200b}", "\u{3164}"] {
        ann.search(room, nothing).await.invalid("query");
    }
}

async fn c3_a_chat_of_a_former_release_is_found_and_forgotten_alike(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, _, room) = server.api().pair().await;
    let chat = ann.says(room, "İstanbul, café").await;
    let kept = ann.says(room, "Cafés").await;
    let dump = server.dump().await;
    dump.run("UPDATE chats SET folded = 'i\u{307}stanbul, café'").await;
    assert_eq!(ann.finds(room, "CAFE").await, ["Cafés", "İstanbul, café"]);
    assert_eq!(ann.finds(room, "istanbul").await, ["İstanbul, café"]);
    ann.delete(&chat_path(&chat)).await.expect(200);
    ann.put(&chat_path(&kept), &json!({"content": "another"})).await.expect(200);
    assert!(ann.finds(room, "cafe").await.is_empty());
    assert_eq!(dump.number("SELECT count(*) FROM chats WHERE folded IS NOT NULL").await, 0);
}

async fn queries_are_validated(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, _, room) = server.api().pair().await;
    ann.says(room, "whatever there is").await;
    for bad in ["", "a\u{0}b"] {
        ann.search(room, bad).await.invalid("query");
    }
    let path = format!("/api/chatrooms/{room}/chats/search");
    for unreadable in [json!({}), json!({"query": 7}), json!({"query": null}), json!([])] {
        let answer = ann.post(&path, &unreadable).await;
        assert!(matches!(answer.status, 400 | 422), "{unreadable}: {}", answer.text);
        answer.any_problem();
    }
    let huge = ann.search(room, &"x".repeat(1 << 20)).await;
    huge.problem(413, "too_large");
    let long = ann.search(room, &"x".repeat(8_000)).await;
    assert!(matches!(long.status, 200 | 413 | 422), "{}", long.text);
}
