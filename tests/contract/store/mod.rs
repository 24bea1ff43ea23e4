//! The store on both databases: a store of its own for each test, and direct access to its database.

mod changes;
mod room_lists;
mod rooms;

use std::time::Duration;

use hyper_chat::domain::chatroom::{Chatroom, Watermarks};
use hyper_chat::domain::{ChatroomId, ChatterId};
use hyper_chat::store::chatrooms::Created;
use hyper_chat::store::{Options, Store};
use tempfile::TempDir;

use crate::support::Db;
use crate::support::database::{Dump, sqlite_url};
use crate::support::postgres::fresh_database;

/// A store of its own, and direct access to its database.
pub struct Bench {
    pub store: Store,
    pub dump: Dump,
    pub _folder: TempDir,
}

/// Chatters 1 to 9, and no room.
pub async fn bench(db: Db) -> Bench {
    let folder = tempfile::tempdir().expect("a folder");
    let url = match db {
        Db::Sqlite => sqlite_url(&folder.path().join("chat.db")),
        Db::Postgres | Db::Cluster => fresh_database().await,
    };
    let options = Options {
        url: url.clone(),
        migrate: true,
        migration_wait: Duration::ZERO,
        connections_max: 4,
        has_broker: false,
        unsafe_durability: false,
        push_grace: Duration::from_secs(3),
    };
    let store = Store::open(&options, |writer| drop(tokio::spawn(writer.run()))).await.expect("opens");
    let bench = Bench { store, dump: Dump::open(&url).await, _folder: folder };
    bench.chatters(1, 9).await;
    bench
}

impl Bench {
    pub async fn chatters(&self, from: i64, to: i64) {
        let rows: Vec<_> = (from..=to).map(|id| format!("({id}, 'c{id}', 'c{id}', 'c', 1)")).collect();
        let sql = "INSERT INTO chatters (id, username, username_key, nickname, create_time) VALUES ";
        self.dump.run(&format!("{sql}{}", rows.join(","))).await;
    }

    pub async fn room(&self, owner: i64, opponent: i64) -> Chatroom {
        match self.store.create_chatroom(owner.into(), opponent.into()).await.expect("answers") {
            Created::New(room) => room,
            other => panic!("no new room: {other:?}"),
        }
    }

    /// This many chats of a sender, after the stored ones.
    pub async fn says(&self, room: ChatroomId, sender: i64, count: i64) {
        let before = self.dump.room(room.get()).await.expect("a room").last_seq;
        let rows: Vec<_> = (before + 1..=before + count)
            .map(|seq| format!("({room}, {seq}, {seq}, {sender}, 'chat {seq}', {seq})"))
            .collect();
        let sql = "INSERT INTO chats (chatroom_id, seq, version, sender_id, content, create_time) VALUES ";
        self.dump.run(&format!("{sql}{}", rows.join(","))).await;
        let sql = format!(
            "UPDATE chatrooms SET last_seq = last_seq + {count}, version = version + {count} WHERE id = {room}"
        );
        self.dump.run(&sql).await;
    }

    pub async fn deletes(&self, room: ChatroomId, seq: i64) {
        let version = self.dump.room(room.get()).await.expect("a room").version + 1;
        self.dump.run(&format!("UPDATE chatrooms SET version = {version} WHERE id = {room}")).await;
        let set = format!("content = '', delete_time = 9, version = {version}");
        self.dump.run(&format!("UPDATE chats SET {set} WHERE chatroom_id = {room} AND seq = {seq}")).await;
    }

    pub async fn marks(&self, room: ChatroomId, chatter: i64, delivered: i64, read: i64) {
        let set = format!("delivered_seq = {delivered}, read_seq = {read}");
        self.dump.run(&format!("UPDATE members SET {set} WHERE chatroom_id = {room} AND chatter_id = {chatter}")).await;
    }

    pub async fn hides(&self, chatter: i64, what: &str) {
        self.dump.run(&format!("UPDATE chatters SET {what} = FALSE WHERE id = {chatter}")).await;
    }
}

pub fn marks(delivered_seq: i64, read_seq: i64) -> Watermarks {
    Watermarks { delivered_seq: delivered_seq.into(), read_seq: read_seq.into() }
}

pub fn ids(numbers: &[i64]) -> Vec<ChatterId> {
    numbers.iter().copied().map(ChatterId::new).collect()
}

pub fn pair(one: i64, other: i64) -> [ChatterId; 2] {
    [one.into(), other.into()]
}
