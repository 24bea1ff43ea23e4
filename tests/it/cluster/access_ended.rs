//! Accounts, sign-ins and rooms that end on one instance end on the others, with and without Redis (promise 10).

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::cluster::Cluster;
use crate::support::device_socket::{DeviceSocket, send};
use crate::support::secrets::PASSWORD;
use crate::support::wait::{SLACK, s};
use crate::support::{ChatroomSocket, Person};

/// A device socket and a chatroom socket of a person.
async fn sockets_of(person: &Person, room: i64) -> (DeviceSocket, ChatroomSocket) {
    (person.device().await, person.joins(room).await)
}

async fn closed_4401((device, room_socket): &mut (DeviceSocket, ChatroomSocket), within: Duration, start: Instant) {
    assert_eq!(device.expect_close(s(10)).await, 4401);
    assert_eq!(room_socket.expect_close(s(10)).await, 4401);
    assert!(start.elapsed() < within + SLACK, "within {within:?}: {:?}", start.elapsed());
}

/// Promise 10.
#[tokio::test]
async fn an_account_deleted_on_one_instance_loses_access_on_the_other_within_a_second() {
    let cluster = Cluster::start(2).await;
    let (ann, bob, room) = cluster.server.api().pair().await;
    let elsewhere = cluster.at(1, &ann);
    let mut ends = sockets_of(&elsewhere, room).await;
    let mut stays = cluster.at(1, &bob).device().await;
    elsewhere.get("/api/chatters/me").await.expect(200);
    let start = Instant::now();
    cluster.at(0, &ann).delete("/api/chatters").await.expect(200);
    closed_4401(&mut ends, s(1), start).await;
    let refused = || async { (elsewhere.get("/api/chatters/me").await.status == 401).then_some(()) };
    crate::support::eventually("the token is dead", s(1) + SLACK, refused).await;
    stays.refused(send(room, "late", "to one who is gone"), "receiver_deleted").await;
}

#[tokio::test]
async fn without_redis_a_deleted_account_loses_access_on_the_other_instance_within_five_seconds() {
    let cluster = Cluster::start(2).await;
    let (ann, _, room) = cluster.server.api().pair().await;
    let elsewhere = cluster.at(1, &ann);
    let mut ends = sockets_of(&elsewhere, room).await;
    cluster.redis.kill9();
    let start = Instant::now();
    cluster.at(0, &ann).delete("/api/chatters").await.expect(200);
    closed_4401(&mut ends, s(5), start).await;
    elsewhere.get("/api/chatters/me").await.expect(401);
}

#[tokio::test]
async fn a_changed_password_ends_the_other_sign_ins_on_the_other_instance() {
    let cluster = Cluster::start(2).await;
    let (ann, bob, room) = cluster.server.api().pair().await;
    let lost = cluster.at(1, &ann.signed_in_again().await);
    let mut ends = sockets_of(&lost, room).await;
    let (mut kept, mut kept_seed) = sockets_of(&cluster.at(1, &ann), room).await;
    let mut other = cluster.at(1, &bob).device().await;
    let start = Instant::now();
    let change = json!({"password": "battery-staple-4712", "current_password": PASSWORD});
    cluster.at(0, &ann).put("/api/chatters", &change).await.expect(200);
    closed_4401(&mut ends, s(1), start).await;
    lost.get("/api/chatters/me").await.expect(401);
    kept.says(room, "a", "who changed it goes on").await;
    kept_seed.expect_message("who changed it goes on").await;
    other.expect_chat("who changed it goes on").await;
    cluster.at(1, &ann).get("/api/chatters/me").await.expect(200);
}

#[tokio::test]
async fn b3_a_session_ended_on_one_instance_loses_access_on_the_other() {
    for with_redis in [true, false] {
        let cluster = Cluster::start(2).await;
        let (ann, bob, room) = cluster.server.api().pair().await;
        let lost = cluster.at(1, &ann.signed_in_again().await);
        let mut ends = sockets_of(&lost, room).await;
        let (mut stays, _stays_too) = sockets_of(&cluster.at(1, &ann), room).await;
        let within = if with_redis { s(1) } else { s(5) };
        if !with_redis {
            cluster.redis.kill9();
        }
        let start = Instant::now();
        cluster.at(0, &lost).delete("/api/auth").await.expect(200);
        closed_4401(&mut ends, within, start).await;
        lost.get("/api/chatters/me").await.problem(401, "token_revoked");
        cluster.at(0, &bob).says(room, "to the session that stays").await;
        stays.expect_chat("to the session that stays").await;
    }
}

#[tokio::test]
async fn a_room_deleted_on_one_instance_is_deleted_on_the_other() {
    for with_redis in [true, false] {
        let cluster = Cluster::start(2).await;
        let (ann, bob, room) = cluster.server.api().pair().await;
        let there = cluster.at(1, &bob);
        let (mut device, mut room_socket) = sockets_of(&there, room).await;
        cluster.at(0, &ann).says(room, "what goes with the room").await;
        device.expect_chat("what goes with the room").await;
        let within = if with_redis { s(1) } else { s(5) };
        if !with_redis {
            cluster.redis.kill9();
        }
        let start = Instant::now();
        cluster.at(0, &ann).delete(&format!("/api/chatrooms/{room}")).await.expect(200);
        assert_eq!(device.expect("chatroom_deleted").await["chatroom_id"], room);
        assert_eq!(room_socket.expect_close(s(10)).await, 4404);
        assert!(start.elapsed() < within + SLACK, "Redis {with_redis}: {:?}", start.elapsed());
        device.refused(send(room, "late", "into a room that is gone"), "not_found").await;
        device.expect_nothing_else().await;
    }
}
