//! The list of a chatter's rooms: its order, its pages while rooms move, and what it costs.

use std::time::{Duration, Instant};

use hyper_chat::domain::ChatterId;
use hyper_chat::store::room_views::RoomCursor;

use super::{Bench, bench};
use crate::support::{Db, alone, on_both};

on_both![
    rooms_of_one_minute_and_of_many_come_newest_chat_first,
    a11_pages_of_rooms_that_move_meanwhile_hold_every_room,
    a11_a_page_of_a_chatter_with_many_rooms_costs_what_one_of_a_chatter_with_few_does,
];

/// When the newest chat of each room was stored.
async fn moves(bench: &Bench, room: i64, time: i64) {
    bench.dump.run(&format!("UPDATE chatrooms SET last_chat_time = {time} WHERE id = {room}")).await;
}

/// The ids of all pages; between two pages this runs.
async fn paged(bench: &Bench, viewer: i64, limit: u64, mut between: impl AsyncFnMut(usize)) -> Vec<i64> {
    let (mut ids, mut from, mut pages) = (Vec::new(), RoomCursor::default(), 0);
    loop {
        let page = bench.store.rooms_of(viewer.into(), from, limit).await.expect("answers");
        ids.extend(page.rooms.iter().map(|view| view.room.id.get()));
        let Some(next) = page.next else { return ids };
        assert!(pages < 100, "the pages end");
        between(pages).await;
        (from, pages) = (next, pages + 1);
    }
}

async fn rooms_of_one_minute_and_of_many_come_newest_chat_first(db: Db) {
    let bench = bench(db).await;
    bench.dump.add_rooms(1, 100..112).await;
    bench.dump.add_rooms(2, 200..203).await;
    let notes = bench.room(1, 1).await.id.get();
    let with_lower = bench.room(3, 1).await.id.get();
    let minute = 60_000_000;
    let mut expected = Vec::new();
    // Several rooms in each minute, and two at the same time.
    for (at, room) in (100..112).chain([notes, with_lower]).enumerate() {
        let time = minute * (at as i64 / 3 + 5) + (at as i64 * 7 % 3) / 2;
        moves(&bench, room, time).await;
        expected.push((time, room));
    }
    expected.sort_unstable();
    let expected: Vec<_> = expected.into_iter().rev().map(|(_, room)| room).collect();
    for limit in [1, 2, 3, 5, 13, 14, 200] {
        assert_eq!(paged(&bench, 1, limit, async |_| {}).await, expected, "in pages of {limit}");
    }
}

async fn a11_pages_of_rooms_that_move_meanwhile_hold_every_room(db: Db) {
    let bench = bench(db).await;
    let rooms: Vec<i64> = (100..112).collect();
    bench.dump.add_rooms(1, 100..112).await;
    let mut now = 1_000_000_000;
    // The room that would come next, and the last one, move to the front before each page.
    let ids = paged(&bench, 1, 3, async |page| {
        for room in [111 - 3 * (page as i64 + 1), 100] {
            now += 40_000_000;
            if room >= 100 && page < 4 {
                moves(&bench, room, now).await;
            }
        }
    })
    .await;
    let mut seen = ids.clone();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen, rooms, "{ids:?}");
}

async fn a11_a_page_of_a_chatter_with_many_rooms_costs_what_one_of_a_chatter_with_few_does(db: Db) {
    let _turn = alone().await;
    let bench = bench(db).await;
    bench.dump.add_rooms(1, 100_000..110_000).await;
    bench.dump.add_rooms(2, 200_000..200_060).await;
    // As if a room had got a chat every two minutes.
    bench.dump.run("UPDATE chatrooms SET last_chat_time = id * 120000000").await;
    let few = median(&bench, 2.into()).await;
    let many = median(&bench, 1.into()).await;
    assert!(many < 4 * few + Duration::from_millis(2), "{many:?} with 10,000 rooms, {few:?} with 60");
}

/// How long the second page takes.
async fn median(bench: &Bench, viewer: ChatterId) -> Duration {
    let first = bench.store.rooms_of(viewer, RoomCursor::default(), 20).await.expect("answers");
    let next = first.next.expect("more");
    let mut waits = Vec::new();
    for _ in 0..15 {
        let start = Instant::now();
        let page = bench.store.rooms_of(viewer, next, 20).await.expect("answers");
        waits.push(start.elapsed());
        assert_eq!(page.rooms.len(), 20);
    }
    waits.sort_unstable();
    waits[7]
}
