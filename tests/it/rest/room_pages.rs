//! Pages of the list of rooms that are read while rooms move.

use crate::support::account::{list, numbers};
use crate::support::rest::next_link;
use crate::support::{Db, TestServer, on_all};

on_all![a11_pages_that_are_read_while_rooms_move_hold_every_room];

async fn a11_pages_that_are_read_while_rooms_move_hold_every_room(db: Db) {
    let server = TestServer::spawn(db).await;
    let ann = server.api().person("ann").await;
    let mut rooms = Vec::new();
    for n in 0..12 {
        let other = server.api().person(&format!("other-{n}")).await;
        rooms.push(ann.room_with(&other).await);
    }
    let (mut seen, mut page) = (Vec::new(), Some("/api/chatrooms?limit=3".to_owned()));
    for turn in 0.. {
        let Some(path) = page else { break };
        let answer = ann.get(&path).await;
        page = next_link(&answer);
        seen.extend(numbers(&list(answer), "id"));
        // Rooms of the pages that are still to come move to the front.
        for room in rooms.iter().filter(|_| turn < 3).take(2 * turn + 1) {
            ann.says(*room, "a room moves while the list is read").await;
        }
    }
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen, rooms);
}
