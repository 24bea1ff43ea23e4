//! Resuming: a device gets what it missed, in order and once, whatever happens meanwhile (promises 3 and 4).

use serde_json::{Value, json};

use crate::support::account::{contents, numbers};
use crate::support::device_checker::{settle, verify};
use crate::support::device_socket::{cursors, send};
use crate::support::wait::s;
use crate::support::{Db, Device, DeviceSocket, Person, TestServer, on_all};

on_all![
    changes_since_a_version_come_in_order,
    a_long_absence_comes_in_pages,
    a_room_too_far_behind_is_reset,
    a_version_beyond_the_room_is_reset,
    many_rooms_are_resumed_in_several_frames,
    events_during_a_resume_come_after_it,
    a_deleted_or_foreign_room_is_reported_as_deleted,
];

/// One of each kind since version 2: an edit of the first, a deletion of the second, and a third chat.
async fn some_changes(ann: &Person, room: i64) -> (Value, Value, Value) {
    let kept = ann.says(room, "known before, edited then").await;
    let gone = ann.says(room, "known before, deleted then").await;
    let path = |chat: &Value| format!("/api/chats/{}", chat["id"]);
    let edited = ann.put(&path(&kept), &json!({"content": "edited meanwhile"})).await.expect(200);
    ann.delete(&path(&gone)).await.expect(200);
    let new = ann.says(room, "written meanwhile").await;
    (edited, gone, new)
}

async fn changes_since_a_version_come_in_order(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    let (edited, gone, new) = some_changes(&ann, room).await;
    let mut device = bob.device().await;
    assert_eq!(device.listed(room)["version"], 5);
    let tombstone = json!({"id": gone["id"], "seq": 2, "version": 4, "deleted": true});
    for (since, rows) in [
        (2, vec![edited.clone(), tombstone.clone(), new.clone()]),
        (0, vec![edited, tombstone.clone(), new.clone()]),
        (3, vec![tombstone, new.clone()]),
        (4, vec![new.clone()]),
        (5, vec![]),
    ] {
        let received = device.resume(&[(room, since)]).await;
        assert_eq!(received.len(), 1, "since {since}: {received:?}");
        let page = &received[0];
        assert_eq!((&page["type"], &page["chatroom_id"]), (&json!("changes"), &json!(room)));
        assert_eq!((&page["since"], &page["version"], &page["has_more"]), (&json!(since), &json!(5), &json!(false)));
        let shown: Vec<_> = page["changes"].as_array().unwrap().iter().map(without_sender_of_tombstone).collect();
        assert_eq!(shown, rows, "since {since}");
    }
    ann.says(room, "and live from there on").await;
    let chat = device.expect_chat("and live from there on").await;
    assert_eq!(chat["version"], 6);
    assert_eq!(device.resume(&[]).await, Vec::<Value>::new(), "no room, no changes");
    device.expect_nothing_else().await;
}

/// A tombstone may also hold the sender.
fn without_sender_of_tombstone(row: &Value) -> Value {
    let mut row = row.clone();
    if row["deleted"] == true {
        row.as_object_mut().expect("an object").remove("sender_id");
    }
    row
}

async fn a_long_absence_comes_in_pages(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    let content = "z".repeat(2_000);
    for _ in 0..300 {
        ann.says(room, &content).await;
    }
    let mut device = bob.device().await;
    let pages = device.resume(&[(room, 0)]).await;
    assert!(pages.len() >= 5, "{} pages of 600 KB", pages.len());
    assert!(device.largest() <= 131_072, "{} bytes", device.largest());
    let (mut at, mut seqs) = (0, Vec::new());
    for (n, page) in pages.iter().enumerate() {
        assert_eq!((&page["type"], &page["since"]), (&json!("changes"), &json!(at)));
        assert_eq!(page["has_more"], n + 1 < pages.len());
        seqs.extend(numbers(page["changes"].as_array().unwrap(), "seq"));
        at = page["version"].as_i64().unwrap();
    }
    assert_eq!((at, seqs), (300, (1..=300).collect()));
}

async fn a_room_too_far_behind_is_reset(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    server.dump().await.add_chats(room, ann.id, 1..=1_200).await;
    let newest = ann.says(room, "the newest of many").await;
    ann.delete(&format!("/api/chats/{}", newest["id"])).await.expect(200);
    let head = 1_202;
    let mut device = bob.device().await;
    assert_eq!(device.listed(room)["version"], head);
    let near = device.resume(&[(room, head - 1_000)]).await;
    assert!(near.iter().all(|frame| frame["type"] == "changes"), "1,000 changes are sent");
    let rows: usize = near.iter().map(|page| page["changes"].as_array().unwrap().len()).sum();
    assert_eq!(rows, 999, "all that lie above, the deletion included");
    let far = device.resume(&[(room, head - 1_001)]).await;
    assert_eq!((far.len(), &far[0]["type"], &far[0]["version"]), (1, &json!("reset"), &json!(head)));
    let chats = far[0]["chats"].as_array().unwrap();
    let seqs = numbers(chats, "seq");
    assert!(!seqs.is_empty() && seqs.windows(2).all(|pair| pair[1] == pair[0] + 1), "{seqs:?}");
    assert_eq!(seqs.last(), Some(&1_200), "the newest page, without the tombstone");
    let shown = bob.get(&format!("/api/chats/{}", chats[0]["id"])).await.expect(200);
    assert_eq!(chats[0], shown, "as REST shows it");
    assert!(device.largest() <= 131_072, "{} bytes", device.largest());
    ann.says(room, "and live from there on").await;
    assert_eq!(device.expect_chat("and live from there on").await["version"], head + 1);
}

async fn a_version_beyond_the_room_is_reset(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    ann.says(room, "the only one there is").await;
    let empty = bob.room_with(&bob).await;
    let mut device = bob.device().await;
    for since in [2, 1_000_000, i64::MAX] {
        let received = device.resume(&[(room, since)]).await;
        assert_eq!(
            (received.len(), &received[0]["type"], &received[0]["version"]),
            (1, &json!("reset"), &json!(1)),
            "{received:?}"
        );
        assert_eq!(contents(received[0]["chats"].as_array().unwrap()), ["the only one there is"]);
    }
    let received = device.resume(&[(empty, 3)]).await;
    assert_eq!(
        (&received[0]["type"], &received[0]["chats"], &received[0]["version"]),
        (&json!("reset"), &json!([]), &json!(0))
    );
    ann.says(room, "and live from there on").await;
    assert_eq!(device.expect_chat("and live from there on").await["version"], 2);
}

async fn many_rooms_are_resumed_in_several_frames(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    let mut rooms = vec![room];
    for n in 0..11 {
        let other = server.api().person(&format!("other-{n}")).await;
        let room = other.room_with(&bob).await;
        other.says(room, &format!("in room number {n}")).await;
        rooms.push(room);
    }
    ann.says(room, "in the first of the rooms").await;
    let device = &mut bob.device().await;
    for (n, part) in rooms.chunks(3).enumerate() {
        let of: Vec<_> = part.iter().map(|room| (*room, 0)).collect();
        device.send_json(&json!({"type": "resume", "ref": n, "chatrooms": cursors(&of)}));
    }
    let mut answered = Vec::new();
    let mut resumed = Vec::new();
    while resumed.len() < rooms.len().div_ceil(3) {
        let frame = device.next(s(10)).await.expect("open");
        match frame["type"].as_str() {
            Some("changes") => answered.push(frame["chatroom_id"].as_i64().unwrap()),
            Some("resumed") => {
                resumed.push(frame["ref"].as_i64().unwrap());
                let done = &rooms[..(resumed.len() * 3).min(rooms.len())];
                assert!(done.iter().all(|room| answered.contains(room)), "{answered:?} before {frame}");
            }
            _ => assert!(frame["type"] == "presence", "{frame}"),
        }
    }
    assert_eq!(resumed, [0, 1, 2, 3], "one after the other");
    answered.sort_unstable();
    assert_eq!(answered, rooms, "each once");
}

async fn events_during_a_resume_come_after_it(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    let content = "z".repeat(1_500);
    let mut writer = ann.device().await;
    for n in 0..200 {
        writer.says(room, &format!("before-{n}"), &content).await;
    }
    let mut devices = vec![Device::new(&bob, server.ports(), "late-1"), Device::new(&bob, server.ports(), "late-2")];
    for (n, device) in devices.iter_mut().enumerate() {
        device.resumed_at_once = 1;
        device.connect().await;
        for m in 0..60 {
            writer.send_json(&send(room, &format!("during-{n}-{m}"), "while the other one catches up"));
            device.turn(std::time::Duration::from_millis(1)).await;
        }
    }
    let dump = server.dump().await;
    let want = 200 + 2 * 60;
    crate::support::eventually("all is stored", s(20), || async { (dump.chats_count().await == want).then_some(()) })
        .await;
    settle(&mut devices, &dump, &[room], s(20)).await;
    verify(&devices, &dump, &[room]).await;
}

async fn a_deleted_or_foreign_room_is_reported_as_deleted(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    let cem = server.api().person("cem").await;
    let strange = ann.room_with(&cem).await;
    ann.says(strange, "not for bob to see").await;
    ann.says(room, "and then the room is gone").await;
    let gone = bob.room_with(&cem).await;
    bob.delete(&format!("/api/chatrooms/{gone}")).await.expect(200);
    let mut device = bob.device().await;
    let received = device.resume(&[(room, 0), (gone, 0), (strange, 0), (999_999, 7)]).await;
    let deleted: Vec<_> = received.iter().filter(|f| f["type"] == "chatroom_deleted").collect();
    let mut ids: Vec<_> = deleted.iter().map(|f| f["chatroom_id"].as_i64().unwrap()).collect();
    ids.sort_unstable();
    let mut expected = vec![gone, strange, 999_999];
    expected.sort_unstable();
    assert_eq!(ids, expected, "one looks like the other: {received:?}");
    assert_eq!(received.iter().filter(|f| f["type"] == "changes").count(), 1, "{received:?}");
    assert_eq!(received.len(), 4);
}

#[tokio::test]
async fn a_room_may_be_resumed_again_and_again() {
    let server = TestServer::spawn(Db::Sqlite).await;
    let (ann, bob, room) = server.api().pair().await;
    let mut device: DeviceSocket = bob.device().await;
    for n in 1..=20 {
        ann.says(room, &format!("number {n} of twenty")).await;
        let frames = [device.resume(&[(room, n - 1)]).await, device.until_pong().await].concat();
        // Live, by the resume, or by both, but never twice by one of them and never by none.
        let live = frames.iter().filter(|f| f["type"] == "chat").count();
        let rows: usize = frames.iter().filter_map(|f| f["changes"].as_array()).map(Vec::len).sum();
        assert!(live <= 1 && rows == 1, "{frames:?}");
    }
}
