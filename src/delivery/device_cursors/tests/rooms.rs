//! Rooms that are created and deleted while a socket is open.

use super::*;

fn room(id: i64) -> ChatroomId {
    id.into()
}

#[test]
fn the_list_itself_names_rooms_that_are_created_or_deleted_meanwhile() {
    let mut cursors = DeviceCursors::default();
    assert!(!cursors.lacks_announcement(room(1)) && !cursors.delete(room(2)), "the pages name them");
    cursors.all_listed();
    assert!(cursors.lacks_announcement(room(1)) && !cursors.lacks_announcement(room(2)));
}

#[test]
fn a_deleted_room_does_not_come_back() {
    let mut cursors = DeviceCursors::default();
    cursors.delete(room(1));
    assert!(
        cursors.listed([(room(1), Version::new(5))]).is_empty() && cursors.is_deleted(room(1)),
        "by a page that was read earlier"
    );
    cursors.all_listed();
    assert!(
        deliver(&mut cursors, 1, &run(5, 6)).is_empty() && !cursors.has_announced(room(1)),
        "by an earlier change that comes late"
    );
    cursors.buffer(room(2));
    cursors.delete(room(2));
    assert_eq!(cursors.caught_up(room(2), Version::new(5)), Release::Deleted, "nor by a read that was under way");
    cursors.buffer_if_known(room(3));
    cursors.require_requery(room(3));
    assert!(
        !cursors.has_requeries() && !cursors.rooms.contains_key(&room(3)),
        "a room of other chatters is not remembered"
    );
}

#[test]
fn changes_of_a_new_room_are_sent_after_its_announcement() {
    let mut cursors = listed(4);
    assert!(deliver(&mut cursors, 2, &run(0, 1)).is_empty() && deliver(&mut cursors, 2, &run(1, 2)).is_empty());
    assert!(cursors.lacks_announcement(room(2)));
    assert_eq!(
        announce(&mut cursors, 2, 1).map(versions),
        Some(vec![2]),
        "changes that the announcement covers are not repeated"
    );
    assert_eq!(announce(&mut cursors, 2, 2), None, "a room is announced once");
    assert_eq!(versions(deliver(&mut cursors, 2, &run(2, 3))), [3]);
    assert!(deliver(&mut cursors, 3, &run(4, 5)).is_empty());
    assert_eq!(announce(&mut cursors, 3, 0).map(versions), Some(vec![]), "earlier changes are read");
    assert_eq!(cursors.take_requeries(), [(room(3), Version::ZERO)]);
    assert_eq!(announce(&mut cursors, 5, 0).map(versions), Some(vec![]));
    assert_eq!(versions(deliver(&mut cursors, 5, &run(0, 1))), [1]);
    assert!(
        deliver(&mut cursors, 6, &run(0, 1)).is_empty() && !cursors.delete(room(6)),
        "the deletion of an unannounced room is not sent"
    );
    assert_eq!(announce(&mut cursors, 6, 1), None);
    assert!(!cursors.is_waiting());
}

#[test]
fn a_room_that_a_client_has_read_counts_as_announced() {
    let mut cursors = listed(4);
    assert!(deliver(&mut cursors, 2, &run(0, 1)).is_empty() && deliver(&mut cursors, 3, &run(0, 1)).is_empty());
    assert!(cursors.unannounced(Duration::from_secs(60)).is_empty());
    cursors.buffer(room(2));
    assert_eq!((cursors.unannounced(Duration::ZERO), announce(&mut cursors, 2, 5)), (vec![room(3)], None));
    let Release::Frames(frames) = cursors.caught_up(room(2), Version::new(0)) else {
        panic!("the room has to be read again")
    };
    assert_eq!(versions(frames), [1]);
    assert!(cursors.delete(room(2)));
    assert_eq!(versions(cursors.listed([(room(3), Version::new(0))])), [1], "a list names it after all");
    assert!(!cursors.is_waiting());
}

#[test]
fn changes_of_a_room_that_is_announced_during_the_list_are_sent_after_the_list() {
    let mut cursors = DeviceCursors::default();
    assert!(deliver(&mut cursors, 2, &run(0, 2)).is_empty());
    assert_eq!(announce(&mut cursors, 2, 1), Some(vec![]));
    assert_eq!(versions(cursors.all_listed()), [2]);
}
