//! The history of a room: its order, its pages, and what reading it confirms.

use crate::support::account::{contents, list, numbers};
use crate::support::rest::next_link;
use crate::support::secrets::MARKER;
use crate::support::{Db, TestServer, on_all};

on_all![
    chats_are_ascending_and_numbered_from_one,
    history_is_paged_before_after_and_around,
    a_history_without_paging_is_complete,
    reading_the_history_to_its_end_confirms_delivery,
    sending_does_not_confirm_what_was_not_delivered,
    times_never_go_back_in_a_room,
];

async fn chats_are_ascending_and_numbered_from_one(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    for n in 0..10 {
        let person = if n % 3 == 0 { &bob } else { &ann };
        person.says(room, &format!("number {n} of ten")).await;
    }
    let history = ann.history(room).await;
    assert_eq!(numbers(&history, "seq"), (1..=10).collect::<Vec<_>>());
    assert!(numbers(&history, "id").is_sorted());
    assert_eq!(contents(&history), (0..10).map(|n| format!("number {n} of ten")).collect::<Vec<_>>());
    assert_eq!(bob.history(room).await, history, "both see the same");
}

async fn history_is_paged_before_after_and_around(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, _, room) = server.api().pair().await;
    for n in 1..=12 {
        ann.says(room, &format!("number {n} of twelve")).await;
    }
    let page =
        async |query: &str| numbers(&list(ann.get(&format!("/api/chatrooms/{room}/chats?{query}")).await), "seq");
    assert_eq!(page("limit=3&before=8").await, [5, 6, 7], "the three before, ascending");
    assert_eq!(page("limit=3&after=8").await, [9, 10, 11]);
    assert_eq!(page("limit=5&after=10").await, [11, 12]);
    assert_eq!(page("limit=5&before=1").await, [0; 0]);
    assert_eq!(page("limit=5&after=12").await, [0; 0]);
    let around = page("limit=5&around=6").await;
    assert!(around.len() == 5 && around.contains(&6) && around.is_sorted(), "{around:?}");
    assert!(around.contains(&5) && around.contains(&7), "from both sides: {around:?}");
    let newest = page("limit=4").await;
    assert_eq!(newest, [9, 10, 11, 12], "a limit alone gives the newest, ascending");
    assert_eq!(page("limit=1000000000").await.len(), 12);
    let answer = ann.get(&format!("/api/chatrooms/{room}/chats?limit=5&after=0")).await;
    let next = next_link(&answer).expect("more follow");
    let mut seen = numbers(&list(answer), "seq");
    let mut page = Some(next);
    while let Some(path) = page {
        let answer = ann.get(&path).await;
        page = next_link(&answer);
        seen.extend(numbers(&list(answer), "seq"));
        assert!(seen.len() <= 12, "pages overlap");
    }
    assert_eq!(seen, (1..=12).collect::<Vec<_>>());
    for bad in ["limit=abc", "limit=-1", "before=x", "limit=3&after=1.5", "around=%00"] {
        ann.get(&format!("/api/chatrooms/{room}/chats?{bad}")).await.problem(400, "malformed");
    }
}

async fn a_history_without_paging_is_complete(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    let mut socket = ann.joins(room).await;
    for n in 1..=1_200 {
        socket.send(&format!("{MARKER} {n} of many"));
        // A limited window keeps both ends from buffering the whole list.
        if n % 50 == 0 {
            socket.read_until_seq(n, crate::support::wait::s(60)).await;
        }
    }
    let history = bob.history(room).await;
    assert_eq!(numbers(&history, "seq"), (1..=1_200).collect::<Vec<_>>());
    assert_eq!(numbers(&history, "id"), numbers(&socket.chats, "id"));
    assert_eq!(contents(&history)[1_199], format!("{MARKER} 1200 of many"));
    assert_eq!(list(bob.get(&format!("/api/chatrooms/{room}/chats?limit=500")).await).len(), 200);
    assert_eq!(bob.finds(room, MARKER).await.len(), 1_200, "a search without paging is whole too");
}

async fn reading_the_history_to_its_end_confirms_delivery(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    for n in 1..=5 {
        ann.says(room, &format!("number {n} to be read")).await;
    }
    let delivered = async || {
        let room = ann.room(room).await;
        room["receipts"][bob.id.to_string()]["delivered_seq"].as_i64().unwrap()
    };
    bob.get(&format!("/api/chatrooms/{room}/chats?limit=2&before=4")).await.expect(200);
    assert_eq!(delivered().await, 0, "a page that does not reach the end proves nothing");
    bob.history(room).await;
    crate::support::eventually("the delivery of five chats", crate::support::wait::s(3), || async {
        (delivered().await == 5).then_some(())
    })
    .await;
    assert_eq!(bob.room(room).await["unread_count"], 5, "delivered is not read");
}

async fn sending_does_not_confirm_what_was_not_delivered(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob, room) = server.api().pair().await;
    ann.says(room, "one that bob never fetched").await;
    bob.says(room, "bob speaks without looking").await;
    let marks = ann.room(room).await["receipts"][bob.id.to_string()].clone();
    assert_eq!(marks["read_seq"], 0, "at most to his own delivered_seq: {marks}");
    assert_eq!(bob.room(room).await["unread_count"], 1);
}

async fn times_never_go_back_in_a_room(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, _, room) = server.api().pair().await;
    ann.says(room, "the chat before the leap").await;
    // As if the clock had been an hour ahead when the last chat was stored.
    let sql = format!("UPDATE chatrooms SET last_chat_time = last_chat_time + 3600000000 WHERE id = {room}");
    server.dump().await.run(&sql).await;
    let ahead = ann.room(room).await["last_chat_time"].as_str().unwrap().to_owned();
    let chat = ann.says(room, "the chat after the leap").await;
    assert!(chat["create_time"].as_str().unwrap() >= ahead.as_str(), "{chat} is before {ahead}");
}
