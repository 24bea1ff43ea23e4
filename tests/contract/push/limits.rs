//! Quotas of devices and of the project, and how often one sender rings.

use std::time::{Duration, Instant};

use hyper_chat::domain::clock::Micros;

use super::{Bench, RECEIVER, ROOM, WAIT_MAX};
use crate::support::fcm::{Answer, Quota};

const OTHER: i64 = 3;

#[actix::test]
async fn a9_a_quota_of_one_device_stops_no_other_device() {
    for of in [Quota::Device, Quota::Unnamed] {
        let bench = Bench::new().await;
        bench.add_device("noisy").await;
        bench.add_device_of(OTHER, "victim").await;
        bench.fcm.answer_for("noisy", Answer::Quota { of, retry_after: Some("600".to_owned()) });
        let _notifier = bench.start();
        bench.chat_at(ROOM, 1, Micros::now().0, Duration::ZERO).await;
        bench.fcm.wait_for_calls(1).await;
        for room in 2..12 {
            bench.add_member(room).await;
            bench.chat_at(room, 1, Micros::now().0, Duration::ZERO).await;
            bench.add_receiver(room + 100, OTHER).await;
            bench.chat_of([2_000 + room, OTHER], room + 100, 1, Micros::now().0, Duration::ZERO).await;
        }
        // One refusal, and each of the victim's pushes within the deadline of the wait: far below 600 s.
        bench.fcm.wait_for_calls(11).await;
        assert_eq!((bench.fcm.sent_to("noisy").len(), bench.fcm.sent_to("victim").len()), (1, 10), "{of:?}");
        let end = Instant::now() + WAIT_MAX;
        while bench.rows().await > 11 {
            assert!(Instant::now() < end, "the victim's pushes are complete");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(bench.rows().await, 11, "{of:?}: the pushes of the limited device wait");
    }
}

#[actix::test]
async fn a9_a_limited_device_gets_its_push_after_the_wait() {
    let bench = Bench::new().await;
    bench.add_device("phone").await;
    bench.add_device("tablet").await;
    bench.fcm.script([Answer::Quota { of: Quota::Device, retry_after: Some("1".to_owned()) }]);
    let _notifier = bench.start();
    bench.chat_at(ROOM, 1, Micros::now().0, Duration::ZERO).await;
    bench.expect_calls(3).await;
    let calls = bench.fcm.calls();
    let devices: Vec<_> = calls.iter().map(|call| call.token.as_str()).collect();
    assert_eq!(devices, ["phone", "tablet", "phone"]);
    assert!(calls[2].at - calls[0].at >= Duration::from_millis(950));
}

#[actix::test]
async fn a6_a_sender_with_many_rooms_rings_once_in_the_gap_and_others_at_once() {
    let bench = Bench::new().await;
    bench.add_device("phone").await;
    let _notifier = bench.start();
    for room in 2..32 {
        bench.add_member(room).await;
        bench.chat_of([7, RECEIVER], room, 1, Micros::now().0, Duration::ZERO).await;
    }
    bench.fcm.wait_for_calls(1).await;
    bench.chat_at(ROOM, 1, Micros::now().0, Duration::ZERO).await;
    // Rooms that are deleted ring no more.
    bench.run("DELETE FROM chats WHERE chatroom_id BETWEEN 4 AND 31").await;
    bench.wait_until_no_push_is_pending().await;
    let calls = bench.fcm.calls();
    let of = |sender: &str| calls.iter().filter(|call| call.message["message"]["data"]["sender_id"] == sender).count();
    assert_eq!(of("1001"), 1, "a friend's push");
    let flood: Vec<_> = calls.iter().filter(|call| call.message["message"]["data"]["sender_id"] == "7").collect();
    assert!((2..=8).contains(&flood.len()), "{} pushes", flood.len());
    for pair in flood.windows(2) {
        assert!(pair[1].at - pair[0].at >= bench.settings.push_gap - Duration::from_millis(20));
    }
}
