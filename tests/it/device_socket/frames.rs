//! What a device socket makes of frames, good, bad and too many.

use std::time::Instant;

use serde_json::{Value, json};

use crate::support::device_socket::{check_problem, send};
use crate::support::raw_socket::{BINARY, TEXT};
use crate::support::wait::s;
use crate::support::{Db, DeviceSocket, RawSocket, TestServer, alone, on_all};

on_all![
    a_ping_is_answered_and_a_ref_is_repeated,
    an_unknown_type_is_an_error_and_never_a_close,
    a_key_that_is_missing_or_of_the_wrong_kind_is_an_error,
    values_that_break_a_rule_name_the_field,
];

async fn a_ping_is_answered_and_a_ref_is_repeated(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, _, room) = server.api().pair().await;
    let mut socket = ann.device().await;
    socket.send_json(&json!({"type": "ping"}));
    assert_eq!(socket.expect("pong").await, json!({"type": "pong"}));
    let long = "ö".repeat(64);
    for good in [json!(0), json!(-7), json!(9_007_199_254_740_991_i64), json!("a"), json!(long), json!("\"\\\n")] {
        socket.send_json(&json!({"type": "ping", "ref": good}));
        assert_eq!(socket.expect("pong").await, json!({"type": "pong", "ref": good}));
        socket.send_json(&json!({"type": "resume", "ref": good, "chatrooms": {}}));
        assert_eq!(socket.expect("resumed").await, json!({"type": "resumed", "ref": good}));
        let mut frame = send(room, "", "no name at all");
        frame["ref"] = good.clone();
        socket.send_json(&frame);
        assert_eq!(socket.expect_error("invalid").await["ref"], good);
    }
    for bad in [json!(1.5), json!(true), json!([1]), json!({}), json!(""), json!("x".repeat(65))] {
        socket.send_json(&json!({"type": "ping", "ref": bad}));
        let error = socket.expect_error("malformed").await;
        assert!(error.get("ref").is_none(), "{error}");
    }
    socket.send_text(r#"{"type":"auth","ref":1,"type":"ping","ref":2,"unknown":[{"type":"send"}]}"#);
    assert_eq!(socket.expect("pong").await["ref"], 2, "the last of a repeated key counts");
    socket.expect_nothing_else().await;
}

async fn an_unknown_type_is_an_error_and_never_a_close(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, _, _) = server.api().pair().await;
    let mut socket = ann.device().await;
    for kind in ["dance", "", "SEND", "ready", "chat", "ack"].repeat(6) {
        socket.refused(json!({"type": kind}), "malformed").await;
    }
    socket.expect_nothing_else().await;
}

async fn a_key_that_is_missing_or_of_the_wrong_kind_is_an_error(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, _, room) = server.api().pair().await;
    let chat = ann.says(room, "what nothing happens to").await;
    let mut socket = ann.device().await;
    let good = [
        json!({"type": "send", "chatroom_id": room, "client_id": "a", "content": "not to be stored"}),
        json!({"type": "edit", "chat_id": chat["id"], "content": "not to be stored"}),
        json!({"type": "delete", "chat_id": chat["id"]}),
        json!({"type": "typing", "chatroom_id": room, "typing": true}),
        json!({"type": "resume", "chatrooms": {}}),
        json!({"type": "auth", "token": ann.token}),
    ];
    for frame in &good {
        let keys = frame.as_object().expect("an object").keys().filter(|key| *key != "type");
        for key in keys {
            let mut without = frame.clone();
            without.as_object_mut().expect("an object").remove(key);
            let problem = socket.refused(without, "malformed").await;
            assert!(problem["detail"].as_str().is_some_and(|d| d.contains(key.as_str())), "{key}: {problem}");
            for value in [Value::Null, json!([]), json!(1.5), json!({"a": 1.5})] {
                let mut wrong = frame.clone();
                wrong[key] = value;
                socket.refused(wrong, "malformed").await;
            }
        }
    }
    let mut receipts = vec![json!({"type": "receipt", "read_seq": 1})];
    receipts.extend(["1", "1.5", "[]", "99999999999999999999"].map(|bad| {
        let bad: Value = serde_json::from_str(bad).expect("JSON");
        json!({"type": "receipt", "chatroom_id": room, "read_seq": if bad == 1 { json!("1") } else { bad }})
    }));
    for frame in receipts {
        socket.refused(frame, "malformed").await;
    }
    for bad in [json!({"x": 1}), json!({room.to_string(): -1}), json!({room.to_string(): "1"}), json!([room])] {
        socket.refused(json!({"type": "resume", "chatrooms": bad}), "malformed").await;
    }
    let many: serde_json::Map<_, _> = (1..=501).map(|id| (id.to_string(), json!(0))).collect();
    socket.refused(json!({"type": "resume", "chatrooms": many}), "malformed").await;
    socket.expect_nothing_else().await;
    assert_eq!(ann.history(room).await, [chat]);
}

async fn values_that_break_a_rule_name_the_field(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, _, room) = server.api().pair().await;
    let mut socket = ann.device().await;
    let chat = socket.says(room, "first", "what stays as it is").await;
    for content in ["", " \n\u{3000}", "a\u{0}b", &"가".repeat(8_001)] {
        let problem = socket.refused(send(room, "a", content), "invalid").await;
        assert_eq!((&problem["field"], &problem["status"]), (&json!("content"), &json!(422)));
        let edit = json!({"type": "edit", "chat_id": chat["id"], "content": content});
        assert_eq!(socket.refused(edit, "invalid").await["field"], "content");
    }
    for client_id in ["", "é", "a\nb", &"x".repeat(65)] {
        let problem = socket.refused(send(room, client_id, "under a bad name"), "invalid").await;
        assert_eq!(problem["field"], "client_id", "{problem}");
    }
    for (n, content) in ["가".repeat(8_000), "👩‍👩‍👧‍👦 e\u{301} \u{202e}\r\n\"\\</script>".to_owned()].iter().enumerate()
    {
        let chat = socket.says(room, &format!("exact-{n}"), content).await;
        assert_eq!(chat["content"], **content, "stored as sent");
    }
    assert_eq!(ann.history(room).await.len(), 3);
}

/// Frames that are no JSON object with a text `type`, and how many of them within a minute are one too many.
const GARBAGE: [&str; 10] =
    ["not json", "", "[]", "7", "null", "\"ping\"", "{}", r#"{"type":7}"#, r#"{"type":null}"#, r#"{"type":"ping""#];

#[tokio::test]
async fn the_eleventh_malformed_frame_closes_4400() {
    let server = TestServer::spawn(Db::Sqlite).await;
    let (ann, _, room) = server.api().pair().await;
    let deep = format!("{{\"type\":{}{}}}", "[".repeat(200), "]".repeat(200));
    for last in ["not json", &deep] {
        let mut socket = ann.device().await;
        for garbage in GARBAGE {
            socket.send_text(garbage);
            let error = socket.expect("error").await;
            check_problem(&error, "malformed");
            assert!(error.get("ref").is_none(), "{garbage}: {error}");
        }
        socket.expect_nothing_else().await;
        socket.send_text(last);
        assert_eq!(socket.expect_close(s(5)).await, 4400);
    }
    let mut unsigned = DeviceSocket::unsigned(server.port).await;
    GARBAGE.iter().for_each(|garbage| unsigned.send_text(garbage));
    unsigned.send_text("one more");
    assert_eq!(unsigned.expect_close(s(5)).await, 4400, "also before the sign-in");
    let mut socket = ann.device().await;
    assert_eq!(socket.says(room, "a", "a new socket starts anew").await["seq"], 1);
}

#[tokio::test]
async fn c7_a_frame_that_cannot_be_read_is_refused_with_the_name_that_it_has() {
    let server = TestServer::spawn(Db::Sqlite).await;
    let (ann, _, room) = server.api().pair().await;
    let (mut device, mut room_socket) = (ann.device().await, ann.joins(room).await);
    for content in [r#""\ud800""#, r#""\udc00 x""#, "7", "nul", "\"two\nlines\"", r#""a","#, r#""no end"#] {
        device.send_text(&format!(r#"{{"type":"send","ref":"r7","client_id":"c7","content":{content}}}"#));
        let error = device.expect("error").await;
        assert_eq!((&error["ref"], &error["problem"]["code"]), (&json!("r7"), &json!("malformed")), "{content}");
        room_socket.send_text(&format!(r#"{{"client_id":"c7","message":{content}}}"#));
        let error = room_socket.next(s(5)).await.expect("open");
        assert_eq!((&error["client_id"], &error["error"]["code"]), (&json!("c7"), &json!("malformed")), "{content}");
    }
    device.says(room, "c7", "as the name says").await;
    room_socket.expect_message("as the name says").await;
}

#[tokio::test]
async fn a_binary_frame_closes_1003_and_an_oversized_one_1009() {
    let server = TestServer::spawn(Db::Sqlite).await;
    let (ann, _, _) = server.api().pair().await;
    let path = format!("/ws?jwt={}", ann.token);
    let mut binary = RawSocket::open(server.port, &path, "").await.expect("a socket");
    assert!(binary.send(BINARY, br#"{"type":"ping"}"#).await);
    assert_eq!(binary.expect_close(s(5)).await, 1003);
    let mut large = RawSocket::open(server.port, &path, "").await.expect("a socket");
    assert!(large.send(TEXT, json!({"type": "ping", "pad": "p".repeat(131_000)}).to_string().as_bytes()).await);
    while large.expect_text().await["type"] != "pong" {}
    large.send(TEXT, &[b' '; 131_073]).await;
    assert_eq!(large.expect_close(s(5)).await, 1009);
}

#[tokio::test]
async fn a_flood_of_frames_is_refused_then_closed_and_disturbs_no_other_socket() {
    let _turn = alone().await;
    let server = TestServer::with(Db::Sqlite).set("LIMITS__SEND_PER_S", 10).start().await;
    let (ann, bob, room) = server.api().pair().await;
    let (cem, dan) = (server.api().person("cem").await, server.api().person("dan").await);
    let elsewhere = cem.room_with(&dan).await;
    let (mut flooding, mut same) = (ann.device().await, ann.device().await);
    let (mut one, mut two) = (cem.device().await, dan.device().await);
    for n in 0..1_000 {
        let frame = match n % 3 {
            0 => json!({"type": "ping"}),
            1 => json!({"type": "typing", "chatroom_id": room, "typing": true}),
            _ => json!({"type": "receipt", "chatroom_id": room, "read_seq": 1}),
        };
        flooding.send_json(&frame);
    }
    let start = Instant::now();
    one.says(elsewhere, "a", "in another room meanwhile").await;
    two.expect_chat("in another room meanwhile").await;
    assert!(start.elapsed() < s(2), "another room waited {:?}", start.elapsed());
    assert_eq!(flooding.expect_close(s(10)).await, 4429);
    let received = flooding.drain();
    let refused = received.iter().filter(|f| f["type"] == "error").collect::<Vec<_>>();
    assert!((100..=101).contains(&refused.len()), "{} refusals before the close", refused.len());
    refused.iter().for_each(|frame| check_problem(frame, "rate_limited"));
    // 5 x 10 a second, three times as many in a burst: a third of those are pings.
    let pongs = received.iter().filter(|f| f["type"] == "pong").count();
    assert!((50..=70).contains(&pongs), "{pongs} pongs");
    same.expect_nothing_else().await;
    assert_eq!(same.says(room, "a", "each socket has a bucket of its own").await["seq"], 1);
    bob.device().await.expect_nothing_else().await;
}

#[tokio::test]
async fn chats_count_against_the_chatters_rate_on_all_their_devices() {
    let server = TestServer::with(Db::Sqlite).set("LIMITS__SEND_PER_S", 2).start().await;
    let (ann, bob, room) = server.api().pair().await;
    let (mut first, mut second) = (ann.device().await, ann.device().await);
    let mut taken = 0;
    for n in 0..10 {
        let socket = if n % 2 == 0 { &mut first } else { &mut second };
        let reply = socket.ask(send(room, &format!("n-{n}"), "in a hurry on two devices")).await;
        match reply["type"].as_str() {
            Some("ack") => taken += 1,
            _ => {
                check_problem(&reply, "rate_limited");
                assert!(reply["problem"]["retry_after_s"].as_u64() >= Some(1), "{reply}");
            }
        }
    }
    assert!((6..=9).contains(&taken), "a burst of three times the rate for both: {taken} taken");
    bob.device().await.says(room, "b", "another chatter is not affected").await;
    let mut pinging = ann.device().await;
    pinging.until_pong().await;
    for n in 0..400 {
        pinging.send_json(&send(room, &format!("flood-{n}"), "without a pause at all"));
    }
    assert_eq!(pinging.expect_close(s(10)).await, 4429, "refusals are counted whatever they were for");
}

#[tokio::test]
async fn without_a_limit_no_frame_is_too_many() {
    let server = TestServer::spawn(Db::Sqlite).await;
    let (ann, _, _) = server.api().pair().await;
    let mut socket = ann.device().await;
    for n in 0..3_000 {
        socket.send_json(&json!({"type": "ping", "ref": n}));
    }
    for n in 0..3_000 {
        assert_eq!(socket.expect("pong").await["ref"], n, "answered in order");
    }
}
