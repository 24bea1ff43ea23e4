//! `GET /metrics`: well-formed, correct, and without names or contents.

use reqwest::Method;
use serde_json::json;

use crate::support::cluster::Cluster;
use crate::support::metrics::Metrics;
use crate::support::secrets::MARKER;
use crate::support::wait::s;
use crate::support::{Db, DeviceSocket, Redis, TestServer, eventually, on_both};

on_both![metrics_count_what_happens, metrics_hold_no_names_and_no_contents];

const FCM: &str = "a-registration-token-of-bob";

async fn metrics_count_what_happens(db: Db) {
    let server = TestServer::with(db).set("LIMITS__SEND_PER_S", 4).set("PUSH__GRACE_MS", 100).start().await;
    let api = server.api();
    let (ann, bob, room) = api.pair().await;
    bob.put("/api/chatters", &json!({"fcm_reg_id": FCM})).await.expect(200);
    let before = Metrics::of(&api).await;
    assert_eq!(before.get(&format!("build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"))), 1.0);
    assert_eq!((before.get("database_up"), before.get("redis_state{state=\"none\"}")), (1.0, 1.0));
    assert_eq!(before.get("chats_stored_total"), 0.0);

    // A chat for a chatter without a socket, and its push.
    let chat = ann.says(room, "to somebody who is away").await;
    ann.says_once(room, "said once, sent twice", "n-1").await.expect(201);
    ann.says_once(room, "said once, sent twice", "n-1").await.expect(200);
    eventually("a push is counted", s(10), || async {
        let now = Metrics::of(&api).await;
        (now.get("pushes_total{outcome=\"accepted\"}") > 0.0).then_some(())
    })
    .await;
    // Sockets, and the frames that they receive.
    let (mut room_socket, mut device) = (bob.joins(room).await, bob.device().await);
    let unsigned = DeviceSocket::unsigned(server.port).await;
    let open = Metrics::of(&api).await;
    for kind in ["chatroom", "device", "unsigned"] {
        assert_eq!(open.get(&format!("sockets{{kind=\"{kind}\"}}")), 1.0, "{kind}");
    }
    let path = format!("/api/chats/{}", chat["id"]);
    ann.put(&path, &json!({"content": "said differently"})).await.expect(200);
    device.expect("chat_edited").await;
    // Refusals on both ways in.
    let much = json!({"content": "much too much"});
    let heavily = (0..60).map(|_| ann.post_chat(room, &much));
    let answers = futures_util::future::join_all(heavily).await;
    let limited = answers.iter().filter(|answer| answer.status == 429).count();
    let stored = answers.len() - limited;
    room_socket.read_until_seq(2 + stored as i64, s(10)).await;
    api.sign_in("ann", "not-the-password").await.problem(401, "credentials_wrong");
    room_socket.send_text("{this is no frame");
    room_socket.expect_error().await;

    let now = Metrics::of(&api).await;
    assert!(limited > 0 && stored > 0);
    let stored = stored as f64 + 2.0;
    assert_eq!(
        now.since(&before, ["chats_stored_total", "chats_retried_total", "chats_changed_total{change=\"edited\"}"]),
        [stored, 1.0, 1.0]
    );
    let refused = ["http\",code=\"credentials_wrong", "socket\",code=\"malformed"];
    let refused = refused.map(|of| format!("refusals_total{{by=\"{of}\"}}"));
    assert_eq!(now.since(&before, [&refused[0], &refused[1]]), [1.0, 1.0]);
    let [limits] = now.since(&before, ["refusals_total{by=\"http\",code=\"rate_limited\"}"]);
    assert!(limits >= limited as f64, "{limits}");
    // The chatroom socket received the chats after the edit, the device socket all of them.
    assert_eq!(now.since(&open, ["changes_delivered_total"]), [(stored - 2.0) * 2.0 + 1.0]);
    let [commands, commits] = now.since(&before, ["commit_commands_sum", "commit_duration_seconds_count"]);
    assert_eq!(commands, stored + 2.0);
    assert!((1.0..=commands).contains(&commits), "{commits}");
    assert!(now.get("commit_duration_seconds_sum") > 0.0 && now.get("rooms") == 1.0);
    for queue in ["rooms", "writer", "parked", "passwords"] {
        assert_eq!(now.get(&format!("queue_length{{queue=\"{queue}\"}}")), 0.0, "{queue}");
    }
    bob.delete("/api/chatters").await.expect(200);
    assert_eq!(room_socket.expect_close(s(10)).await, 4401);
    let [closed] = Metrics::of(&api).await.since(&now, ["sockets_closed_total{code=\"4401\"}"]);
    assert_eq!(closed, 2.0, "its two sockets");
    drop(unsigned);
}

async fn metrics_hold_no_names_and_no_contents(db: Db) {
    let origin = "https://app.example";
    let server = TestServer::with(db).set("SERVER__ALLOWED_ORIGINS", origin).start().await;
    let api = server.api();
    let (ann, bob, room) = api.pair().await;
    bob.put("/api/chatters", &json!({"fcm_reg_id": FCM})).await.expect(200);
    ann.says(room, &format!("{MARKER} between us")).await;
    let text = Metrics::of(&api).await.text;
    let found = api.secrets.found_in(&text);
    assert!(found.is_empty(), "{found:?}");
    for word in ["ann", "bob", "127.0.0.1", FCM, &ann.token, server.database_url.as_str()] {
        let words = text.split(|c: char| c.is_whitespace() || "\"{}=,".contains(c));
        assert!(words.clone().all(|other| other != word) && (word.len() < 9 || !text.contains(word)), "{word}");
    }
    // A page that may call the interface reads no metrics.
    for from in [origin, "https://other.example", "null"] {
        let answer = api.get_with("/metrics", &[("origin", from)]).await;
        assert!(!answer.text.contains("hyper_chat_"), "{from}");
        if answer.status != 400 {
            answer.problem(403, "origin_refused");
        }
    }
    let post = api.try_request(Method::POST, "/metrics", &[], None).await.expect("an answer");
    post.problem(405, "method_not_allowed");
}

#[tokio::test]
async fn instances_count_exchanged_changes_and_show_the_state_of_redis() {
    let cluster = Cluster::start(2).await;
    let (ann, bob, room) = cluster.server.api().pair().await;
    let (ann, bob) = (cluster.at(0, &ann), cluster.at(1, &bob));
    let mut device = bob.device().await;
    let metrics = async |instance: usize| Metrics::of(&cluster.server.instance(instance).api()).await;
    for n in 0..3 {
        ann.says(room, &format!("across number {n}")).await;
        device.expect_chat(&format!("across number {n}")).await;
    }
    assert_eq!(metrics(0).await.get("changes_relayed_total{direction=\"told\"}"), 3.0);
    // One that was late on its way was read instead.
    let there = metrics(1).await;
    let heard = there.get("changes_relayed_total{direction=\"heard\"}");
    assert!((1.0..=3.0).contains(&heard), "{heard}");
    assert!(there.get("relay_messages_total{outcome=\"heard\"}") >= heard);
    cluster.redis.publish(&format!("hyper:1:c:{}", bob.id), b"garbage").await;
    eventually("garbage is counted", s(10), || async {
        (metrics(1).await.get("relay_messages_total{outcome=\"garbled\"}") == 1.0).then_some(())
    })
    .await;
    away_and_back(&cluster, &cluster.redis, metrics).await;
}

async fn away_and_back(cluster: &Cluster, redis: &Redis, metrics: impl AsyncFn(usize) -> Metrics) {
    let state = async |name: &str| metrics(0).await.get(&format!("redis_state{{state=\"{name}\"}}"));
    assert_eq!(state("up").await, 1.0);
    redis.kill9();
    cluster.becomes_within(0, "degraded", s(10)).await;
    assert_eq!((state("up").await, state("away").await), (0.0, 1.0));
    let roster = async |up: f64| (metrics(0).await.get("redis_roster_up") == up).then_some(());
    eventually("who is connected elsewhere is not known", s(20), async || roster(0.0).await).await;
    eventually("/readyz says how long", s(10), || async {
        let readyz = cluster.readyz(0).await;
        let reason = readyz["reasons"][0].as_str().unwrap_or_default().to_owned();
        assert!(readyz["status"] == "degraded" && reason.starts_with("Redis has been away for "), "{readyz}");
        (metrics(0).await.get("redis_away_seconds") >= 1.0 && !reason.contains("for 0 s")).then_some(())
    })
    .await;
    redis.up();
    cluster.all_ready_within(s(10)).await;
    assert_eq!(state("up").await, 1.0);
    eventually("who is connected elsewhere is known", s(20), async || roster(1.0).await).await;
    assert!(metrics(0).await.get("redis_reconnects_total") >= 1.0);
}
