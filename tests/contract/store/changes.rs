//! The change feed, presence and last seen, and watermarks that moved.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper_chat::domain::Grant;
use hyper_chat::domain::clock::Micros;
use hyper_chat::domain::{ChatroomId, ChatterId};
use hyper_chat::store::change_feed::Ending;
use hyper_chat::store::chatters::ChatterUpdate;
use hyper_chat::store::sign_ins::SignInUpdate;
use hyper_chat::store::writer::{MovedWatermark, WatermarkObserver, WatermarkUpdate};

use super::{bench, ids, pair};
use crate::support::wait::s;
use crate::support::{Db, eventually, on_both};

on_both![
    a_poll_returns_new_edited_created_and_deleted_rows_since_its_position,
    presence_goes_to_the_opponent_of_each_room,
    last_seen_uses_the_databases_clock_and_is_empty_for_a_deleted_account,
    sharing_a_room_goes_both_ways,
    only_watermarks_that_moved_are_reported_and_once,
];

async fn a_poll_returns_new_edited_created_and_deleted_rows_since_its_position(db: Db) {
    let bench = bench(db).await;
    let (quiet, loud, gone) = (bench.room(1, 2).await.id, bench.room(1, 3).await.id, bench.room(2, 3).await.id);
    bench.says(quiet, 1, 2).await;
    let mut position = bench.store.feed_position().await.expect("answers");
    let all = bench.store.poll(&mut position).await.expect("answers");
    assert!(!all.has_more, "{all:?}");
    bench.says(loud, 1, 3).await;
    let created = bench.room(4, 4).await.id;
    bench.store.delete_chatroom(gone).await.expect("answers");
    let signed_out =
        ChatterUpdate { sign_ins: SignInUpdate::EndOthers(Grant::Issued(None)), ..ChatterUpdate::default() };
    bench.store.change_chatter(5.into(), signed_out).await.expect("answers");
    bench.store.anonymise_chatter(4.into()).await.expect("answers");
    let seen = bench.store.poll(&mut position).await.expect("answers");
    let changed = |room: ChatroomId| seen.rooms.iter().find(|changed| changed.chatroom_id == room);
    let of_loud = changed(loud).expect("it changed");
    assert_eq!((of_loud.version, of_loud.pair), (3.into(), pair(1, 3)));
    assert_eq!(changed(created), None, "it went with its owner's notes");
    assert_eq!(changed(gone), None);
    let endings = [
        Ending::Room(gone, pair(2, 3)),
        Ending::Access(5.into()),
        Ending::Room(created, pair(4, 4)),
        Ending::Access(4.into()),
    ];
    assert_eq!(seen.endings, endings);
    let created = bench.room(5, 6).await.id;
    let seen = bench.store.poll(&mut position).await.expect("answers");
    assert!(seen.rooms.iter().any(|changed| changed.chatroom_id == created && changed.created), "{seen:?}");
    bench.dump.run("UPDATE endings SET create_time = 1").await;
    bench.store.clean_up().await.expect("answers");
    assert!(bench.store.poll(&mut position).await.expect("answers").endings.is_empty());
}

async fn presence_goes_to_the_opponent_of_each_room(db: Db) {
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

async fn last_seen_uses_the_databases_clock_and_is_empty_for_a_deleted_account(db: Db) {
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

/// Collects the reported watermarks.
#[derive(Default)]
struct MovedWatermarks(Mutex<Vec<MovedWatermark>>);

impl WatermarkObserver for MovedWatermarks {
    fn moved(&self, moved: Vec<MovedWatermark>) {
        assert!(!moved.is_empty());
        self.0.lock().expect("no panic").extend(moved);
    }
}

async fn only_watermarks_that_moved_are_reported_and_once(db: Db) {
    let bench = bench(db).await;
    let (room, hidden) = (bench.room(1, 2).await.id, bench.room(3, 1).await.id);
    for room in [room, hidden] {
        bench.says(room, 1, 5).await;
    }
    bench.hides(3, "show_receipts").await;
    let reported = Arc::new(MovedWatermarks::default());
    bench.store.writer().observe_watermarks(reported.clone());
    let writer = bench.store.writer();
    let next = async |count: usize| {
        eventually("what moved", s(5), || async {
            let mut reported = reported.0.lock().expect("no panic");
            (reported.len() >= count).then(|| std::mem::take(&mut *reported))
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
    // Stale watermarks, more than one statement of SQLite holds, and one that moves.
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
