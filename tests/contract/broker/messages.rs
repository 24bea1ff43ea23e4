//! Which messages an instance receives, in which order, and how often.

use bytes::Bytes;
use hyper_chat::broker::{Changes, ClusterMessage, Durability, EVERY_INSTANCE, State, single};
use hyper_chat::domain::ChatterId;
use hyper_chat::domain::chat::ChangeKind;
use hyper_chat::domain::clock::Micros;

use super::{Counters, Place, changes, frame, on_both_brokers};
use crate::support::secrets::MARKER;
use crate::support::until;
use crate::support::wait::s;

on_both_brokers![
    only_subscribed_instances_receive_a_message,
    an_instance_does_not_receive_its_own_messages,
    subscriptions_are_counted,
    thousands_of_subscriptions_are_confirmed_at_once,
    messages_of_one_instance_arrive_in_publish_order,
    a_message_for_two_chatters_reaches_both_and_arrives_once_where_both_are_subscribed,
    every_kind_of_message_arrives_unchanged,
    messages_arrive_only_while_subscribed,
];

async fn only_subscribed_instances_receive_a_message(place: Place) {
    let (publisher, first, second) = (place.instance().await, place.instance().await, place.instance().await);
    first.subscribes(1).await;
    second.subscribes(2).await;
    publisher.broker.publish(frame(1, "for 1"));
    publisher.broker.publish(frame(2, "for 2"));
    publisher.broker.publish(frame(3, "without a receiver"));
    publisher.broker.publish(frame(1, "the end of 1"));
    publisher.broker.publish(frame(2, "the end of 2"));
    first.receives_only(&[frame(1, "for 1"), frame(1, "the end of 1")]).await;
    second.receives_only(&[frame(2, "for 2"), frame(2, "the end of 2")]).await;
    until("all is sent", s(3), || publisher.counters().sent == 5).await;
    assert_eq!(first.counters(), Counters { received: 2, ..Counters::default() });
}

async fn an_instance_does_not_receive_its_own_messages(place: Place) {
    let (own, other) = (place.instance().await, place.instance().await);
    own.subscribes(1).await;
    other.subscribes(1).await;
    own.broker.publish(frame(1, "mine"));
    other.receives_only(&[frame(1, "mine")]).await;
    other.broker.publish(frame(1, "theirs"));
    own.receives_only(&[frame(1, "theirs")]).await;
}

async fn subscriptions_are_counted(place: Place) {
    let (publisher, receiver) = (place.instance().await, place.instance().await);
    receiver.subscribes(1).await;
    receiver.subscribes(1).await;
    receiver.subscribes(2).await;
    receiver.broker.unsubscribe(ChatterId::new(1));
    publisher.broker.publish(frame(1, "still"));
    receiver.receives_only(&[frame(1, "still")]).await;
    receiver.broker.unsubscribe(ChatterId::new(1));
    publisher.broker.publish(frame(1, "no more"));
    publisher.broker.publish(frame(2, "the end"));
    receiver.receives_only(&[frame(2, "the end")]).await;
    receiver.broker.unsubscribe(ChatterId::new(1));
    receiver.broker.unsubscribe(ChatterId::new(99));
    receiver.subscribes(1).await;
    publisher.broker.publish(frame(1, "again"));
    receiver.receives_only(&[frame(1, "again")]).await;
}

async fn thousands_of_subscriptions_are_confirmed_at_once(place: Place) {
    let (publisher, receiver) = (place.instance().await, place.instance().await);
    let all: Vec<_> =
        (0..5_000).map(|chatter| tokio::spawn(receiver.broker.subscribe(ChatterId::new(chatter % 2_500)))).collect();
    for one in all {
        assert!(one.await.expect("no panic"), "confirmed");
    }
    for chatter in [0, 1_234, 2_499] {
        publisher.broker.publish(frame(chatter, "hello"));
    }
    receiver.receives_only(&[frame(0, "hello"), frame(1_234, "hello"), frame(2_499, "hello")]).await;
}

async fn messages_of_one_instance_arrive_in_publish_order(place: Place) {
    const EACH: usize = 3_000;
    let (one, two, receiver) = (place.instance().await, place.instance().await, place.instance().await);
    for chatter in 0..10 {
        receiver.subscribes(chatter).await;
    }
    for n in 0..EACH {
        one.broker.publish(frame(n as i64 % 10, &format!("one {n:05}")));
        two.broker.publish(frame(n as i64 % 10, &format!("two {n:05}")));
        if n % 100 == 0 {
            tokio::task::yield_now().await;
        }
    }
    let texts: Vec<String> = receiver.receives(2 * EACH).await.iter().map(text).collect();
    for sender in ["one", "two"] {
        let of_one: Vec<_> = texts.iter().filter(|text| text.starts_with(sender)).collect();
        assert_eq!(of_one.len(), EACH);
        assert!(of_one.is_sorted(), "in the order in which {sender} published them");
    }
}

fn text(message: &ClusterMessage) -> String {
    let ClusterMessage::Frame { text, .. } = message else { panic!("no frame: {message:?}") };
    String::from_utf8(text.to_vec()).expect("UTF-8")
}

async fn a_message_for_two_chatters_reaches_both_and_arrives_once_where_both_are_subscribed(place: Place) {
    let (publisher, first, second, both) =
        (place.instance().await, place.instance().await, place.instance().await, place.instance().await);
    first.subscribes(1).await;
    second.subscribes(2).await;
    both.subscribes(1).await;
    both.subscribes(2).await;
    let message = ClusterMessage::Changes(changes(&["hello"]));
    let gone = ClusterMessage::RoomDeleted { chatroom_id: 7.into(), chatters: [2, 1].map(ChatterId::new) };
    let to_oneself = ClusterMessage::Changes(Changes { opponent_id: 1.into(), ..changes(&["note"]) });
    for message in [&message, &message, &to_oneself, &gone] {
        publisher.broker.publish(message.clone());
    }
    for chatter in [1, 2] {
        publisher.broker.publish(frame(chatter, "the end"));
    }
    first
        .receives_only(&[message.clone(), message.clone(), to_oneself.clone(), gone.clone(), frame(1, "the end")])
        .await;
    second.receives_only(&[message.clone(), message.clone(), gone.clone(), frame(2, "the end")]).await;
    both.receives_only(&[message.clone(), message, to_oneself, gone, frame(1, "the end"), frame(2, "the end")]).await;
}

async fn every_kind_of_message_arrives_unchanged(place: Place) {
    let (publisher, receiver) = (place.instance().await, place.instance().await);
    receiver.subscribes(1).await;
    receiver.subscribes(EVERY_INSTANCE.get()).await;
    let odd = "\"quotes\" \\ \n\r\t \u{1} \u{7f} 회의 👋🏽 e\u{301} \u{202e}rtl {\"json\": [1]}";
    let mut mixed = changes(&["", odd, &"가나다".repeat(2_666)]);
    mixed.changes[1].0 = ChangeKind::Edited;
    mixed.changes[1].1.edit_time = Some(Micros(1));
    mixed.changes[1].1.client_id = Some("it's \"mine\"".to_owned());
    mixed.changes[0].0 = ChangeKind::Deleted;
    mixed.changes[0].1.delete_time = Some(Micros(i64::MAX));
    let mut all = vec![
        ClusterMessage::Changes(mixed),
        ClusterMessage::Changes(Changes { from: 4.into(), to: 9.into(), ..changes(&[]) }),
        frame(1, ""),
        frame(1, odd),
        frame(1, "  {\"frame\": 1}\n"),
        frame(1, &"x".repeat(1_000_000)),
        ClusterMessage::Frame {
            chatter_id: 1.into(),
            text: Bytes::from_static(&[0, 255, 254]),
            durability: Durability::Durable,
        },
        ClusterMessage::RoomCreated { chatroom_id: i64::MIN.into(), chatters: [1, 2].map(ChatterId::new) },
        ClusterMessage::AccessEnded { chatter_id: 1.into() },
        ClusterMessage::RepeatRequest { within_s: 13 },
        ClusterMessage::RoomDeleted { chatroom_id: ((1 << 53) - 1).into(), chatters: [1, 1].map(ChatterId::new) },
    ];
    all.extend((0..200).map(|n| frame(1, &"y".repeat(n * 37))));
    for message in &all {
        publisher.broker.publish(message.clone());
    }
    receiver.receives_only(&all).await;
}

async fn messages_arrive_only_while_subscribed(place: Place) {
    let (publisher, receiver) = (place.instance().await, place.instance().await);
    receiver.subscribes(2).await;
    for n in 0..50 {
        // Subscribed and unsubscribed before the confirmation, and subscribed again at once.
        drop(receiver.broker.subscribe(ChatterId::new(1)));
        receiver.broker.unsubscribe(ChatterId::new(1));
        receiver.subscribes(1).await;
        publisher.broker.publish(frame(1, &format!("{n}")));
        receiver.receives_only(&[frame(1, &format!("{n}"))]).await;
        receiver.broker.unsubscribe(ChatterId::new(1));
    }
    publisher.broker.publish(frame(1, "gone"));
    publisher.broker.publish(frame(2, "the end"));
    receiver.receives_only(&[frame(2, "the end")]).await;
}

#[tokio::test]
async fn a_single_instance_publishes_nothing_and_waits_for_nothing() {
    let broker = single();
    assert!(broker.subscribe(ChatterId::new(1)).await);
    broker.publish(frame(1, "hello"));
    broker.unsubscribe(ChatterId::new(1));
    assert_eq!((broker.state(), Counters::of(&*broker)), (State::Single, Counters::default()));
}

#[test]
fn the_debug_output_of_messages_leaves_contents_out() {
    let messages = [frame(1, MARKER), ClusterMessage::Changes(changes(&[MARKER]))];
    assert!(!format!("{messages:?}").contains(MARKER));
}
