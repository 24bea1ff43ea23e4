//! What sessions read about rooms: their states, unread counts, newest chats, and which receipts are visible.

use hyper_chat::domain::{ChatroomId, Seq, Version};
use hyper_chat::store::unread::{RoomState, Unread};

use super::{Bench, bench, marks};
use crate::support::{Db, on_both};

on_both![
    room_states_come_in_pages_by_id_with_unread_counts,
    hidden_receipts_are_visible_to_their_owner_only,
    notes_to_self_are_never_unread,
    a_room_counts_up_to_a_thousand_unread_chats_and_the_total_is_their_sum,
    only_the_own_rooms_are_found_among_ids,
    the_newest_chats_come_ascending_without_tombstones,
];

async fn room_states_come_in_pages_by_id_with_unread_counts(db: Db) {
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

async fn hidden_receipts_are_visible_to_their_owner_only(db: Db) {
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

async fn a_room_counts_up_to_a_thousand_unread_chats_and_the_total_is_their_sum(db: Db) {
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

async fn only_the_own_rooms_are_found_among_ids(db: Db) {
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
