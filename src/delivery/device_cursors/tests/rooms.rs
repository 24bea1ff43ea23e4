//! Rooms that come and go while a socket is there.

use super::*;

fn room(id: i64) -> ChatroomId {
    id.into()
}

#[test]
fn what_is_new_or_gone_while_the_rooms_are_listed_is_said_by_the_listing() {
    let mut cursors = Cursors::default();
    assert!(!cursors.misses(room(1)) && !cursors.forget(room(2)), "the pages will say it");
    cursors.all_listed();
    assert!(cursors.misses(room(1)) && !cursors.misses(room(2)));
}

#[test]
fn a_deleted_room_does_not_come_back() {
    let mut cursors = Cursors::default();
    cursors.forget(room(1));
    assert!(
        cursors.listed([(room(1), Version::new(5))]).is_empty() && cursors.is_gone(room(1)),
        "by a page that was read before"
    );
    cursors.all_listed();
    assert!(
        cursors.deliver(room(1), &run(5, 6)).is_empty() && !cursors.knows(room(1)),
        "by what was stored before and comes late"
    );
    cursors.hold(room(2));
    cursors.forget(room(2));
    assert_eq!(cursors.caught_up(room(2), Version::new(5)), Release::Gone, "nor by a read that was under way");
    cursors.hold_known(room(3));
    cursors.still_behind(room(3));
    assert_eq!((cursors.behind(), cursors.rooms.len()), (0, 0), "and what is not the chatter's costs nothing");
}

#[test]
fn nothing_of_a_new_room_goes_out_before_the_socket_is_told_of_it() {
    let mut cursors = listed(4);
    assert!(cursors.deliver(room(2), &run(0, 1)).is_empty() && cursors.deliver(room(2), &run(1, 2)).is_empty());
    assert!(cursors.misses(room(2)));
    assert_eq!(
        cursors.made(room(2), Version::new(1)).map(versions),
        Some(vec![2]),
        "what it was told with is not repeated"
    );
    assert_eq!(cursors.made(room(2), Version::new(2)), None, "told once");
    assert_eq!(versions(cursors.deliver(room(2), &run(2, 3))), [3]);
    assert!(cursors.deliver(room(3), &run(4, 5)).is_empty());
    assert_eq!(cursors.made(room(3), Version::ZERO).map(versions), Some(vec![]), "what was missed before is read");
    assert_eq!(cursors.take_behind(), [(room(3), Version::ZERO)]);
    assert_eq!(cursors.made(room(5), Version::ZERO).map(versions), Some(vec![]));
    assert_eq!(versions(cursors.deliver(room(5), &run(0, 1))), [1]);
    assert!(cursors.deliver(room(6), &run(0, 1)).is_empty() && !cursors.forget(room(6)), "nor that it is gone");
    assert_eq!(cursors.made(room(6), Version::new(1)), None);
    assert_eq!(cursors.waiting(), 0);
}

#[test]
fn who_has_a_room_read_knows_it_and_who_waits_for_news_of_one_is_known() {
    let mut cursors = listed(4);
    assert!(cursors.deliver(room(2), &run(0, 1)).is_empty() && cursors.deliver(room(3), &run(0, 1)).is_empty());
    assert!(cursors.unannounced(Duration::from_secs(60)).is_empty());
    cursors.hold(room(2));
    assert_eq!((cursors.unannounced(Duration::ZERO), cursors.made(room(2), Version::new(5))), (vec![room(3)], None));
    let Release::Frames(frames) = cursors.caught_up(room(2), Version::ZERO) else { panic!("read again") };
    assert_eq!(versions(frames), [1]);
    assert!(cursors.forget(room(2)));
    assert_eq!(versions(cursors.listed([(room(3), Version::ZERO)])), [1], "it is named by a list after all");
    assert_eq!(cursors.waiting(), 0);
}

#[test]
fn a_room_that_is_new_while_the_others_are_listed_goes_out_behind_them() {
    let mut cursors = Cursors::default();
    assert!(cursors.deliver(room(2), &run(0, 2)).is_empty());
    assert_eq!(cursors.made(room(2), Version::new(1)), Some(vec![]));
    assert_eq!(versions(cursors.all_listed()), [2]);
}
