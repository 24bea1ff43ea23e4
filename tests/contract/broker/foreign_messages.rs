//! Messages that are forged, malformed or too long, services that share a Redis, and floods.

use hyper_chat::broker::ClusterMessage;
use hyper_chat::broker::redis::Settings;

use super::log::Log;
use super::redis_faults::{heal, pair, settings};
use super::{Counters, Instance, changes, frame};
use crate::support::secrets::JWT_SECRET;
use crate::support::wait::s;
use crate::support::{Redis, alone, until};

#[tokio::test]
async fn messages_that_are_not_ours_are_dropped_and_counted() {
    let redis = Redis::start();
    let log = Log::start();
    let (publisher, receiver) = pair(&redis).await;
    receiver.subscribes(2).await;
    let genuine = capture(&redis, "hyper:1:c:3", &publisher, frame(3, "for 3")).await;
    let mut changed = genuine.clone();
    publisher.broker.publish(frame(1, "for 1"));
    receiver.receives_only(&[frame(1, "for 1")]).await;
    *changed.last_mut().expect("a byte") ^= 1;
    let mut later_format = genuine.clone();
    later_format[2] = 2;
    let stranger = Instance::with(&settings(&redis), "another-secret-of-more-than-32-bytes");
    stranger.wait_until_up().await;
    stranger.broker.publish(frame(1, "from a stranger"));
    until("it is sent", s(3), || stranger.counters().sent == 1).await;
    let huge = [&genuine[..], &vec![b'x'; 2 * 1024 * 1024]].concat();
    let bad: [&[u8]; 11] = [
        b"",
        b"H",
        b"garbage",
        b"HC",
        b"HC\x01",
        &genuine[..40],
        &genuine[..51],
        &huge,
        &later_format,
        &genuine,
        &changed,
    ];
    for message in bad {
        assert_eq!(redis.publish("hyper:1:c:1", message).await, 1);
    }
    for channel in ["hyper:1:c:", "hyper:1:c:x", "hyper:1:c:-1", "hyper:1:c:99999999999999999999", "other"] {
        assert_eq!(redis.publish(channel, &genuine).await, 0);
    }
    publisher.broker.publish(frame(2, "the end"));
    receiver.receives_only(&[frame(2, "the end")]).await;
    // Forged are the stranger's message, a truncated one, one for another chatter, and a changed one.
    let expected = Counters { received: 2, forged: 4, unknown_format: 1, garbled: 7, ..Counters::default() };
    assert_eq!(receiver.counters(), expected);
    assert_eq!(log.lines("WARN").len(), 1, "{}", log.text());
}

/// The published message, as every client of Redis can see it.
async fn capture(redis: &Redis, channel: &str, publisher: &Instance, message: ClusterMessage) -> Vec<u8> {
    let (sender, mut pushes) = tokio::sync::mpsc::unbounded_channel();
    let config = ::redis::AsyncConnectionConfig::new().set_push_sender(sender);
    let client = ::redis::Client::open(format!("{}?protocol=resp3", redis.url())).expect("a URL");
    let mut line = client.get_multiplexed_async_connection_with_config(&config).await.expect("connects");
    line.subscribe(channel).await.expect("subscribed");
    publisher.broker.publish(message);
    loop {
        let push = pushes.recv().await.expect("connected");
        if push.kind == ::redis::PushKind::Message {
            return ::redis::from_redis_value(push.data[1].clone()).expect("bytes");
        }
    }
}

#[tokio::test]
async fn b12_a_replayed_message_is_not_received_again() {
    let redis = Redis::start();
    let (publisher, receiver) = pair(&redis).await;
    let captured = capture(&redis, "hyper:1:c:1", &publisher, frame(1, "typing")).await;
    receiver.receives_only(&[frame(1, "typing")]).await;
    for _ in 0..3 {
        assert_eq!(redis.publish("hyper:1:c:1", &captured).await, 1);
    }
    publisher.broker.publish(frame(1, "the end"));
    receiver.receives_only(&[frame(1, "the end")]).await;
}

#[tokio::test]
async fn services_with_other_prefixes_share_a_redis_without_receiving_each_other() {
    let redis = Redis::start();
    let (publisher, receiver) = pair(&redis).await;
    let other = Instance::with(&Settings { prefix: "other".to_owned(), ..settings(&redis) }, JWT_SECRET);
    other.wait_until_up().await;
    other.subscribes(1).await;
    other.broker.publish(frame(1, "other"));
    until("it is sent", s(3), || other.counters().sent == 1).await;
    publisher.broker.publish(frame(1, "ours"));
    receiver.receives_only(&[frame(1, "ours")]).await;
    assert_eq!(other.counters().received, 0);
}

#[tokio::test]
async fn a_message_that_is_too_long_arrives_in_parts_or_not_at_all() {
    let redis = Redis::start();
    let (publisher, receiver) = pair(&redis).await;
    let long = "가".repeat(8_000);
    let message = changes(&vec![&long[..]; 100]);
    publisher.broker.publish(frame(1, &"x".repeat(1024 * 1024)));
    publisher.broker.publish(ClusterMessage::Changes(message.clone()));
    publisher.broker.publish(frame(1, "the end"));
    let mut parts = receiver.receives_until(&frame(1, "the end")).await;
    parts.pop();
    until("all is counted", s(3), || publisher.counters().sent == parts.len() as u64 + 1).await;
    assert!(parts.len() >= 3 && publisher.counters().dropped == 1, "{:?}", publisher.counters());
    let (mut to, mut all) = (message.from, Vec::new());
    for part in parts {
        let ClusterMessage::Changes(part) = part else { panic!("no changes: {part:?}") };
        assert_eq!((part.from, part.to), (to, part.changes.last().expect("never empty").1.version));
        to = part.to;
        all.extend(part.changes);
    }
    assert!(to == message.to && all == message.changes, "all of it, in parts that follow each other");
}

#[tokio::test]
async fn messages_that_wait_to_be_published_are_bounded_in_number_and_in_bytes() {
    let redis = Redis::start();
    let (publisher, receiver) = pair(&redis).await;
    let publish = |count: u64, message: &ClusterMessage| {
        let before = publisher.counters();
        // No await in between, so that nothing is sent meanwhile.
        (0..count).for_each(|_| publisher.broker.publish(message.clone()));
        before
    };
    let before = publish(20_000, &frame(1, "short"));
    assert_eq!(publisher.counters().dropped - before.dropped, 20_000 - 8_192);
    receiver.receives(8_192).await;
    let before = publish(100, &frame(1, &"x".repeat(1_000_000)));
    assert_eq!(publisher.counters().dropped - before.dropped, 100 - 16, "16 MiB wait");
    receiver.receives(16).await;
    until("all is counted", s(3), || publisher.counters().sent == 8_192 + 16).await;
    assert_eq!(receiver.reconnections(), 1, "nothing broke");
}

#[tokio::test]
async fn a_flood_of_garbage_is_survived() {
    let _turn = alone().await;
    let redis = Redis::start();
    let (publisher, receiver) = pair(&redis).await;
    let mut client = redis.client().await;
    let garbage = vec![b'x'; 100_000];
    for _ in 0..50 {
        let mut pipeline = ::redis::pipe();
        for _ in 0..20 {
            pipeline.cmd("PUBLISH").arg("hyper:1:c:1").arg(&garbage);
        }
        pipeline.exec_async(&mut client).await.expect("Redis takes it");
    }
    heal(&publisher, &receiver).await;
}
