//! When a row of the outbox is sent, by which notifier, and when it is dropped.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use hyper_chat::domain::clock::Micros;
use hyper_chat::push::notifier::messages::Drain;
use hyper_chat::store::outbox::{Key, Settlement};

use super::{Bench, RECEIVER, ROOM, WAIT_MAX, push_hint};
use crate::support::fcm::Answer;

#[actix::test]
async fn a_push_of_the_newest_chat_goes_to_every_device() {
    let bench = Bench::new().await;
    bench.add_device("phone").await;
    bench.add_device("tablet").await;
    bench.chat(1).await;
    bench.chat(2).await;
    let stored = Instant::now();
    let notifier = bench.start();
    notifier.try_send(push_hint(ROOM)).expect("fits");
    let calls = bench.fcm.wait_for_calls(2).await;
    assert!(stored.elapsed() < bench.settings.grace, "no socket is open: it does not wait for the grace");
    bench.expect_calls(2).await;
    let mut receivers: Vec<_> = calls.iter().map(|c| c.token.as_str()).collect();
    receivers.sort_unstable();
    assert_eq!(receivers, ["phone", "tablet"]);
    let message = &calls[0].message["message"];
    assert_eq!(message["notification"]["title"], "Hyper Chat New Message");
    assert_eq!(message["notification"]["body"], "chat 2");
    let data =
        serde_json::json!({"sender_id": "1001", "receiver_id": "2", "chatroom_id": "1", "chat_id": "2", "seq": "2"});
    assert_eq!(message["data"], data);
    assert_eq!(bench.fcm.oauth_calls(), 1);
    assert_eq!(bench.metrics.sends_accepted.get(), 2);
}

#[actix::test]
async fn a_row_is_due_after_the_grace_without_a_hint() {
    let bench = Bench::new().await;
    bench.add_device("phone").await;
    bench.live.store(true, Ordering::Relaxed);
    let _notifier = bench.start();
    bench.chat(1).await;
    let stored = Instant::now();
    bench.expect_calls(1).await;
    assert!(stored.elapsed() >= bench.settings.grace - Duration::from_millis(50), "the socket had its grace");
}

#[actix::test]
async fn a_live_socket_delays_a_hinted_push_to_the_end_of_the_grace() {
    let bench = Bench::new().await;
    bench.add_device("phone").await;
    bench.live.store(true, Ordering::Relaxed);
    let notifier = bench.start();
    // Before the store call, which may return late: the grace counts from the commit.
    let begun = Instant::now();
    bench.chat(1).await;
    notifier.send(push_hint(ROOM)).await.expect("takes it");
    bench.expect_calls(1).await;
    assert!(begun.elapsed() >= bench.settings.grace - Duration::from_millis(50));
}

#[actix::test]
async fn chats_that_were_confirmed_or_deleted_within_the_grace_are_not_pushed() {
    for change in [
        "UPDATE members SET delivered_seq = 1",
        "UPDATE members SET delivered_seq = 1, read_seq = 1",
        "UPDATE chats SET delete_time = 1, content = ''",
        "DELETE FROM members",
    ] {
        let bench = Bench::new().await;
        bench.add_device("phone").await;
        let _notifier = bench.start();
        bench.chat(1).await;
        bench.run(change).await;
        bench.wait_until_no_push_is_pending().await;
        assert_eq!((bench.fcm.calls().len(), bench.metrics.pushes_satisfied.get()), (0, 1), "{change}");
    }
}

#[actix::test]
async fn a_chat_that_is_stored_during_a_send_keeps_the_row() {
    let bench = Bench::new().await;
    let outbox = bench.store.outbox();
    bench.chat(1).await;
    let key = Key { chatroom_id: ROOM.into(), receiver_id: RECEIVER.into() };
    let lease = outbox.claim_fresh(&[key], bench.settings.lease).await.expect("claims")[0];
    bench.chat(2).await;
    let settlement =
        Settlement { lease, ends: true, wait: Duration::from_millis(200), attempts: 1, dead_tokens: vec![] };
    outbox.release(std::slice::from_ref(&settlement)).await.expect("settles");
    assert!(outbox.claim_due(1, bench.settings.lease).await.expect("asks").is_empty(), "it waits for the gap");
    let end = Instant::now() + WAIT_MAX;
    let next = loop {
        if let [next] = outbox.claim_due(1, bench.settings.lease).await.expect("asks")[..] {
            break next;
        }
        assert!(Instant::now() < end, "it comes due again");
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert_eq!((next.to_seq.get(), next.attempts), (2, 2));
    outbox.release(&[settlement]).await.expect("settles");
    assert!(outbox.claim_due(1, bench.settings.lease).await.expect("asks").is_empty(), "a lost lease moves nothing");
    assert_eq!(bench.rows().await, 1);
}

#[actix::test]
async fn a_flood_of_chats_becomes_one_push_per_gap() {
    let bench = Bench::new().await;
    bench.add_device("phone").await;
    let notifier = bench.start();
    let began = Instant::now();
    let mut seq = 0;
    while began.elapsed() < Duration::from_millis(1_700) {
        seq += 1;
        bench.chat(seq).await;
        // A full mailbox may lose it.
        drop(notifier.try_send(push_hint(ROOM)));
        tokio::task::yield_now().await;
    }
    bench.wait_until_no_push_is_pending().await;
    bench.fcm.check();
    let calls = bench.fcm.calls();
    assert!(seq > 50 && (2..=6).contains(&calls.len()), "{seq} chats, {} pushes", calls.len());
    for pair in calls.windows(2) {
        assert!(pair[1].at - pair[0].at >= bench.settings.push_gap - Duration::from_millis(20));
    }
    let newest = calls.last().expect("a push").message["message"]["data"]["seq"].clone();
    assert_eq!(newest, seq.to_string());
}

#[actix::test]
async fn an_expired_push_is_counted_and_not_sent() {
    let bench = Bench::new().await;
    bench.add_device("phone").await;
    let long_ago = Micros::now().0 - 25 * 3_600 * 1_000_000;
    bench.chat_at(ROOM, 1, long_ago, Duration::ZERO).await;
    let _notifier = bench.start();
    bench.wait_until_no_push_is_pending().await;
    assert_eq!((bench.fcm.calls().len(), bench.metrics.pushes_expired.get()), (0, 1));
}

#[actix::test]
async fn a_device_that_is_added_later_gets_no_late_push() {
    let bench = Bench::new().await;
    let notifier = bench.start();
    bench.chat(1).await;
    notifier.try_send(push_hint(ROOM)).expect("fits");
    bench.wait_until_no_push_is_pending().await;
    bench.add_device("phone").await;
    bench.chat(2).await;
    bench.expect_calls(1).await;
    assert_eq!(bench.metrics.pushes_without_token.get(), 1);
}

#[actix::test]
async fn a_chat_that_was_pushed_is_not_pushed_again_when_the_next_is_deleted() {
    let bench = Bench::new().await;
    bench.add_device("phone").await;
    let notifier = bench.start();
    let earlier = Micros::now().0 - 5_000_000;
    bench.chat_at(ROOM, 1, earlier, Duration::ZERO).await;
    bench.expect_calls(1).await;
    notifier.send(Drain).await.expect("drains");
    let _other_instance = bench.start();
    bench.chat(2).await;
    bench.run("UPDATE chats SET delete_time = 1, content = '' WHERE seq = 2").await;
    bench.expect_calls(1).await;
}

#[actix::test]
async fn two_notifiers_share_the_rows() {
    let bench = Bench::new().await;
    bench.add_device("phone").await;
    for room in 2..202 {
        bench.add_member(room).await;
        bench.chat_at(room, 1, Micros::now().0, Duration::ZERO).await;
    }
    let (_one, _other) = (bench.start(), bench.start());
    bench.expect_calls(200).await;
}

#[actix::test]
async fn a_row_of_a_dead_claimer_is_claimed_again_when_the_lease_ends() {
    let bench = Bench::new().await;
    bench.add_device("phone").await;
    bench.chat_at(ROOM, 1, Micros::now().0, Duration::ZERO).await;
    let outbox = bench.store.outbox();
    let dead = outbox.claim_due(1, Duration::from_millis(500)).await.expect("claims");
    assert_eq!(dead.len(), 1);
    assert!(outbox.claim_due(1, Duration::from_secs(1)).await.expect("asks").is_empty(), "it is leased");
    let _notifier = bench.start();
    let began = Instant::now();
    bench.expect_calls(1).await;
    assert!(began.elapsed() >= Duration::from_millis(350));
}

#[actix::test]
async fn a_drain_waits_for_the_sends_in_flight_and_claims_no_more() {
    let mut bench = Bench::new().await;
    bench.fcm_settings.timeout = Duration::from_millis(400);
    bench.add_device("phone").await;
    bench.fcm.script([Answer::Hang]);
    let notifier = bench.start();
    bench.chat_at(ROOM, 1, Micros::now().0, Duration::ZERO).await;
    bench.fcm.wait_for_calls(1).await;
    bench.add_member(2).await;
    bench.chat_at(2, 1, Micros::now().0, Duration::ZERO).await;
    let began = Instant::now();
    notifier.send(Drain).await.expect("drains");
    assert!(began.elapsed() < WAIT_MAX / 2);
    assert_eq!((bench.metrics.sends_retried.get(), bench.rows().await, bench.fcm.calls().len()), (1, 2, 1));
}
