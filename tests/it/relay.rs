//! What instances tell each other, over both twins of the relay: who hears what, in which order, how often.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use hyper_chat::broker::Durability;
use hyper_chat::broker::memory::Hub;
use hyper_chat::broker::redis::Settings;
use hyper_chat::broker::{
    Broker, BrokerEventHandler, Changes, ClusterMessage, Counters, EVERY_INSTANCE, State, Worker,
};
use hyper_chat::domain::chat::{ChangeKind, Chat};
use hyper_chat::domain::clock::Micros;
use hyper_chat::domain::{ChatId, ChatterId, Version};
use parking_lot::Mutex;

use crate::support::secrets::{JWT_SECRET, MARKER};
use crate::support::wait::s;
use crate::support::{Redis, eventually, until};

/// Makes `memory::<name>` and `redis::<name>` of each `async fn name(place: Place)`.
macro_rules! on_both_twins {
    ($($name:ident),* $(,)?) => {
        mod memory {
            $(#[tokio::test] async fn $name() { super::$name(crate::relay::Place::memory()).await; })*
        }
        mod redis {
            $(#[tokio::test] async fn $name() { super::$name(crate::relay::Place::redis()).await; })*
        }
    };
}
pub(crate) use on_both_twins;

on_both_twins![
    who_listens_hears_and_nobody_else,
    an_instance_does_not_hear_itself,
    listening_is_counted,
    many_listen_at_once,
    what_one_instance_tells_comes_in_its_order,
    what_is_for_two_reaches_both_and_comes_once_where_both_are,
    everything_arrives_as_it_was_told,
    who_comes_and_goes_hears_only_while_listening,
];

/// How long an instance counts as alive here: short, so that tests need not wait for the end of one.
pub const LEASE: Duration = s(3);

/// Where instances meet.
pub enum Place {
    Memory(Hub),
    Redis(Redis),
}

/// Keeps what was told.
#[derive(Default)]
pub struct Ear {
    told: Mutex<Vec<ClusterMessage>>,
    reconnected: AtomicUsize,
    presumed_dead: AtomicUsize,
}

/// One instance: its relay and what it heard.
pub struct Instance {
    pub relay: Broker,
    pub ear: Arc<Ear>,
}

impl BrokerEventHandler for Ear {
    fn on_message(&self, told: ClusterMessage) {
        self.told.lock().push(told);
    }

    fn on_reconnected(&self) {
        self.reconnected.fetch_add(1, Ordering::SeqCst);
    }

    fn on_disconnected(&self) {}
    fn on_presumed_dead(&self) {
        self.presumed_dead.fetch_add(1, Ordering::SeqCst);
    }
}

impl Place {
    pub fn memory() -> Self {
        Self::Memory(Hub::new())
    }

    pub fn redis() -> Self {
        Self::Redis(Redis::start())
    }

    pub async fn instance(&self) -> Instance {
        match self {
            Self::Memory(hub) => {
                let (relay, worker) = hub.join();
                Instance::run(relay, worker)
            }
            Self::Redis(redis) => Instance::of(redis).await,
        }
    }
}

impl Instance {
    fn run(relay: Broker, worker: Worker) -> Self {
        let ear = Arc::new(Ear::default());
        tokio::spawn(worker.run(ear.clone()));
        Self { relay, ear }
    }

    /// One that need not be connected.
    pub fn with(settings: &Settings, secret: &str) -> Self {
        let (relay, worker) = Broker::redis(settings, secret.as_bytes()).expect("a URL");
        Self::run(relay, worker)
    }

    /// One that is connected, and patient with a machine that is busy with other tests.
    pub async fn of(redis: &Redis) -> Self {
        let patient = Settings {
            publish_timeout: s(10),
            answer_timeout: s(10),
            listen_timeout: s(10),
            lease: LEASE,
            ..Settings::new(redis.url().into())
        };
        let instance = Self::with(&patient, JWT_SECRET);
        instance.gets_up().await;
        instance
    }

    pub async fn gets_up(&self) {
        until("Redis is in reach", s(10), || self.relay.state() == State::Up).await;
    }

    pub fn is_away(&self) -> bool {
        matches!(self.relay.state(), State::Away { .. })
    }

    /// Listens, with the confirmation; asked for again where a busy machine takes longer than its timeout.
    pub async fn listens(&self, chatter: i64) {
        let confirmed = || async {
            let confirmed = self.relay.subscribe(chatter.into()).await;
            if !confirmed {
                self.relay.unsubscribe(chatter.into());
            }
            confirmed.then_some(())
        };
        eventually("listening is confirmed", s(10), confirmed).await;
    }

    /// Waits for this many and gives them away.
    pub async fn hears(&self, count: usize) -> Vec<ClusterMessage> {
        until(&format!("{count} things are heard"), s(10), || self.ear.told.lock().len() >= count).await;
        std::mem::take(&mut *self.ear.told.lock())
    }

    /// Waits for this one and gives away all that came up to it.
    pub async fn hears_until(&self, last: &ClusterMessage) -> Vec<ClusterMessage> {
        until(&format!("{last:?} is heard"), s(10), || self.ear.told.lock().last() == Some(last)).await;
        std::mem::take(&mut *self.ear.told.lock())
    }

    /// Exactly this comes: what was told to these chatters before it was not meant for them.
    pub async fn hears_only(&self, expected: &[ClusterMessage]) {
        assert_eq!(self.hears(expected.len()).await, expected);
    }

    pub fn reconnections(&self) -> usize {
        self.ear.reconnected.load(Ordering::SeqCst)
    }

    pub fn presumptions_of_death(&self) -> usize {
        self.ear.presumed_dead.load(Ordering::SeqCst)
    }

    pub fn counters(&self) -> Counters {
        self.relay.counters()
    }
}

/// A frame for a chatter.
pub fn frame(chatter_id: i64, text: &str) -> ClusterMessage {
    ClusterMessage::Frame {
        chatter_id: chatter_id.into(),
        text: Bytes::copy_from_slice(text.as_bytes()),
        durability: Durability::Ephemeral,
    }
}

/// A chat of a room of 1 and 2.
fn chat(version: i64, content: &str) -> Chat {
    Chat {
        id: ChatId::new(1_000 + version),
        chatroom_id: 7.into(),
        seq: version.into(),
        version: version.into(),
        sender_id: 1.into(),
        receiver_id: 2.into(),
        content: content.to_owned(),
        client_id: None,
        create_time: Micros(1_795_338_434_000_120),
        edit_time: None,
        delete_time: None,
    }
}

/// Changes of the room of 1 and 2, from version 1 on.
pub fn changes(contents: &[&str]) -> Changes {
    let chats = (1..).zip(contents).map(|(version, content)| (ChangeKind::Created, chat(version, content)));
    let changes: Vec<_> = chats.collect();
    let to = Version::new(changes.len() as i64);
    Changes { chatroom_id: 7.into(), owner_id: 1.into(), opponent_id: 2.into(), from: Version::ZERO, to, changes }
}

async fn who_listens_hears_and_nobody_else(place: Place) {
    let (teller, first, second) = (place.instance().await, place.instance().await, place.instance().await);
    first.listens(1).await;
    second.listens(2).await;
    teller.relay.publish(frame(1, "for 1"));
    teller.relay.publish(frame(2, "for 2"));
    teller.relay.publish(frame(3, "for nobody"));
    teller.relay.publish(frame(1, "the end of 1"));
    teller.relay.publish(frame(2, "the end of 2"));
    first.hears_only(&[frame(1, "for 1"), frame(1, "the end of 1")]).await;
    second.hears_only(&[frame(2, "for 2"), frame(2, "the end of 2")]).await;
    until("all is sent", s(3), || teller.counters().sent == 5).await;
    assert_eq!(first.counters(), Counters { heard: 2, ..Counters::default() });
}

async fn an_instance_does_not_hear_itself(place: Place) {
    let (own, other) = (place.instance().await, place.instance().await);
    own.listens(1).await;
    other.listens(1).await;
    own.relay.publish(frame(1, "mine"));
    other.hears_only(&[frame(1, "mine")]).await;
    other.relay.publish(frame(1, "theirs"));
    own.hears_only(&[frame(1, "theirs")]).await;
}

async fn listening_is_counted(place: Place) {
    let (teller, hearer) = (place.instance().await, place.instance().await);
    hearer.listens(1).await;
    hearer.listens(1).await;
    hearer.listens(2).await;
    hearer.relay.unsubscribe(ChatterId::new(1));
    teller.relay.publish(frame(1, "still"));
    hearer.hears_only(&[frame(1, "still")]).await;
    hearer.relay.unsubscribe(ChatterId::new(1));
    teller.relay.publish(frame(1, "no more"));
    teller.relay.publish(frame(2, "the end"));
    hearer.hears_only(&[frame(2, "the end")]).await;
    hearer.relay.unsubscribe(ChatterId::new(1));
    hearer.relay.unsubscribe(ChatterId::new(99));
    hearer.listens(1).await;
    teller.relay.publish(frame(1, "again"));
    hearer.hears_only(&[frame(1, "again")]).await;
}

async fn many_listen_at_once(place: Place) {
    let (teller, hearer) = (place.instance().await, place.instance().await);
    let all: Vec<_> =
        (0..5_000).map(|chatter| tokio::spawn(hearer.relay.subscribe(ChatterId::new(chatter % 2_500)))).collect();
    for one in all {
        assert!(one.await.expect("no panic"), "confirmed");
    }
    for chatter in [0, 1_234, 2_499] {
        teller.relay.publish(frame(chatter, "hello"));
    }
    hearer.hears_only(&[frame(0, "hello"), frame(1_234, "hello"), frame(2_499, "hello")]).await;
}

async fn what_one_instance_tells_comes_in_its_order(place: Place) {
    const EACH: usize = 3_000;
    let (one, two, hearer) = (place.instance().await, place.instance().await, place.instance().await);
    for chatter in 0..10 {
        hearer.listens(chatter).await;
    }
    for n in 0..EACH {
        one.relay.publish(frame(n as i64 % 10, &format!("one {n:05}")));
        two.relay.publish(frame(n as i64 % 10, &format!("two {n:05}")));
        if n % 100 == 0 {
            tokio::task::yield_now().await;
        }
    }
    let texts: Vec<String> = hearer.hears(2 * EACH).await.iter().map(text).collect();
    for sender in ["one", "two"] {
        let of_one: Vec<_> = texts.iter().filter(|text| text.starts_with(sender)).collect();
        assert_eq!(of_one.len(), EACH);
        assert!(of_one.is_sorted(), "in the order in which {sender} told them");
    }
}

fn text(told: &ClusterMessage) -> String {
    let ClusterMessage::Frame { text, .. } = told else { panic!("no frame: {told:?}") };
    String::from_utf8(text.to_vec()).expect("UTF-8")
}

async fn what_is_for_two_reaches_both_and_comes_once_where_both_are(place: Place) {
    let (teller, first, second, both) =
        (place.instance().await, place.instance().await, place.instance().await, place.instance().await);
    first.listens(1).await;
    second.listens(2).await;
    both.listens(1).await;
    both.listens(2).await;
    let told = ClusterMessage::Changes(changes(&["hello"]));
    let gone = ClusterMessage::RoomGone { chatroom_id: 7.into(), chatters: [2, 1].map(ChatterId::new) };
    let to_oneself = ClusterMessage::Changes(Changes { opponent_id: 1.into(), ..changes(&["note"]) });
    for told in [&told, &told, &to_oneself, &gone] {
        teller.relay.publish(told.clone());
    }
    for chatter in [1, 2] {
        teller.relay.publish(frame(chatter, "the end"));
    }
    first.hears_only(&[told.clone(), told.clone(), to_oneself.clone(), gone.clone(), frame(1, "the end")]).await;
    second.hears_only(&[told.clone(), told.clone(), gone.clone(), frame(2, "the end")]).await;
    both.hears_only(&[told.clone(), told, to_oneself, gone, frame(1, "the end"), frame(2, "the end")]).await;
}

async fn everything_arrives_as_it_was_told(place: Place) {
    let (teller, hearer) = (place.instance().await, place.instance().await);
    hearer.listens(1).await;
    hearer.listens(EVERY_INSTANCE.get()).await;
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
        ClusterMessage::RoomMade { chatroom_id: i64::MIN.into(), chatters: [1, 2].map(ChatterId::new) },
        ClusterMessage::AccessEnded { chatter_id: 1.into() },
        ClusterMessage::Missed { within_s: 13 },
        ClusterMessage::RoomGone { chatroom_id: ((1 << 53) - 1).into(), chatters: [1, 1].map(ChatterId::new) },
    ];
    all.extend((0..200).map(|n| frame(1, &"y".repeat(n * 37))));
    for told in &all {
        teller.relay.publish(told.clone());
    }
    hearer.hears_only(&all).await;
}

async fn who_comes_and_goes_hears_only_while_listening(place: Place) {
    let (teller, hearer) = (place.instance().await, place.instance().await);
    hearer.listens(2).await;
    for n in 0..50 {
        // Asked for and taken back before it is confirmed, and asked for again at once.
        drop(hearer.relay.subscribe(ChatterId::new(1)));
        hearer.relay.unsubscribe(ChatterId::new(1));
        hearer.listens(1).await;
        teller.relay.publish(frame(1, &format!("{n}")));
        hearer.hears_only(&[frame(1, &format!("{n}"))]).await;
        hearer.relay.unsubscribe(ChatterId::new(1));
    }
    teller.relay.publish(frame(1, "gone"));
    teller.relay.publish(frame(2, "the end"));
    hearer.hears_only(&[frame(2, "the end")]).await;
}

#[tokio::test]
async fn an_instance_that_is_alone_tells_nobody_and_waits_for_nothing() {
    let relay = Broker::single();
    assert!(relay.subscribe(ChatterId::new(1)).await);
    relay.publish(frame(1, "hello"));
    relay.unsubscribe(ChatterId::new(1));
    assert_eq!((relay.state(), relay.counters()), (State::Single, Counters::default()));
}

#[test]
fn told_things_show_no_contents() {
    let told = [frame(1, MARKER), ClusterMessage::Changes(changes(&[MARKER]))];
    assert!(!format!("{told:?}").contains(MARKER));
}
