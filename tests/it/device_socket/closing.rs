//! How long a signed-in device socket stays open: until its token expires, its sign-in ends, or the server drains.

use serde_json::{Value, json};

use crate::support::device_socket::{DeviceSocket, WAYS, Way};
use crate::support::secrets::PASSWORD;
use crate::support::token::{claims, mint, now};
use crate::support::wait::s;
use crate::support::{Db, Person, RawSocket, TestServer, on_all};

on_all![
    a_token_is_replaced_before_it_expires,
    a_token_of_another_chatter_is_refused_as_a_replacement,
    a_device_is_closed_4401_when_its_token_expires,
    deleting_the_account_closes_every_device_4401,
    a_new_password_closes_the_devices_of_other_sign_ins,
];

/// A token that ends so many seconds from now.
pub(super) fn brief(person: &Person, seconds: i64) -> String {
    let mut brief = claims(person.id);
    brief["exp"] = json!(now() + seconds);
    let token = mint(&brief);
    person.api.secrets.remember(&token);
    token
}

async fn a_token_is_replaced_before_it_expires(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    let mut socket = DeviceSocket::open(server.port, &brief(&ann, 4)).await;
    let mut left = DeviceSocket::open(server.port, &brief(&ann, 4)).await;
    let replaced = socket.ask(json!({"type": "auth", "token": ann.token})).await;
    assert_eq!(replaced["type"], "authenticated", "{replaced}");
    left.refused(json!({"type": "auth", "token": "abc"}), "token_invalid").await;
    left.expect_nothing_else().await;
    assert_eq!(left.expect_close(s(10)).await, 4401, "a token that was refused replaces nothing");
    socket.expect_nothing_else().await;
    bob.says(room, "to the one that stays").await;
    socket.expect_chat("to the one that stays").await;
    // A shorter one counts as well: the last token is the valid one.
    let shorter = socket.ask(json!({"type": "auth", "token": brief(&ann, 2)})).await;
    assert_eq!(shorter["type"], "authenticated", "{shorter}");
    assert_eq!(socket.expect_close(s(10)).await, 4401);
}

async fn a_token_of_another_chatter_is_refused_as_a_replacement(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    let mut socket = ann.device().await;
    let refused = socket.ask(json!({"type": "auth", "token": bob.token})).await;
    assert_eq!((&refused["type"], &refused["problem"]["status"]), (&json!("error"), &json!(401)), "{refused}");
    assert_eq!(socket.says(room, "a", "still from ann").await["sender_id"], ann.id);
    let again = ann.signed_in_again().await;
    let replaced = socket.ask(json!({"type": "auth", "token": again.token})).await;
    assert_eq!(replaced["type"], "authenticated", "another sign-in of the same chatter: {replaced}");
}

async fn a_device_is_closed_4401_when_its_token_expires(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, _, _) = server.api().pair().await;
    let mut sockets = Vec::new();
    for way in WAYS {
        let mut socket = DeviceSocket::connect(server.port, &brief(&ann, 3), way).await.expect("a socket");
        socket.expect_ready().await;
        sockets.push((way, socket));
    }
    for (way, socket) in &mut sockets {
        assert_eq!(socket.expect_close(s(10)).await, 4401, "{way:?}");
    }
}

async fn deleting_the_account_closes_every_device_4401(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, _) = server.api().pair().await;
    let mut devices = [ann.device().await, ann.signed_in_again().await.device().await];
    let mut minted = DeviceSocket::open(server.port, &mint(&claims(ann.id))).await;
    let mut other = bob.device().await;
    ann.delete("/api/chatters").await.expect(200);
    for device in devices.iter_mut().chain([&mut minted]) {
        assert_eq!(device.expect_close(s(5)).await, 4401);
    }
    let mut late = DeviceSocket::unsigned(server.port).await;
    late.send_json(&json!({"type": "auth", "token": ann.token}));
    late.expect_error("token_revoked").await;
    assert_eq!(late.expect_close(s(5)).await, 4401);
    other.until_pong().await;
}

async fn a_new_password_closes_the_devices_of_other_sign_ins(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    let elsewhere = ann.signed_in_again().await;
    let (mut own, mut other) = (ann.device().await, elsewhere.device().await);
    let new = "battery-staple-4713";
    server.api().secrets.remember(new);
    ann.put("/api/chatters", &json!({"password": new, "current_password": PASSWORD})).await.expect(200);
    assert_eq!(other.expect_close(s(5)).await, 4401);
    bob.says(room, "to the one that changed it").await;
    own.expect_chat("to the one that changed it").await;
}

#[tokio::test]
async fn a_drain_closes_devices_1001_and_accepts_no_more() {
    let mut server = TestServer::spawn(Db::Sqlite).await;
    let (ann, _, _) = server.api().pair().await;
    let (mut signed, mut unsigned) = (ann.device().await, DeviceSocket::unsigned(server.port).await);
    // A client that never answers the close keeps the drain going for a moment.
    let _raw = RawSocket::open(server.port, &format!("/ws?jwt={}", ann.token), "").await.expect("a socket");
    server.term();
    assert_eq!(signed.expect_close(s(10)).await, 1001);
    assert_eq!(unsigned.expect_close(s(10)).await, 1001);
    let late: Result<Value, String> = match DeviceSocket::connect(server.port, &ann.token, Way::Header).await {
        Ok(mut socket) => Ok(socket.next(s(5)).await.unwrap_or_default()),
        Err(refused) => Err(refused),
    };
    assert!(late.is_err(), "{late:?}");
    assert_eq!(server.wait_end(s(10)).await.code(), Some(0));
}
