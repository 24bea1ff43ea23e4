//! What sockets ask the store, on both databases: states of rooms, unread counts, who knows whom, watermarks that
//! moved.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper_chat::domain::chatroom::{Chatroom, Watermarks};
use hyper_chat::domain::clock::Micros;
use hyper_chat::domain::{ChatroomId, ChatterId, Seq, Version};
use hyper_chat::store::change_feed::Ending;
use hyper_chat::store::chatrooms::Created;
use hyper_chat::store::chatters::ChatterUpdate;
use hyper_chat::store::sign_ins::SignInUpdate;
use hyper_chat::store::unread::{RoomState, Unread};
use hyper_chat::store::writer::{MovedWatermark, WatermarkObserver, WatermarkUpdate};
use hyper_chat::store::{Options, Store};
use tempfile::TempDir;

use crate::support::database::{Dump, sqlite_url};
use crate::support::postgres::fresh_database;
use crate::support::wait::s;
use crate::support::{Db, eventually, on_both};

on_both![
    a_watch_sees_what_is_new_altered_made_and_ended_since_it_began,
    states_of_rooms_come_in_pages_by_id_with_what_is_unread,
    nobody_sees_receipts_that_their_owner_keeps,
    notes_to_self_are_never_unread,
    a_room_is_counted_up_to_a_thousand_and_the_total_is_their_sum,
    only_ones_own_rooms_are_found_among_ids,
    the_newest_chats_come_ascending_without_tombstones,
    who_comes_and_goes_is_told_to_the_other_person_of_each_room,
    the_last_time_seen_is_the_databases_clock_and_never_that_of_a_deleted_account,
    sharing_a_room_goes_both_ways,
    watermarks_that_moved_are_told_once_and_others_not,
];

/// A store of its own, and the way past it.
struct Bench {
    store: Store,
    dump: Dump,
    _folder: TempDir,
}

/// Chatters 1 to 9, and no room.
async fn bench(db: Db) -> Bench {
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
    async fn chatters(&self, from: i64, to: i64) {
        let rows: Vec<_> = (from..=to).map(|id| format!("({id}, 'c{id}', 'c{id}', 'c', 1)")).collect();
        let sql = "INSERT INTO chatters (id, username, username_key, nickname, create_time) VALUES ";
        self.dump.run(&format!("{sql}{}", rows.join(","))).await;
    }

    async fn room(&self, owner: i64, opponent: i64) -> Chatroom {
        match self.store.create_chatroom(owner.into(), opponent.into()).await.expect("answers") {
            Created::New(room) => room,
            other => panic!("no new room: {other:?}"),
        }
    }

    /// This many chats of a sender, behind those that are there.
    async fn says(&self, room: ChatroomId, sender: i64, count: i64) {
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

    async fn deletes(&self, room: ChatroomId, seq: i64) {
        let version = self.dump.room(room.get()).await.expect("a room").version + 1;
        self.dump.run(&format!("UPDATE chatrooms SET version = {version} WHERE id = {room}")).await;
        let set = format!("content = '', delete_time = 9, version = {version}");
        self.dump.run(&format!("UPDATE chats SET {set} WHERE chatroom_id = {room} AND seq = {seq}")).await;
    }

    async fn marks(&self, room: ChatroomId, chatter: i64, delivered: i64, read: i64) {
        let set = format!("delivered_seq = {delivered}, read_seq = {read}");
        self.dump.run(&format!("UPDATE members SET {set} WHERE chatroom_id = {room} AND chatter_id = {chatter}")).await;
    }

    async fn hides(&self, chatter: i64, what: &str) {
        self.dump.run(&format!("UPDATE chatters SET {what} = FALSE WHERE id = {chatter}")).await;
    }
}

fn marks(delivered_seq: i64, read_seq: i64) -> Watermarks {
    Watermarks { delivered_seq: delivered_seq.into(), read_seq: read_seq.into() }
}

fn ids(numbers: &[i64]) -> Vec<ChatterId> {
    numbers.iter().copied().map(ChatterId::new).collect()
}

fn pair(one: i64, other: i64) -> [ChatterId; 2] {
    [one.into(), other.into()]
}

async fn a_watch_sees_what_is_new_altered_made_and_ended_since_it_began(db: Db) {
    let bench = bench(db).await;
    let (quiet, loud, gone) = (bench.room(1, 2).await.id, bench.room(1, 3).await.id, bench.room(2, 3).await.id);
    bench.says(quiet, 1, 2).await;
    let mut position = bench.store.feed_position().await.expect("answers");
    let all = bench.store.poll(&mut position).await.expect("answers");
    assert!(!all.has_more, "{all:?}");
    bench.says(loud, 1, 3).await;
    let made = bench.room(4, 4).await.id;
    bench.store.delete_chatroom(gone).await.expect("answers");
    let signed_out = ChatterUpdate { sign_ins: SignInUpdate::EndAll, ..ChatterUpdate::default() };
    bench.store.change_chatter(5.into(), signed_out).await.expect("answers");
    bench.store.anonymise_chatter(4.into()).await.expect("answers");
    let seen = bench.store.poll(&mut position).await.expect("answers");
    let changed = |room: ChatroomId| seen.rooms.iter().find(|changed| changed.chatroom_id == room);
    let of_loud = changed(loud).expect("it changed");
    assert_eq!((of_loud.version, of_loud.pair), (3.into(), pair(1, 3)));
    assert_eq!(changed(made), None, "it went with its owner's notes");
    assert_eq!(changed(gone), None);
    let endings = [
        Ending::Room(gone, pair(2, 3)),
        Ending::Access(5.into()),
        Ending::Room(made, pair(4, 4)),
        Ending::Access(4.into()),
    ];
    assert_eq!(seen.endings, endings);
    let made = bench.room(5, 6).await.id;
    let seen = bench.store.poll(&mut position).await.expect("answers");
    assert!(seen.rooms.iter().any(|changed| changed.chatroom_id == made && changed.created), "{seen:?}");
    bench.dump.run("UPDATE endings SET create_time = 1").await;
    bench.store.clean_up().await.expect("answers");
    assert!(bench.store.poll(&mut position).await.expect("answers").endings.is_empty());
}

async fn states_of_rooms_come_in_pages_by_id_with_what_is_unread(db: Db) {
    let bench = bench(db).await;
    let (two, three, four) = (bench.room(1, 2).await.id, bench.room(3, 1).await.id, bench.room(1, 4).await.id);
    bench.room(2, 3).await;
    bench.says(two, 2, 4).await;
    bench.says(two, 1, 1).await;
    bench.deletes(two, 4).await;
    bench.marks(two, 1, 3, 1).await;
    bench.marks(two, 2, 5, 0).await;
    let first = bench.store.room_states(1.into(), None, 2).await.expect("answers");
    let of_two = RoomState {
        id: two,
        version: 6.into(),
        last_seq: 5.into(),
        unread_count: 2,
        receipts: vec![(1.into(), marks(3, 1)), (2.into(), marks(5, 0))],
    };
    let none = vec![(1.into(), marks(0, 0)), (3.into(), marks(0, 0))];
    let of_three =
        RoomState { id: three, version: Version::ZERO, last_seq: Seq::ZERO, unread_count: 0, receipts: none };
    assert_eq!(first, [of_two, of_three]);
    let rooms = |states: Vec<RoomState>| states.into_iter().map(|state| state.id).collect::<Vec<_>>();
    assert_eq!(rooms(bench.store.room_states(1.into(), Some(three), 2).await.expect("answers")), [four]);
    assert!(bench.store.room_states(1.into(), Some(four), 2).await.expect("answers").is_empty());
    assert!(bench.store.room_states(9.into(), None, 2).await.expect("answers").is_empty());
}

async fn nobody_sees_receipts_that_their_owner_keeps(db: Db) {
    let bench = bench(db).await;
    let room = bench.room(1, 2).await.id;
    bench.says(room, 1, 2).await;
    bench.marks(room, 2, 2, 2).await;
    bench.hides(2, "show_receipts").await;
    let seen_by = async |viewer: i64| {
        let state = bench.store.room_states(viewer.into(), None, 9).await.expect("answers").pop().expect("a room");
        let view = bench.store.room_view(viewer.into(), room).await.expect("answers").expect("a room");
        let mut listed: Vec<_> = view.receipts.into_iter().collect();
        let mut receipts = state.receipts;
        listed.sort_by_key(|(id, _)| *id);
        receipts.sort_by_key(|(id, _)| *id);
        assert_eq!(listed, receipts, "REST and sockets show the same");
        receipts
    };
    assert_eq!(seen_by(1).await, [(1.into(), marks(0, 0))]);
    assert_eq!(seen_by(2).await, [(1.into(), marks(0, 0)), (2.into(), marks(2, 2))]);
}

async fn one_unread(bench: &Bench, viewer: i64, room: ChatroomId) -> Option<Unread> {
    let counts = bench.store.unread(viewer.into(), &[room]).await.expect("answers");
    counts.into_iter().find(|(id, _)| *id == room).map(|(_, unread)| unread)
}

async fn notes_to_self_are_never_unread(db: Db) {
    let bench = bench(db).await;
    let notes = bench.room(1, 1).await.id;
    bench.says(notes, 1, 3).await;
    let states = bench.store.room_states(1.into(), None, 9).await.expect("answers");
    assert_eq!((states[0].unread_count, &states[0].receipts), (0, &vec![(1.into(), marks(0, 0))]));
    let unread = one_unread(&bench, 1, notes).await;
    assert_eq!(
        unread,
        Some(Unread { marks: marks(0, 0), version: 3.into(), last_seq: 3.into(), unread_count: 0, unread_total: 0 })
    );
}

async fn a_room_is_counted_up_to_a_thousand_and_the_total_is_their_sum(db: Db) {
    let bench = bench(db).await;
    let (long, short, read) = (bench.room(1, 2).await.id, bench.room(3, 1).await.id, bench.room(1, 4).await.id);
    bench.says(long, 2, 1_300).await;
    bench.marks(long, 1, 100, 100).await;
    bench.says(short, 3, 3).await;
    bench.says(short, 1, 2).await;
    bench.deletes(short, 2).await;
    bench.says(read, 4, 5).await;
    bench.marks(read, 1, 5, 5).await;
    let unread = async |room| one_unread(&bench, 1, room).await.expect("one's room");
    assert_eq!(bench.store.unread_total(1.into()).await.expect("answers"), 1_002);
    assert_eq!(
        unread(long).await,
        Unread {
            marks: marks(100, 100),
            version: 1_300.into(),
            last_seq: 1_300.into(),
            unread_count: 1_000,
            unread_total: 1_002
        }
    );
    assert_eq!(
        unread(short).await,
        Unread { marks: marks(0, 0), version: 6.into(), last_seq: 5.into(), unread_count: 2, unread_total: 1_002 }
    );
    assert_eq!(unread(read).await.unread_count, 0);
    assert_eq!(one_unread(&bench, 2, read).await, None, "not in that room");
    assert_eq!(
        (bench.store.unread_total(9.into()).await.expect("answers"), bench.store.unread_total(99.into()).await.ok()),
        (0, Some(0))
    );
}

async fn only_ones_own_rooms_are_found_among_ids(db: Db) {
    let bench = bench(db).await;
    let (mine, notes, others) = (bench.room(2, 1).await, bench.room(1, 1).await, bench.room(2, 3).await);
    let strangers = (900_000..900_600).map(ChatroomId::new);
    let asked: Vec<ChatroomId> = [mine.id, notes.id, others.id].into_iter().chain(strangers).collect();
    let found = bench.store.rooms_among(1.into(), &asked).await.expect("answers");
    assert_eq!(found, [mine.clone(), notes]);
    assert!(bench.store.rooms_among(1.into(), &[]).await.expect("answers").is_empty());
    assert_eq!(bench.store.rooms_among(2.into(), &[mine.id]).await.expect("answers"), [mine]);
}

async fn the_newest_chats_come_ascending_without_tombstones(db: Db) {
    let bench = bench(db).await;
    let room = bench.room(1, 2).await;
    bench.says(room.id, 1, 6).await;
    bench.deletes(room.id, 5).await;
    let (chats, version) = bench.store.newest(&room, 3).await.expect("answers").expect("a room");
    assert_eq!(chats.iter().map(|chat| chat.seq.get()).collect::<Vec<_>>(), [3, 4, 6]);
    assert_eq!((version.get(), chats[0].receiver_id.get()), (7, 2));
    assert_eq!(bench.store.chatroom_of_chat(chats[0].id).await.expect("answers"), Some(room.id));
    let tombstone = &bench.dump.chats(room.id.get()).await[4];
    assert_eq!(bench.store.chatroom_of_chat(tombstone.id.into()).await.expect("answers"), Some(room.id));
    assert_eq!(bench.store.chatroom_of_chat(999_999.into()).await.expect("answers"), None);
    bench.store.delete_chatroom(room.id).await.expect("answers");
    assert!(bench.store.newest(&room, 3).await.expect("answers").is_none());
}

async fn who_comes_and_goes_is_told_to_the_other_person_of_each_room(db: Db) {
    let bench = bench(db).await;
    for (owner, opponent) in [(1, 2), (3, 1), (1, 1), (2, 4)] {
        bench.room(owner, opponent).await;
    }
    bench.hides(4, "show_last_seen").await;
    let watchers = async |chatters: &[i64]| {
        let found = bench.store.watchers_of(&ids(chatters)).await.expect("answers");
        let mut pairs: Vec<_> = found.into_iter().map(|(chatter, other)| (chatter.get(), other.get())).collect();
        pairs.sort_unstable();
        pairs
    };
    assert_eq!(watchers(&[1]).await, [(1, 2), (1, 3)], "not oneself");
    assert_eq!(watchers(&[2, 4]).await, [(2, 1), (2, 4)], "not about who keeps it to themselves, though still to them");
    assert!(watchers(&[]).await.is_empty() && watchers(&[9]).await.is_empty());
    bench.chatters(100, 300).await;
    for id in [100, 200, 300] {
        bench.room(id, 9).await;
    }
    let many: Vec<i64> = (100..=300).collect();
    assert_eq!(watchers(&many).await, [(100, 9), (200, 9), (300, 9)], "any number");
}

async fn the_last_time_seen_is_the_databases_clock_and_never_that_of_a_deleted_account(db: Db) {
    let bench = bench(db).await;
    bench.chatters(1_000, 1_700).await;
    let all: Vec<ChatterId> = (1..=9).chain(1_000..=1_700).map(ChatterId::new).collect();
    assert!(bench.store.last_seen(&all).await.expect("answers").is_empty());
    bench.store.anonymise_chatter(9.into()).await.expect("answers").expect("was there");
    let before = Micros::now();
    let mut seen = bench.store.record_last_seen(&all, Duration::ZERO).await.expect("answers");
    seen.sort_unstable();
    let live: Vec<ChatterId> = all.iter().copied().filter(|id| id.get() != 9).collect();
    assert_eq!(seen.iter().map(|(id, _)| *id).collect::<Vec<_>>(), live);
    assert!(seen.iter().all(|(_, time)| *time >= before && *time <= Micros::now()), "one machine, one clock");
    let mut read = bench.store.last_seen(&all).await.expect("answers");
    read.sort_unstable();
    assert_eq!(read, seen);
    bench.store.anonymise_chatter(1.into()).await.expect("answers").expect("was there");
    assert!(bench.store.last_seen(&ids(&[1])).await.expect("answers").is_empty(), "it goes with the account");
    assert!(bench.store.record_last_seen(&ids(&[1, 99_999]), Duration::ZERO).await.expect("answers").is_empty());
}

async fn sharing_a_room_goes_both_ways(db: Db) {
    let bench = bench(db).await;
    for (owner, opponent) in [(1, 2), (3, 1), (2, 4)] {
        bench.room(owner, opponent).await;
    }
    let sharing = async |viewer: i64, others: &[i64]| {
        let found = bench.store.sharing(viewer.into(), &ids(others)).await.expect("answers");
        let mut found: Vec<i64> = found.into_iter().map(ChatterId::get).collect();
        found.sort_unstable();
        found
    };
    assert_eq!(sharing(1, &(1..=600).collect::<Vec<_>>()).await, [2, 3], "not oneself without notes");
    assert_eq!(sharing(2, &[1, 3, 4]).await, [1, 4]);
    assert!(sharing(9, &[1, 2, 3]).await.is_empty() && sharing(1, &[]).await.is_empty());
}

/// Keeps what it is told.
#[derive(Default)]
struct ClusterMessage(Mutex<Vec<MovedWatermark>>);

impl WatermarkObserver for ClusterMessage {
    fn moved(&self, moved: Vec<MovedWatermark>) {
        assert!(!moved.is_empty());
        self.0.lock().expect("no panic").extend(moved);
    }
}

async fn watermarks_that_moved_are_told_once_and_others_not(db: Db) {
    let bench = bench(db).await;
    let (room, hidden) = (bench.room(1, 2).await.id, bench.room(3, 1).await.id);
    for room in [room, hidden] {
        bench.says(room, 1, 5).await;
    }
    bench.hides(3, "show_receipts").await;
    let told = Arc::new(ClusterMessage::default());
    bench.store.writer().observe_watermarks(told.clone());
    let writer = bench.store.writer();
    let next = async |count: usize| {
        eventually("what moved", s(5), || async {
            let mut told = told.0.lock().expect("no panic");
            (told.len() >= count).then(|| std::mem::take(&mut *told))
        })
        .await
    };
    writer.move_watermark(room, 2.into(), WatermarkUpdate::Delivered(3.into()));
    writer.move_watermark(room, 2.into(), WatermarkUpdate::Read(2.into()));
    writer.move_watermark(hidden, 3.into(), WatermarkUpdate::Read(9.into()));
    let mut first = next(2).await;
    first.sort_unstable_by_key(|moved| moved.chatroom_id);
    let of_two = MovedWatermark {
        chatroom_id: room,
        chatter_id: 2.into(),
        other_id: 1.into(),
        delivered_seq: 3.into(),
        read_seq: 2.into(),
        read: true,
        shown: true,
    };
    let of_three = MovedWatermark {
        chatroom_id: hidden,
        chatter_id: 3.into(),
        other_id: 1.into(),
        delivered_seq: 5.into(),
        read_seq: 5.into(),
        read: true,
        shown: false,
    };
    assert_eq!(first, [of_two, of_three]);
    // Stale steps, among more rows than one text of SQLite's has, and one that moves.
    for stranger in 100..300 {
        writer.move_watermark(room, stranger.into(), WatermarkUpdate::Read(1.into()));
    }
    writer.move_watermark(room, 2.into(), WatermarkUpdate::Delivered(1.into()));
    writer.move_watermark(hidden, 3.into(), WatermarkUpdate::Read(5.into()));
    writer.move_watermark(room, 1.into(), WatermarkUpdate::Delivered(4.into()));
    let moved = MovedWatermark {
        chatter_id: 1.into(),
        other_id: 2.into(),
        delivered_seq: 4.into(),
        read_seq: 0.into(),
        read: false,
        ..of_two
    };
    assert_eq!(next(1).await, [moved]);
    writer.flush().await;
    writer.move_watermark(room, 1.into(), WatermarkUpdate::Sent);
    assert_eq!(
        next(1).await,
        [MovedWatermark { read_seq: 4.into(), read: true, ..moved }],
        "sending reads what was delivered"
    );
}
