//! The frames on the wire of two device sockets, checked against the document.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::raw_socket::TEXT;
use crate::support::schemas::check_frame;
use crate::support::{Api, Db, RawSocket, TestServer};

/// Two device sockets, and the types of frames that they have received.
struct Devices {
    api: Api,
    ann: RawSocket,
    bob: RawSocket,
    received: BTreeSet<String>,
}

impl Devices {
    async fn ann_sends(&mut self, frame: Value) {
        self.ann.send(TEXT, frame.to_string().as_bytes()).await;
    }

    /// The next frame of this type to Ann.
    async fn ann_receives(&mut self, kind: &str) -> Value {
        Self::receives(&mut self.ann, &mut self.received, kind).await
    }

    async fn bob_receives(&mut self, kind: &str) -> Value {
        Self::receives(&mut self.bob, &mut self.received, kind).await
    }

    async fn receives(socket: &mut RawSocket, received: &mut BTreeSet<String>, kind: &str) -> Value {
        loop {
            let frame = socket.expect_text().await;
            check_frame("device", &frame);
            let name = frame["type"].as_str().expect("a type").to_owned();
            let found = name == kind;
            received.insert(name);
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
    let mut two = Devices { api: server.api(), ann: sockets.0, bob: sockets.1, received: BTreeSet::new() };
    two.bob_receives("ready").await;
    two.ann_sends(json!({"type": "auth", "token": ann.token})).await;
    two.ann_receives("ready").await;
    two.bob_receives("presence").await;
    two.ann_sends(json!({"type": "auth", "ref": 1, "token": ann.token})).await;
    two.ann_receives("authenticated").await;
    two.ann_sends(json!({"type": "typing", "chatroom_id": room, "typing": true})).await;
    two.bob_receives("typing").await;
    let send = json!({"type": "send", "ref": "s", "chatroom_id": room, "client_id": "d-1", "content": "over the wire"});
    two.ann_sends(send).await;
    let chat = two.ann_receives("ack").await["chat"]["id"].clone();
    two.bob_receives("chat").await;
    bob.receipt(room, &json!({"read_seq": 1}), (1, 1)).await;
    two.ann_receives("receipt").await;
    two.bob_receives("receipt").await;
    two.ann_sends(json!({"type": "edit", "chat_id": chat, "content": "over and over"})).await;
    two.bob_receives("chat_edited").await;
    two.ann_sends(json!({"type": "delete", "chat_id": chat})).await;
    two.bob_receives("chat_deleted").await;
    two.ann_sends(json!({"type": "resume", "ref": 9, "chatrooms": {room.to_string(): 0}})).await;
    two.ann_receives("changes").await;
    two.ann_receives("resumed").await;
    two.ann_sends(json!({"type": "ping"})).await;
    two.ann_receives("pong").await;
    two.ann_sends(json!({"type": "dance", "ref": 2})).await;
    two.ann_receives("error").await;
    let cem = two.api.person("cem").await;
    let other = ann.room_with(&cem).await;
    two.ann_receives("chatroom_created").await;
    ann.delete(&format!("/api/chatrooms/{other}")).await.expect(200);
    two.ann_receives("chatroom_deleted").await;
    for owner in [&ann, &bob] {
        owner.put("/api/chatters", &json!({"fcm_reg_id": "a-phone-of-two-people"})).await.expect(200);
    }
    two.ann_receives("device_removed").await;
    assert!(two.received.len() >= 14, "{:?}", two.received);
}
