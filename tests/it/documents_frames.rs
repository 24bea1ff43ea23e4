//! The frames on the wire of two device sockets, held against the document.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::contract::check_frame;
use crate::support::raw_socket::TEXT;
use crate::support::{Api, Db, RawSocket, TestServer};

/// Two device sockets and what they do to each other.
struct Devices {
    api: Api,
    ann: RawSocket,
    bob: RawSocket,
    heard: BTreeSet<String>,
}

impl Devices {
    async fn ann_sends(&mut self, frame: Value) {
        self.ann.send(TEXT, frame.to_string().as_bytes()).await;
    }

    /// The next frame of this type to Ann.
    async fn ann_hears(&mut self, kind: &str) -> Value {
        Self::hears(&mut self.ann, &mut self.heard, kind).await
    }

    async fn bob_hears(&mut self, kind: &str) -> Value {
        Self::hears(&mut self.bob, &mut self.heard, kind).await
    }

    async fn hears(socket: &mut RawSocket, heard: &mut BTreeSet<String>, kind: &str) -> Value {
        loop {
            let frame = socket.expect_text().await;
            check_frame("device", &frame);
            let name = frame["type"].as_str().expect("a type").to_owned();
            let found = name == kind;
            heard.insert(name);
            if found {
                return frame;
            }
        }
    }
}

#[tokio::test]
async fn frames_on_the_wire_are_what_the_document_says() {
    let server = TestServer::spawn(Db::Sqlite).await;
    let (ann, bob, room) = server.api().pair().await;
    let path = format!("/ws?jwt={}", bob.token);
    let sockets = (
        RawSocket::open(server.port, "/ws", "").await.unwrap(),
        RawSocket::open(server.port, &path, "").await.unwrap(),
    );
    let mut two = Devices { api: server.api(), ann: sockets.0, bob: sockets.1, heard: BTreeSet::new() };
    two.bob_hears("ready").await;
    two.ann_sends(json!({"type": "auth", "token": ann.token})).await;
    two.ann_hears("ready").await;
    two.bob_hears("presence").await;
    two.ann_sends(json!({"type": "auth", "ref": 1, "token": ann.token})).await;
    two.ann_hears("authenticated").await;
    two.ann_sends(json!({"type": "typing", "chatroom_id": room, "typing": true})).await;
    two.bob_hears("typing").await;
    let send = json!({"type": "send", "ref": "s", "chatroom_id": room, "client_id": "d-1", "content": "over the wire"});
    two.ann_sends(send).await;
    let chat = two.ann_hears("ack").await["chat"]["id"].clone();
    two.bob_hears("chat").await;
    bob.receipt(room, &json!({"read_seq": 1}), (1, 1)).await;
    two.ann_hears("receipt").await;
    two.bob_hears("receipt").await;
    two.ann_sends(json!({"type": "edit", "chat_id": chat, "content": "over and over"})).await;
    two.bob_hears("chat_edited").await;
    two.ann_sends(json!({"type": "delete", "chat_id": chat})).await;
    two.bob_hears("chat_deleted").await;
    two.ann_sends(json!({"type": "resume", "ref": 9, "chatrooms": {room.to_string(): 0}})).await;
    two.ann_hears("changes").await;
    two.ann_hears("resumed").await;
    two.ann_sends(json!({"type": "ping"})).await;
    two.ann_hears("pong").await;
    two.ann_sends(json!({"type": "dance", "ref": 2})).await;
    two.ann_hears("error").await;
    let cem = two.api.person("cem").await;
    let other = ann.room_with(&cem).await;
    two.ann_hears("chatroom_created").await;
    ann.delete(&format!("/api/chatrooms/{other}")).await.expect(200);
    two.ann_hears("chatroom_deleted").await;
    assert!(two.heard.len() >= 14, "{:?}", two.heard);
}
