//! Where a server that inserts a chat, publishes it and lets subscribers forward it loses chats, and this server must
//! not:
//!
//! | | how the simple design loses a chat | where the test is |
//! |---|---|---|
//! | N1 | a subscription breaks while sockets stay open | `cluster::redis_faults` |
//! | N2 | a chat is stored between reading the history and subscribing | here |
//! | N3 | ids are used as a cursor, and the later one is committed first | here |
//! | N4 | a chat is published before it is committed, and then rolled back | here |
//! | N5 | the instance dies between commit and publish; the retry is a duplicate | `cluster::delivery` |
//! | N6 | presence in Redis outlives its instance, and no push is sent | `cluster::push_grace` |

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::account::numbers;
use crate::support::cluster::Cluster;
use crate::support::database::Dump;
use crate::support::wait::{SLACK, s};
use crate::support::{Checker, Person, alone, heavy, stays};

/// How soon a chat crosses between instances while Redis is away.
const WITHOUT_REDIS: Duration = Duration::from_secs(2);

/// A transaction that has taken its chat's id and `seq`, and commits late.
struct Slow(Dump);

impl Slow {
    async fn says(cluster: &Cluster, sender: &Person, room: i64, content: &str) -> Self {
        let line = Dump::open_single(&cluster.server.database_url).await;
        line.run("BEGIN").await;
        line.run(&format!("UPDATE chatrooms SET last_seq = last_seq + 1, version = version + 1 WHERE id = {room}"))
            .await;
        line.run(&format!(
            "INSERT INTO chats (chatroom_id, seq, version, sender_id, content, create_time)
             SELECT id, last_seq, version, {}, '{content}', last_chat_time FROM chatrooms WHERE id = {room}",
            sender.id
        ))
        .await;
        Self(line)
    }

    async fn commits(self) {
        self.0.run("COMMIT").await;
    }
}

/// Row N3: an instance that polls for missed chats does not skip an early id that commits late.
#[tokio::test]
async fn a_chat_with_an_early_id_that_is_committed_late_is_found() {
    let _turn = heavy().await;
    let cluster = Cluster::start(2).await;
    let api = cluster.server.api();
    let (ann, bob, room) = api.pair().await;
    let cem = api.person("cem").await;
    let other = ann.room_with(&cem).await;
    let (ann, bob, cem) = (cluster.at(0, &ann), cluster.at(1, &bob), cluster.at(1, &cem));
    let (mut device, mut room_socket, mut beside) = (bob.device().await, bob.joins(room).await, cem.device().await);
    cluster.redis.kill9();
    cluster.becomes_within(1, "degraded", s(2) + SLACK).await;
    for round in 1..=3 {
        let content = format!("drawn early, committed late, round {round}");
        let late = Slow::says(&cluster, &ann, room, &content).await;
        // When this arrives, the other instance has polled past the id.
        let passed = format!("drawn later, committed first, round {round}");
        ann.says(other, &passed).await;
        beside.expect_chat(&passed).await;
        let start = Instant::now();
        late.commits().await;
        device.expect_chat(&content).await;
        room_socket.expect_message(&content).await;
        assert!(start.elapsed() < WITHOUT_REDIS + SLACK, "round {round}: {:?}", start.elapsed());
    }
}

/// Row N3, for clients with a cursor: no chat gets a version above one that is not committed.
#[tokio::test]
async fn a_cursor_never_skips_a_chat_that_is_still_being_committed() {
    let _turn = heavy().await;
    let cluster = Cluster::start(2).await;
    let (ann, bob, room) = cluster.server.api().pair().await;
    let (mut here, mut there) = (cluster.at(0, &bob).device().await, cluster.at(1, &bob).device().await);
    let changes = format!("/api/chatrooms/{room}/changes?since=");
    for round in 0..3 {
        let since = 2 * round;
        let late = Slow::says(&cluster, &ann, room, "begun first").await;
        let sender = cluster.at(1, &ann);
        let begun = tokio::spawn(async move { sender.says(room, "begun second").await });
        let nothing = || async {
            let page = bob.get(&format!("{changes}{since}")).await.expect(200);
            page["version"] == since && page["changes"] == json!([])
        };
        stays("what is not committed hides what comes after it", Duration::from_millis(300), nothing).await;
        assert!(!begun.is_finished(), "acknowledged in front of an earlier one");
        late.commits().await;
        let second = begun.await.expect("no panic");
        assert_eq!(second["seq"], since + 2);
        let page = bob.get(&format!("{changes}{since}")).await.expect(200);
        assert_eq!(numbers(page["changes"].as_array().expect("a list"), "version"), [since + 1, since + 2]);
        for device in [&mut here, &mut there] {
            device_has(device, since + 2).await;
        }
    }
    Checker::default().compare_views(room, &ann, &bob).verify(&cluster.server).await;
}

/// Reads until the room's version is this one, each version once and in order.
async fn device_has(device: &mut crate::support::DeviceSocket, version: i64) {
    let mut at = version - 2;
    while at < version {
        let frame = device.next_event(s(10)).await.expect("open");
        let next = |row: &Value| row["version"].as_i64().expect("a version");
        let versions = match frame["type"].as_str() {
            Some("chat") => vec![next(&frame["chat"])],
            Some("changes") => frame["changes"].as_array().expect("a list").iter().map(next).collect(),
            _ => continue,
        };
        for version in versions {
            assert_eq!(version, at + 1, "{frame}");
            at = version;
        }
    }
}

/// Rows N2 and D8: each step of a subscription is slow, and chats are committed between any two of them. Polling is
/// off, so a socket never gets a chat that its subscription missed.
#[tokio::test]
async fn a_first_socket_subscribes_before_it_reads_however_long_that_takes() {
    let _turn = alone().await;
    let cluster = Cluster::without_polling(2).await;
    let (ann, bob, room) = cluster.server.api().pair().await;
    let (writer, reader) = (cluster.at(0, &ann), cluster.at(1, &bob));
    let said = AtomicUsize::new(0);
    // A subscription crosses the line two to four times, and the sign-in waits for it at most 500 ms.
    for (round, lag) in (0..9).zip([5, 15, 40].into_iter().cycle()) {
        cluster.wires[1].slow(Duration::from_millis(lag));
        // The last chat is sent at any moment of the subscription, and no later chat shows a gap.
        let writes = async {
            for n in 0..=(round * 7 % 10) {
                writer.says(room, &format!("round {round}, number {n}")).await;
                said.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let joins = async {
            let room_socket = reader.joins(room).await;
            (room_socket, said.load(Ordering::Relaxed) as i64)
        };
        let (mut device, (mut room_socket, before), ()) = tokio::join!(reader.device(), joins, writes);
        let said = said.load(Ordering::Relaxed) as i64;
        let mut version = device.listed(room)["version"].as_i64().expect("a version");
        while version < said {
            let next = device.expect("chat").await["chat"]["version"].as_i64().expect("a version");
            assert_eq!(next, version + 1, "round {round}: none skipped, none twice");
            version = next;
        }
        // A chat may have been stored, and not yet acknowledged, when the socket joined.
        if said > before + 1 {
            room_socket.read_until_seq(said, s(5)).await;
        }
        let seqs: Vec<_> = room_socket.chats.iter().map(|chat| chat["seq"].as_i64().expect("a number")).collect();
        assert!(seqs.windows(2).all(|pair| pair[1] == pair[0] + 1), "round {round}: {seqs:?}");
        device.close();
        room_socket.close();
        device.expect_close(s(5)).await;
        room_socket.expect_close(s(5)).await;
        cluster.wires[1].heal();
    }
}

/// Row N4.
#[tokio::test]
async fn a_chat_that_was_rolled_back_reaches_no_client() {
    let _turn = heavy().await;
    let cluster = Cluster::start(2).await;
    let (ann, bob, room) = cluster.server.api().pair().await;
    let (mut devices, mut room_sockets) = (Vec::new(), Vec::new());
    for instance in 0..2 {
        for person in [&ann, &bob] {
            devices.push(cluster.at(instance, person).device().await);
            room_sockets.push(cluster.at(instance, person).joins(room).await);
        }
    }
    let dump = cluster.server.dump().await;
    // The connection is lost at the very end of the transaction, which is rolled back.
    dump.run(
        "CREATE FUNCTION dies() RETURNS trigger LANGUAGE plpgsql AS
         'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END';
         CREATE CONSTRAINT TRIGGER dies AFTER INSERT ON chats DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
         WHEN (NEW.content LIKE '%rolled back') EXECUTE FUNCTION dies()",
    )
    .await;
    for (instance, client_id) in [(0, "first"), (1, "second")] {
        let answer = cluster.at(instance, &ann).says_once(room, "what is rolled back", client_id).await;
        answer.problem(503, "unavailable");
    }
    room_sockets[0].send("over a socket, rolled back");
    assert_eq!(room_sockets[0].expect_error().await["code"], "unavailable");
    dump.run("DROP TRIGGER dies ON chats").await;
    assert_eq!(dump.chats_count().await, 0);
    // The next frame of every client is the first chat of the room: the retry.
    let stored = cluster.at(1, &ann).says_once(room, "what is rolled back", "first").await.expect(201);
    assert_eq!((&stored["seq"], &stored["version"]), (&json!(1), &json!(1)));
    for device in &mut devices {
        assert_eq!(device.expect_chat("what is rolled back").await, stored);
        device.expect_nothing_else().await;
    }
    for room_socket in &mut room_sockets {
        assert_eq!(room_socket.expect_message("what is rolled back").await["id"], stored["id"]);
    }
    Checker::default().compare_views(room, &ann, &bob).verify(&cluster.server).await;
}
