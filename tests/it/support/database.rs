//! The database behind a test server, read directly.

use std::path::Path;

use entity::{chat, chatroom, chatter, device, sign_in};
use sea_orm::{
    ColumnTrait, ConnectOptions, ConnectionTrait, Database, DatabaseConnection, EntityTrait, PaginatorTrait,
    QueryFilter, QueryOrder, Statement,
};

use super::tables::{member, push_outbox};

/// Which database a test runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Db {
    Sqlite,
    Postgres,
    /// PostgreSQL and Redis under two server processes.
    Cluster,
}

/// Makes `sqlite::<name>` and `postgres::<name>` of each listed `async fn name(db: Db)`.
///
/// A function that is written and not listed is dead code, which fails the lints: none is forgotten.
macro_rules! on_both {
    ($($name:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test] async fn $name() { super::$name(crate::support::Db::Sqlite).await; })*
        }
        mod postgres {
            $(#[tokio::test] async fn $name() { super::$name(crate::support::Db::Postgres).await; })*
        }
    };
}
pub(crate) use on_both;

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

    /// Rooms of this chatter, each with a new opponent; room and opponent have the same id.
    pub async fn add_rooms(&self, owner: i64, ids: std::ops::Range<i64>) {
        for part in parts(ids) {
            let rows = values(&part, |id| format!("({id},'many-{id}','many-{id}','n',1)"));
            self.run(&format!("INSERT INTO chatters (id,username,username_key,nickname,create_time) VALUES {rows}"))
                .await;
            let rows = values(&part, |id| format!("({id},{owner},{id},{owner},{id},1,{id})"));
            let columns = "id,owner_id,opponent_id,pair_low,pair_high,create_time,last_chat_time";
            self.run(&format!("INSERT INTO chatrooms ({columns}) VALUES {rows}")).await;
            let rows = values(&part, |id| format!("({id},{owner}),({id},{id})"));
            self.run(&format!("INSERT INTO members (chatroom_id, chatter_id) VALUES {rows}")).await;
        }
    }

    /// Chats with these `seq` in a room without chats.
    pub async fn add_chats(&self, room: i64, sender: i64, seqs: std::ops::RangeInclusive<i64>) {
        let last = *seqs.end();
        for part in parts(*seqs.start()..last + 1) {
            let rows = values(&part, |seq| format!("({room},{seq},{seq},{sender},'chat {seq}',{seq})"));
            let columns = "chatroom_id,seq,version,sender_id,content,create_time";
            self.run(&format!("INSERT INTO chats ({columns}) VALUES {rows}")).await;
        }
        self.run(&format!("UPDATE chatrooms SET last_seq = {last}, version = {last} WHERE id = {room}")).await;
    }

    /// So many chats of this content in a room without chats.
    pub async fn add_copies(&self, room: i64, sender: i64, count: i64, content: &str) {
        self.run(&format!(
            "INSERT INTO chats (chatroom_id, seq, version, sender_id, content, create_time)
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})
             SELECT {room}, i, i, {sender}, '{content}', i FROM n"
        ))
        .await;
        self.run(&format!("UPDATE chatrooms SET last_seq = {count}, version = {count} WHERE id = {room}")).await;
    }

    /// The number that this query returns.
    pub async fn number(&self, sql: &str) -> i64 {
        self.one(sql).await.try_get_by_index(0).expect("a number")
    }

    /// The text that this query returns.
    pub async fn text(&self, sql: &str) -> String {
        self.one(sql).await.try_get_by_index(0).expect("a text")
    }

    async fn one(&self, sql: &str) -> sea_orm::QueryResult {
        let question = Statement::from_string(self.0.get_database_backend(), sql);
        self.0.query_one_raw(question).await.expect("the question runs").expect("one row")
    }

    /// Any other statement, such as a lock that a test holds.
    pub async fn run(&self, sql: &str) {
        self.0.execute_unprepared(sql).await.expect("the statement runs");
    }
}

/// Parts that are short enough for one statement.
fn parts(ids: std::ops::Range<i64>) -> Vec<Vec<i64>> {
    ids.collect::<Vec<_>>().chunks(500).map(<[i64]>::to_vec).collect()
}

fn values(ids: &[i64], row: impl Fn(&i64) -> String) -> String {
    ids.iter().map(row).collect::<Vec<_>>().join(",")
}

/// The URL of a SQLite file.
pub fn sqlite_url(file: &Path) -> String {
    format!("sqlite://{}?mode=rwc", file.display())
}

#[tokio::test]
async fn the_dump_reads_what_the_migrations_made_on_both_databases() {
    let folder = tempfile::tempdir().expect("a folder");
    for url in [sqlite_url(&folder.path().join("a.db")), super::postgres::fresh_database().await] {
        let dump = Dump::open(&url).await;
        migration::up(&dump.0).await.expect("migrates");
        dump.run("INSERT INTO chatters (id, username, username_key, nickname, create_time) VALUES (7,'A','a','n',1)")
            .await;
        assert_eq!(dump.chatter(7).await.map(|c| c.username), Some("A".to_owned()));
        assert!(dump.chats(1).await.is_empty() && dump.members(1).await.is_empty() && dump.outbox(1).await.is_empty());
        assert!(dump.room(1).await.is_none() && dump.devices(7).await.is_empty());
        assert_eq!((dump.rooms_count().await, dump.chats_count().await, dump.sign_ins_count(7).await), (0, 0, 0));
    }
}
