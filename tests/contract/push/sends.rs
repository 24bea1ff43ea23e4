//! The results of a send: retries, pauses, refusals, and tokens of devices that no longer exist.

use std::time::{Duration, Instant};

use hyper_chat::domain::clock::Micros;
use hyper_chat::push::fcm;
use hyper_chat::push::notifier::messages::Drain;
use hyper_chat::push::pusher::Pusher;
use hyper_chat::store::outbox::{Key, Settlement};

use super::{Bench, RECEIVER, ROOM, WAIT_MAX, push_hint};
use crate::support::fcm::{Answer, FcmStandIn, OauthAnswer, Quota};

#[actix::test]
async fn a_push_is_retried_until_fcm_accepts_it_once() {
    let bench = Bench::new().await;
    bench.add_device("phone").await;
    let down = || Answer::Unavailable { retry_after: None };
    bench.fcm.script([down(), down(), down(), Answer::InternalError, Answer::BadGatewayHtml, Answer::ResetMidBody]);
    let notifier = bench.start();
    bench.chat(1).await;
    notifier.try_send(push_hint(ROOM)).expect("fits");
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
        notifier.try_send(push_hint(ROOM)).expect("fits");
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
        bench.fcm.script([Answer::Quota { of: Quota::Project, retry_after: header }]);
        let notifier = bench.start();
        bench.chat(1).await;
        notifier.try_send(push_hint(ROOM)).expect("fits");
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
    let pending = outbox.pending(&leases).await.expect("reads").remove(0);
    bench.run("UPDATE devices SET token = 'new'").await;
    let settlement =
        Settlement { lease: pending.lease, ends: true, wait: Duration::ZERO, attempts: 1, dead_tokens: pending.tokens };
    outbox.release(&[settlement]).await.expect("settles");
    assert_eq!((bench.tokens().await, bench.rows().await), (vec!["new".to_owned()], 0));
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
    // Older than the grace, so that all are sent at once.
    let stored = Micros::now().0 - hyper_chat::domain::clock::micros(bench.settings.grace);
    for room in 2..12 {
        bench.add_member(room).await;
        bench.chat_at(room, 1, stored, Duration::ZERO).await;
    }
    let _notifier = bench.start();
    bench.expect_calls(10).await;
    assert_eq!(bench.fcm.oauth_calls(), 3);
    assert!(bench.metrics.sends_retried.get() >= 10, "all ten waiting sends share the first failure");
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
    let receivers: Vec<_> = bench.fcm.calls().into_iter().map(|c| c.token).collect();
    assert_eq!(receivers, ["iphone", "phone", "iphone", "iphone", "iphone"]);
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
        ("the key as the whole file", serde_json::json!(crate::support::fcm::PRIVATE_KEY).to_string()),
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
        assert!(matches!(Pusher::open(&settings), Pusher::Off(_)), "{what}");
    }
    for path in [stand_in.directory().join("missing.json"), stand_in.directory().to_owned()] {
        assert!(fcm::Fcm::open(&path, &fcm::Settings::default()).is_err());
    }
    let opened = fcm::Fcm::open(&stand_in.service_account_path(), &fcm::Settings::default()).expect("is good");
    assert!(!format!("{opened:?}").contains("MII"));
}
