//! The database behind a test server, read past the server.

use std::path::Path;

use entity::{chat, chatroom, chatter, device, member, push_outbox, sign_in};
use sea_orm::{
    ColumnTrait, ConnectOptions, ConnectionTrait, Database, DatabaseConnection, EntityTrait, PaginatorTrait,
    QueryFilter, QueryOrder,
};

/// Which database a test runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Db {
    Sqlite,
    Postgres,
}

/// A direct connection for the checks after a test.
pub struct Dump(DatabaseConnection);

impl Dump {
    pub async fn open(url: &str) -> Self {
        let mut options = ConnectOptions::new(url);
        options.max_connections(2).sqlx_logging(false);
        Self(Database::connect(options).await.expect("the database can be read directly"))
    }

    /// A single connection, so that what a statement locks stays locked until the next one says otherwise.
    pub async fn open_single(url: &str) -> Self {
        let mut options = ConnectOptions::new(url);
        options.min_connections(1).max_connections(1).sqlx_logging(false);
        Self(Database::connect(options).await.expect("the database can be opened"))
    }

    /// All chats of a room in the order of `seq`, tombstones too.
    pub async fn chats(&self, room: i64) -> Vec<chat::Model> {
        let rows = chat::Entity::find().filter(chat::Column::ChatroomId.eq(room)).order_by_asc(chat::Column::Seq);
        rows.all(&self.0).await.expect("chats can be read")
    }

    pub async fn chats_count(&self) -> u64 {
        chat::Entity::find().count(&self.0).await.expect("chats can be counted")
    }

    pub async fn room(&self, id: i64) -> Option<chatroom::Model> {
        chatroom::Entity::find_by_id(id).one(&self.0).await.expect("rooms can be read")
    }

    pub async fn rooms_count(&self) -> u64 {
        chatroom::Entity::find().count(&self.0).await.expect("rooms can be counted")
    }

    pub async fn members(&self, room: i64) -> Vec<member::Model> {
        let rows = member::Entity::find().filter(member::Column::ChatroomId.eq(room));
        rows.order_by_asc(member::Column::ChatterId).all(&self.0).await.expect("members can be read")
    }

    pub async fn outbox(&self, room: i64) -> Vec<push_outbox::Model> {
        let rows = push_outbox::Entity::find().filter(push_outbox::Column::ChatroomId.eq(room));
        rows.all(&self.0).await.expect("the outbox can be read")
    }

    pub async fn chatter(&self, id: i64) -> Option<chatter::Model> {
        chatter::Entity::find_by_id(id).one(&self.0).await.expect("chatters can be read")
    }

    pub async fn sign_ins_count(&self, chatter: i64) -> u64 {
        let rows = sign_in::Entity::find().filter(sign_in::Column::ChatterId.eq(chatter));
        rows.count(&self.0).await.expect("sign-ins can be counted")
    }

    pub async fn devices(&self, chatter: i64) -> Vec<device::Model> {
        let rows = device::Entity::find().filter(device::Column::ChatterId.eq(chatter));
        rows.all(&self.0).await.expect("devices can be read")
    }

    /// For what no table of ours answers, such as a lock that a test holds.
    pub async fn run(&self, sql: &str) {
        self.0.execute_unprepared(sql).await.expect("the statement runs");
    }
}

/// The URL of a SQLite file.
pub fn sqlite_url(file: &Path) -> String {
    format!("sqlite://{}?mode=rwc", file.display())
}

#[tokio::test]
async fn the_dump_reads_what_the_migrations_made_on_both_databases() {
    use migration::MigratorTrait as _;
    let folder = tempfile::tempdir().expect("a folder");
    for url in [sqlite_url(&folder.path().join("a.db")), super::postgres::fresh_database().await] {
        let dump = Dump::open(&url).await;
        migration::Migrator::up(&dump.0, None).await.expect("migrates");
        dump.run("INSERT INTO chatters (id, username, username_key, nickname, create_time) VALUES (7,'A','a','n',1)")
            .await;
        assert_eq!(dump.chatter(7).await.map(|c| c.username), Some("A".to_owned()));
        assert!(dump.chats(1).await.is_empty() && dump.members(1).await.is_empty() && dump.outbox(1).await.is_empty());
        assert!(dump.room(1).await.is_none() && dump.devices(7).await.is_empty());
        assert_eq!((dump.rooms_count().await, dump.chats_count().await, dump.sign_ins_count(7).await), (0, 0, 0));
    }
}
