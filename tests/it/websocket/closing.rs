//! Pings, the closing handshake, and clients that fall silent or vanish.

use super::{Room, masked};
use crate::support::proxy::Proxy;
use crate::support::raw_socket::{CLOSE, PING, TEXT, frame};
use crate::support::sockets_open::open_sockets;
use crate::support::wait::s;
use crate::support::{RawSocket, until};

#[tokio::test]
async fn a_close_is_answered_and_the_connection_ends_whatever_the_client_does() {
    let room = Room::new().await;
    let mut socket = room.socket().await;
    assert!(socket.send(CLOSE, &1000u16.to_be_bytes()).await);
    assert_eq!(socket.expect_close(s(3)).await, 1000);
    socket.expect_end(s(3)).await;
    let mut talker = room.socket().await;
    let mut bytes = masked(0x80 | CLOSE, &1000u16.to_be_bytes());
    bytes.extend(masked(0x80 | TEXT, br#"{"message":"after the close"}"#));
    assert!(talker.write(&bytes).await);
    assert_eq!(talker.expect_close(s(3)).await, 1000);
    talker.expect_end(s(3)).await;
    let mut broken = room.socket().await;
    assert!(broken.write(&frame(0x80 | TEXT, None, b"x")).await);
    assert_eq!(broken.expect_close(s(3)).await, 1002);
    broken.expect_end(s(3)).await;
    let mut empty = room.socket().await;
    assert!(empty.send(CLOSE, b"").await);
    let code = empty.expect_close(s(3)).await;
    assert!(matches!(code, 1000 | 1005), "{code}");
    assert!(room.ann.history(room.id).await.is_empty(), "nothing after a close counts");
}

#[tokio::test]
async fn a_silent_peer_is_pinged_and_disconnected_after_sixty_seconds() {
    let room = Room::new().await;
    let mut silent = room.socket().await;
    let proxy = Proxy::before(room.server.port).await;
    let gone = RawSocket::open(proxy.port, &room.path(), "").await.expect("a socket");
    let behind = proxy.ports_behind();
    until("the server has the socket behind the proxy", s(20), || open_sockets(room.server.port, &behind) == 1).await;
    proxy.hole();
    silent.expect(PING, s(30)).await;
    let code = silent.expect_close(s(75)).await;
    assert_eq!(code, 4408, "silent too long");
    silent.expect_end(s(15)).await;
    until("the server closes the socket behind the hole", s(30), || open_sockets(room.server.port, &behind) == 0).await;
    drop(gone);
}

#[tokio::test]
async fn the_socket_of_a_vanished_client_is_closed() {
    let room = Room::new().await;
    let mut ports = std::collections::HashSet::new();
    for _ in 0..20 {
        ports.insert(room.socket().await.local_port());
    }
    until("the server closes sockets whose clients have vanished", s(10), || {
        open_sockets(room.server.port, &ports) == 0
    })
    .await;
    room.still_works().await;
}
