//! Pushes: each pending push reaches FCM at least once, and nothing else does (rows F1 to F7, F10 to F12).

mod limits;
mod outbox;
mod sends;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use actix::{Actor, Addr};
use hyper_chat::domain::clock::Micros;
use hyper_chat::metrics::PushMetrics;
use hyper_chat::push::fcm;
use hyper_chat::push::notifier::messages::PushHint;
use hyper_chat::push::notifier::{Notifier, Settings};
use hyper_chat::push::pusher::Pusher;
use hyper_chat::store::{Options, Store};
use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection, EntityTrait, PaginatorTrait, Set};

use crate::support::fcm::FcmStandIn;
use crate::support::tables::push_outbox;

pub const WAIT_MAX: Duration = Duration::from_secs(10);
pub const RECEIVER: i64 = 2;
const SENDERS: i64 = 1_000;
pub const ROOM: i64 = 1;

/// A SQLite file with one room, a stand-in, and what the notifier needs.
pub struct Bench {
    pub fcm: FcmStandIn,
    pub db: DatabaseConnection,
    pub store: Store,
    pub metrics: Arc<PushMetrics>,
    pub live: Arc<AtomicBool>,
    pub settings: Settings,
    pub fcm_settings: fcm::Settings,
    pub _directory: tempfile::TempDir,
}

impl Bench {
    pub async fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let url = format!("sqlite://{}?mode=rwc", directory.path().join("test.db").display());
        let options = Options {
            url: url.clone(),
            migrate: true,
            migration_wait: Duration::ZERO,
            connections_max: 2,
            has_broker: false,
            unsafe_durability: false,
            push_grace: Duration::from_millis(400),
        };
        let store = Store::open(&options, |writer| drop(actix::spawn(writer.run()))).await.expect("opens");
        let db = Database::connect(ConnectOptions::new(url).max_connections(1).to_owned()).await.expect("opens");
        let fcm = FcmStandIn::start();
        let fcm_settings = fcm::Settings {
            service_account: Some(fcm.service_account_path()),
            base_url: fcm.base_url().to_owned(),
            timeout: Duration::from_secs(5),
            quota_pause: Duration::from_millis(600),
        };
        let settings = Settings {
            poll: Duration::from_millis(10),
            lease: Duration::from_secs(10),
            grace: Duration::from_millis(400),
            push_gap: Duration::from_millis(500),
            receiver_burst: 1_000,
            backoff_min: Duration::from_millis(50),
            backoff_max: Duration::from_millis(400),
            ..Settings::default()
        };
        let bench = Self {
            fcm,
            db,
            store,
            metrics: Arc::default(),
            live: Arc::default(),
            settings,
            fcm_settings,
            _directory: directory,
        };
        bench.add_member(ROOM).await;
        bench
    }

    pub fn start(&self) -> Addr<Notifier> {
        let live = Arc::clone(&self.live);
        Notifier::new(
            self.store.outbox(),
            Arc::new(Pusher::open(&self.fcm_settings)),
            Arc::new(move |_| live.load(Ordering::Relaxed)),
            self.settings.clone(),
            Arc::clone(&self.metrics),
        )
        .start()
    }

    pub async fn run(&self, sql: &str) {
        self.db.execute_unprepared(sql).await.expect(sql);
    }

    pub async fn add_member(&self, room: i64) {
        self.add_receiver(room, RECEIVER).await;
    }

    pub async fn add_receiver(&self, room: i64, receiver: i64) {
        self.run(&format!("INSERT INTO members (chatroom_id, chatter_id) VALUES ({room}, {receiver})")).await;
    }

    pub async fn add_device(&self, token: &str) {
        self.add_device_of(RECEIVER, token).await;
    }

    pub async fn add_device_of(&self, chatter: i64, token: &str) {
        let device = ::entity::device::ActiveModel {
            chatter_id: Set(chatter),
            sign_in_id: Set(Some(chatter)),
            token: Set(token.to_owned()),
            create_time: Set(0),
            ..Default::default()
        };
        ::entity::device::Entity::insert(device).exec(&self.db).await.expect("the device");
    }

    /// Stores a chat and its push as the writer does, due after the grace.
    pub async fn chat(&self, seq: i64) {
        self.chat_at(ROOM, seq, Micros::now().0, self.settings.grace).await;
    }

    pub async fn chat_at(&self, room: i64, seq: i64, now: i64, grace: Duration) {
        // A pair has one room, so each room has a sender of its own.
        self.chat_of([SENDERS + room, RECEIVER], room, seq, now, grace).await;
    }

    pub async fn chat_of(&self, pair: [i64; 2], room: i64, seq: i64, now: i64, grace: Duration) {
        let [sender, receiver] = pair;
        let due = now + hyper_chat::domain::clock::micros(grace);
        self.run(&format!(
            "BEGIN; INSERT INTO chats (chatroom_id, seq, version, sender_id, content, create_time)
            VALUES ({room}, {seq}, {seq}, {sender}, 'chat {seq}', {now});
            INSERT INTO push_outbox (chatroom_id, receiver_id, to_seq, create_time, due_time)
            VALUES ({room}, {receiver}, {seq}, {now}, {due})
            ON CONFLICT (chatroom_id, receiver_id) DO UPDATE SET to_seq = excluded.to_seq; COMMIT"
        ))
        .await;
    }

    pub async fn rows(&self) -> u64 {
        push_outbox::Entity::find().count(&self.db).await.expect("counts")
    }

    pub async fn tokens(&self) -> Vec<String> {
        let devices = ::entity::device::Entity::find().all(&self.db).await.expect("reads");
        devices.into_iter().map(|d| d.token).collect()
    }

    pub async fn wait_until_no_push_is_pending(&self) {
        let end = Instant::now() + WAIT_MAX;
        while self.rows().await > 0 {
            assert!(Instant::now() < end, "a push is still pending");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits for n calls and for the outbox to be empty; then nothing more may have been sent.
    pub async fn expect_calls(&self, n: usize) {
        self.fcm.wait_for_calls(n).await;
        self.wait_until_no_push_is_pending().await;
        assert_eq!(self.fcm.calls().len(), n);
    }
}

pub fn push_hint(room: i64) -> PushHint {
    PushHint { chatroom_id: room.into(), receiver_id: RECEIVER.into() }
}
