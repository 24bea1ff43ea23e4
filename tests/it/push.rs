//! Pushes: each pending push reaches FCM at least once, and nothing else does (rows F1 to F7, F10 to F12 of the faults).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use actix::{Actor, Addr};
use hyper_chat::domain::clock::Micros;
use hyper_chat::metrics::PushMetrics;
use hyper_chat::push::fcm;
use hyper_chat::push::notifier::messages::{Drain, PushHint};
use hyper_chat::push::notifier::{Notifier, Settings};
use hyper_chat::push::pusher::Pusher;
use hyper_chat::store::outbox::{Key, Settlement};
use hyper_chat::store::{Options, Store};
use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection, EntityTrait, PaginatorTrait, Set};

use super::support::fcm::{Answer, FcmStandIn, OauthAnswer};
use super::support::tables::push_outbox;

const WAIT_MAX: Duration = Duration::from_secs(10);
const RECEIVER: i64 = 2;
const SENDER: i64 = 1;
const ROOM: i64 = 1;

/// A SQLite file with one room, a stand-in, and what the notifier needs.
struct Bench {
    fcm: FcmStandIn,
    db: DatabaseConnection,
    store: Store,
    metrics: Arc<PushMetrics>,
    live: Arc<AtomicBool>,
    settings: Settings,
    fcm_settings: fcm::Settings,
    _directory: tempfile::TempDir,
}

impl Bench {
    async fn new() -> Self {
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

    fn start(&self) -> Addr<Notifier> {
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

    async fn run(&self, sql: &str) {
        self.db.execute_unprepared(sql).await.expect(sql);
    }

    async fn add_member(&self, room: i64) {
        self.run(&format!("INSERT INTO members (chatroom_id, chatter_id) VALUES ({room}, {RECEIVER})")).await;
    }

    async fn add_device(&self, token: &str) {
        let device = ::entity::device::ActiveModel {
            chatter_id: Set(RECEIVER),
            sign_in_id: Set(Some(1)),
            token: Set(token.to_owned()),
            create_time: Set(0),
            ..Default::default()
        };
        ::entity::device::Entity::insert(device).exec(&self.db).await.expect("the device");
    }

    /// Stores a chat and its push as the writer does, due after the grace.
    async fn chat(&self, seq: i64) {
        self.chat_at(ROOM, seq, Micros::now().0, self.settings.grace).await;
    }

    async fn chat_at(&self, room: i64, seq: i64, now: i64, grace: Duration) {
        let due = now + hyper_chat::domain::clock::micros(grace);
        self.run(&format!(
            "BEGIN; INSERT INTO chats (chatroom_id, seq, version, sender_id, content, create_time)
            VALUES ({room}, {seq}, {seq}, {SENDER}, 'chat {seq}', {now});
            INSERT INTO push_outbox (chatroom_id, receiver_id, to_seq, create_time, due_time)
            VALUES ({room}, {RECEIVER}, {seq}, {now}, {due})
            ON CONFLICT (chatroom_id, receiver_id) DO UPDATE SET to_seq = excluded.to_seq; COMMIT"
        ))
        .await;
    }

    async fn rows(&self) -> u64 {
        push_outbox::Entity::find().count(&self.db).await.expect("counts")
    }

    async fn tokens(&self) -> Vec<String> {
        let devices = ::entity::device::Entity::find().all(&self.db).await.expect("reads");
        devices.into_iter().map(|d| d.token).collect()
    }

    async fn wait_until_no_push_is_pending(&self) {
        let end = Instant::now() + WAIT_MAX;
        while self.rows().await > 0 {
            assert!(Instant::now() < end, "a push is still pending");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits for n calls and for the outbox to be empty; then nothing more may have been sent.
    async fn expect_calls(&self, n: usize) {
        self.fcm.wait_for_calls(n).await;
        self.wait_until_no_push_is_pending().await;
        assert_eq!(self.fcm.calls().len(), n);
    }
}

fn unreached(room: i64) -> PushHint {
    PushHint { chatroom_id: room.into(), receiver_id: RECEIVER.into() }
}

#[actix::test]
async fn a_push_of_the_newest_chat_goes_to_every_device() {
    let bench = Bench::new().await;
    bench.add_device("phone").await;
    bench.add_device("tablet").await;
    bench.chat(1).await;
    bench.chat(2).await;
    let stored = Instant::now();
    let notifier = bench.start();
    notifier.try_send(unreached(ROOM)).expect("fits");
    let calls = bench.fcm.wait_for_calls(2).await;
    assert!(stored.elapsed() < bench.settings.grace, "nobody is there: it does not wait for the grace");
    bench.expect_calls(2).await;
    let mut told: Vec<_> = calls.iter().map(|c| c.token.as_str()).collect();
    told.sort_unstable();
    assert_eq!(told, ["phone", "tablet"]);
    let message = &calls[0].message["message"];
    assert_eq!(message["notification"]["title"], "Hyper Chat New Message");
    assert_eq!(message["notification"]["body"], "chat 2");
    let data =
        serde_json::json!({"sender_id": "1", "receiver_id": "2", "chatroom_id": "1", "chat_id": "2", "seq": "2"});
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
    bench.chat(1).await;
    let stored = Instant::now();
    notifier.send(unreached(ROOM)).await.expect("takes it");
    bench.expect_calls(1).await;
    assert!(stored.elapsed() >= bench.settings.grace - Duration::from_millis(50));
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
async fn a_push_is_retried_until_fcm_accepts_it_once() {
    let bench = Bench::new().await;
    bench.add_device("phone").await;
    let down = || Answer::Unavailable { retry_after: None };
    bench.fcm.script([down(), down(), down(), Answer::InternalError, Answer::BadGatewayHtml, Answer::ResetMidBody]);
    let notifier = bench.start();
    bench.chat(1).await;
    notifier.try_send(unreached(ROOM)).expect("fits");
    bench.expect_calls(7).await;
    let calls = bench.fcm.calls();
    let least = [40, 80, 160, 320, 320, 320].map(Duration::from_millis);
    for (pair, least) in calls.windows(2).zip(least) {
        assert!(pair[1].at - pair[0].at >= least, "the waits double: {:?}", pair[1].at - pair[0].at);
    }
    assert_eq!((bench.metrics.sends_accepted.get(), bench.metrics.sends_retried.get()), (1, 6));
}

#[actix::test]
async fn a_retry_waits_for_the_retry_after_in_seconds_or_as_a_date() {
    for date in [false, true] {
        let bench = Bench::new().await;
        bench.add_device("phone").await;
        let at = std::time::SystemTime::now() + Duration::from_secs(2);
        let header = if date { httpdate::fmt_http_date(at) } else { "1".to_owned() };
        bench.fcm.script([Answer::Unavailable { retry_after: Some(header) }]);
        let notifier = bench.start();
        bench.chat(1).await;
        notifier.try_send(unreached(ROOM)).expect("fits");
        bench.expect_calls(2).await;
        let calls = bench.fcm.calls();
        // A date has whole seconds, so two seconds ahead are at least one.
        assert!(calls[1].at - calls[0].at >= Duration::from_millis(700), "date: {date}");
    }
}

#[actix::test]
async fn a_full_quota_pauses_the_pushes_of_all_rooms() {
    for (header, least) in [(None, 600), (Some("1".to_owned()), 1_000)] {
        let bench = Bench::new().await;
        bench.add_device("phone").await;
        bench.fcm.script([Answer::Quota { retry_after: header }]);
        let notifier = bench.start();
        bench.chat(1).await;
        notifier.try_send(unreached(ROOM)).expect("fits");
        let first = bench.fcm.wait_for_calls(1).await[0].at;
        for room in 2..10 {
            bench.add_member(room).await;
            bench.chat_at(room, 1, Micros::now().0, Duration::ZERO).await;
        }
        bench.expect_calls(10).await;
        let next = bench.fcm.calls()[1].at - first;
        assert!(next >= Duration::from_millis(least - 50), "{next:?}");
        assert_eq!(bench.metrics.sends_accepted.get(), 9);
    }
}

#[actix::test]
async fn a_send_without_an_answer_is_retried() {
    let mut bench = Bench::new().await;
    bench.fcm_settings.timeout = Duration::from_millis(300);
    bench.add_device("phone").await;
    bench.fcm.script([Answer::Hang]);
    let _notifier = bench.start();
    bench.chat(1).await;
    bench.expect_calls(2).await;
}

#[actix::test]
async fn no_push_is_lost_while_fcm_is_unreachable() {
    let mut bench = Bench::new().await;
    bench.add_device("phone").await;
    bench.fcm_settings.base_url = "http://127.0.0.1:1".to_owned();
    let first = bench.start();
    bench.chat(1).await;
    let end = Instant::now() + WAIT_MAX;
    while bench.metrics.sends_retried.get() == 0 {
        assert!(Instant::now() < end, "it tries");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    first.send(Drain).await.expect("drains");
    assert_eq!(bench.rows().await, 1);
    bench.fcm_settings.base_url = bench.fcm.base_url().to_owned();
    let _second = bench.start();
    bench.expect_calls(1).await;
}

#[actix::test]
async fn a_token_that_fcm_no_longer_knows_is_removed_and_the_other_devices_are_served() {
    for answer in [Answer::Unregistered, Answer::InvalidField("message.token")] {
        let bench = Bench::new().await;
        bench.add_device("gone").await;
        bench.add_device("phone").await;
        bench.fcm.answer_for("gone", answer);
        let _notifier = bench.start();
        bench.chat(1).await;
        bench.expect_calls(2).await;
        assert_eq!(bench.tokens().await, ["phone"]);
        assert_eq!((bench.metrics.sends_to_gone_tokens.get(), bench.metrics.sends_accepted.get()), (1, 1));
    }
}

#[actix::test]
async fn a_token_that_was_replaced_meanwhile_is_kept() {
    let bench = Bench::new().await;
    bench.add_device("old").await;
    let outbox = bench.store.outbox();
    bench.chat(1).await;
    let key = Key { chatroom_id: ROOM.into(), receiver_id: RECEIVER.into() };
    let leases = outbox.claim_fresh(&[key], bench.settings.lease).await.expect("claims");
    let owed = outbox.pending(&leases).await.expect("reads").remove(0);
    bench.run("UPDATE devices SET token = 'new'").await;
    let settlement =
        Settlement { lease: owed.lease, ends: true, wait: Duration::ZERO, attempts: 1, dead_tokens: owed.tokens };
    outbox.release(&[settlement]).await.expect("settles");
    assert_eq!((bench.tokens().await, bench.rows().await), (vec!["new".to_owned()], 0));
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
async fn a_refused_message_is_given_up_and_the_token_stays() {
    for answer in [Answer::InvalidField("message.data"), Answer::SenderIdMismatch] {
        let bench = Bench::new().await;
        bench.add_device("phone").await;
        bench.fcm.script([answer]);
        let _notifier = bench.start();
        bench.chat(1).await;
        bench.expect_calls(1).await;
        assert_eq!((bench.tokens().await.len(), bench.metrics.sends_refused.get()), (1, 1));
    }
}

#[actix::test]
async fn a_refused_access_token_is_replaced_once_for_all_sends() {
    let bench = Bench::new().await;
    bench.add_device("phone").await;
    let _notifier = bench.start();
    bench.chat(1).await;
    bench.expect_calls(1).await;
    bench.fcm.expire_access_tokens();
    for room in 2..12 {
        bench.add_member(room).await;
        bench.chat_at(room, 1, Micros::now().0, Duration::ZERO).await;
    }
    bench.expect_calls(11).await;
    assert_eq!(bench.fcm.oauth_calls(), 2, "one purchase at the start and one after the refusal");
    assert_eq!(bench.metrics.sends_retried.get(), 0);
    assert!(bench.fcm.unauthorized() >= 1);
}

#[actix::test]
async fn a_token_endpoint_that_is_down_pauses_all_sends_and_loses_no_push() {
    let bench = Bench::new().await;
    bench.add_device("phone").await;
    bench.fcm.script_oauth([OauthAnswer::Down, OauthAnswer::Down]);
    // Beyond their grace, so that all go out at once.
    let stored = Micros::now().0 - hyper_chat::domain::clock::micros(bench.settings.grace);
    for room in 2..12 {
        bench.add_member(room).await;
        bench.chat_at(room, 1, stored, Duration::ZERO).await;
    }
    let _notifier = bench.start();
    bench.expect_calls(10).await;
    assert_eq!(bench.fcm.oauth_calls(), 3);
    assert!(bench.metrics.sends_retried.get() >= 10, "all ten who waited share the first failure");
}

#[actix::test]
async fn a_401_that_a_new_access_token_does_not_cure_pauses_all_sends() {
    let bench = Bench::new().await;
    bench.add_device("phone").await;
    bench.fcm.script([Answer::Unauthorized, Answer::Unauthorized]);
    let _notifier = bench.start();
    bench.chat(1).await;
    bench.expect_calls(3).await;
    assert_eq!((bench.fcm.oauth_calls(), bench.metrics.sends_retried.get()), (2, 1));
}

#[actix::test]
async fn a_device_whose_vendor_refuses_does_not_make_the_others_ring_again() {
    let bench = Bench::new().await;
    bench.add_device("iphone").await;
    bench.add_device("phone").await;
    bench.fcm.script([Answer::ThirdPartyAuth, Answer::Accept, Answer::ThirdPartyAuth, Answer::ThirdPartyAuth]);
    let _notifier = bench.start();
    bench.chat(1).await;
    bench.expect_calls(5).await;
    let told: Vec<_> = bench.fcm.calls().into_iter().map(|c| c.token).collect();
    assert_eq!(told, ["iphone", "phone", "iphone", "iphone", "iphone"]);
    assert_eq!(bench.fcm.oauth_calls(), 1, "a new access token would not help");
}

#[actix::test]
async fn a_redirect_is_not_followed() {
    let bench = Bench::new().await;
    bench.add_device("phone").await;
    let elsewhere = FcmStandIn::start();
    bench.fcm.script([Answer::Redirect(format!("{}/v1/projects/x/messages:send", elsewhere.base_url()))]);
    let _notifier = bench.start();
    bench.chat(1).await;
    bench.expect_calls(2).await;
    assert_eq!((elsewhere.calls().len(), elsewhere.unauthorized()), (0, 0));
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
        // A full mailbox is allowed to lose it.
        drop(notifier.try_send(unreached(ROOM)));
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
    notifier.try_send(unreached(ROOM)).expect("fits");
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

#[actix::test]
async fn a_service_account_that_cannot_be_used_disables_pushes_and_shows_no_key() {
    let stand_in = FcmStandIn::start();
    let good = stand_in.service_account();
    let with = |field: &str, value: serde_json::Value| {
        let mut account = good.clone();
        account[field] = value;
        account.to_string()
    };
    let ec_key = "-----BEGIN PRIVATE KEY-----\n\
        MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg2Z72numQHmdcnm+1\n\
        IDiNmdoNsZpNDVIp9QpiIp9QdMChRANCAATuhxwZ90PWrpMbFSKg+NJJxrLbece9\n\
        fzwD1ORQLJso8uvlCmFyP1dUNfkAKrZzdJQwzE3/RRsbK08Kes8WGrTu\n\
        -----END PRIVATE KEY-----\n";
    let spoilt = [
        ("not JSON", "{".to_owned()),
        ("the key as the whole file", serde_json::json!(super::support::fcm::PRIVATE_KEY).to_string()),
        ("another type", with("type", "authorized_user".into())),
        ("no key", with("private_key", "".into())),
        ("an EC key", with("private_key", ec_key.into())),
        ("a project that is a path", with("project_id", "../x".into())),
        ("a token endpoint without TLS", with("token_uri", "http://example.com/token".into())),
    ];
    for (what, text) in spoilt {
        let path = stand_in.directory().join("spoilt.json");
        std::fs::write(&path, text).expect("writes");
        let settings = fcm::Settings { service_account: Some(path.clone()), ..fcm::Settings::default() };
        let error = fcm::Fcm::open(&path, &settings).expect_err(what);
        assert!(!format!("{error} {error:?}").contains("MII"), "{what}: {error}");
        assert!(matches!(Pusher::open(&settings), Pusher::Off), "{what}");
    }
    for path in [stand_in.directory().join("missing.json"), stand_in.directory().to_owned()] {
        assert!(fcm::Fcm::open(&path, &fcm::Settings::default()).is_err());
    }
    let opened = fcm::Fcm::open(&stand_in.service_account_path(), &fcm::Settings::default()).expect("is good");
    assert!(!format!("{opened:?}").contains("MII"));
}
