//! Access that ends in the database, by hand and without a trace in the change feed, closes open sockets.

use futures_util::future::join_all;

use crate::support::device_socket::{DeviceSocket, Way};
use crate::support::token::{claims, mint};
use crate::support::wait::s;
use crate::support::{ChatroomSocket, Db, Person, TestServer, on_both};

on_both![e6_access_that_is_ended_by_hand_closes_sockets_within_thirty_seconds];

async fn e6_access_that_is_ended_by_hand_closes_sockets_within_thirty_seconds(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    let (cem, dan) = (server.api().person("cem").await, server.api().person("dan").await);
    let elsewhere = cem.room_with(&dan).await;
    let minted = |person: &Person| person.with_token(&mint(&claims(person.id)));
    let mut ended = Vec::new();
    for (person, room) in [(ann.clone(), room), (cem.clone(), elsewhere), (minted(&cem), elsewhere)] {
        ended.push(sockets_of(&person, room).await);
    }
    let mut by_frame = DeviceSocket::connect(server.port, &cem.token, Way::FirstFrame).await.expect("a socket");
    by_frame.expect_ready().await;
    // Two of the same chatter and of chatters whose other sign-ins end, which go on.
    let again = ann.signed_in_again().await;
    let (mut other, mut same, mut own) = (bob.device().await, again.device().await, minted(&ann).device().await);
    let dump = server.dump().await;
    let newest = format!("(SELECT id FROM sign_ins WHERE chatter_id = {} ORDER BY create_time DESC LIMIT 1)", ann.id);
    dump.run(&format!("DELETE FROM sign_ins WHERE chatter_id = {} AND id <> {newest}", ann.id)).await;
    dump.run(&format!("UPDATE chatters SET delete_time = 1, password_hash = NULL WHERE id = {}", cem.id)).await;
    let closed = ended.iter_mut().map(|(device, room_socket)| async {
        assert_eq!(device.expect_close(s(35)).await, 4401);
        assert_eq!(room_socket.expect_close(s(5)).await, 4401);
    });
    join_all(closed).await;
    assert_eq!(by_frame.expect_close(s(35)).await, 4401);
    other.says(room, "a", "to those whose access stands").await;
    for device in [&mut same, &mut own] {
        device.expect_chat("to those whose access stands").await;
    }
}

async fn sockets_of(person: &Person, room: i64) -> (DeviceSocket, ChatroomSocket) {
    (person.device().await, person.joins(room).await)
}
