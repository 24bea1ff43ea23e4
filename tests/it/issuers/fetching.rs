//! Fetching the keys: how often, what is refused, and what serves while the issuer is away.

use futures_util::future::join_all;

use super::{CREATES, issuer_and_server, person};
use crate::support::issuer::{Answer, Issuer, TestKey};
use crate::support::wait::s;
use crate::support::{Db, Person, TestServer, eventually};

/// From one fetch to the next; the stand-in measures a moment later than the server.
const PAUSE_MIN: std::time::Duration = std::time::Duration::from_millis(9_500);

async fn statuses(person: &Person, tokens: &[String]) -> Vec<u16> {
    let people: Vec<_> = tokens.iter().map(|token| person.with_token(token)).collect();
    let answers = join_all(people.iter().map(|person| person.get("/api/chatters/me"))).await;
    answers.iter().map(|answer| answer.status).collect()
}

#[tokio::test]
async fn p5_unknown_keys_are_fetched_once_at_a_time_and_rotated_keys_are_found() {
    let (issuer, key, server) = issuer_and_server(Db::Sqlite).await;
    let ann = person(&server, &issuer, &key, &issuer.claims("1", "ann")).await;
    assert_eq!(issuer.fetches().len(), 1);
    let unknown: Vec<String> =
        (0..50).map(|n| issuer.mint(&TestKey::ed25519(&format!("unknown-{n}")), &issuer.claims("1", "ann"))).collect();
    assert_eq!(statuses(&ann, &unknown).await, [401; 50]);
    assert_eq!(issuer.fetches().len(), 1, "the first was a moment ago");
    let next = TestKey::ed25519("next");
    issuer.publish(&[&next]);
    let rotated = ann.with_token(&issuer.mint(&next, &issuer.claims("1", "ann")));
    ann.get("/api/chatters/me").await.expect(200);
    let found = || async {
        assert!(statuses(&ann, &unknown[..5]).await.iter().all(|status| *status == 401));
        (rotated.get("/api/chatters/me").await.status == 200).then_some(())
    };
    eventually("the new key is fetched", s(15), found).await;
    let fetches = issuer.fetches();
    assert_eq!(fetches.len(), 2, "{fetches:?}");
    assert!(fetches[1] - fetches[0] >= PAUSE_MIN, "{:?}", fetches[1] - fetches[0]);
    ann.get("/api/chatters/me").await.problem(401, "token_invalid");
}

#[tokio::test]
async fn p5_the_last_keys_serve_while_the_issuer_is_away_and_readiness_says_so() {
    let (issuer, key, server) = issuer_and_server(Db::Sqlite).await;
    let ann = person(&server, &issuer, &key, &issuer.claims("1", "ann")).await;
    assert_eq!(server.api().get("/readyz").await.expect(200)["status"], "ready");
    issuer.answer(Answer::Down);
    let next = TestKey::ed25519("next");
    let rotated = ann.with_token(&issuer.mint(&next, &issuer.claims("1", "ann")));
    let away = || async { (rotated.get("/api/chatters/me").await.status == 503).then_some(()) };
    eventually("the fetch fails", s(15), away).await;
    rotated.get("/api/chatters/me").await.problem(503, "unavailable");
    ann.get("/api/chatters/me").await.expect(200);
    let ready = server.api().get("/readyz").await.expect(200);
    let reason = ready["reasons"][0].as_str().expect("a reason");
    assert_eq!(ready["status"], "degraded");
    assert!(reason.contains(&issuer.url) && reason.contains("it answers 503: the last ones serve"), "{reason}");
}

#[tokio::test]
async fn p5_an_answer_that_is_too_large_or_no_set_or_leads_elsewhere_is_refused() {
    let key = TestKey::ed25519("one");
    let try_one = async |answer: Option<Answer>, why: &str, outcome: &str| {
        let issuer = Issuer::start(&[&key]);
        match answer {
            Some(answer) => issuer.answer(answer),
            None => issuer.call_itself("https://another.example"),
        }
        let server = TestServer::with(Db::Sqlite).set("AUTH__ISSUERS", issuer.setting(CREATES)).start().await;
        let token = issuer.mint(&key, &issuer.claims("1", "ann"));
        let person = Person { api: server.api(), id: 0, name: String::new(), token };
        person.get("/api/chatters/me").await.problem(503, "unavailable");
        let ready = server.api().get("/readyz").await.expect(200);
        let reason = ready["reasons"][0].as_str().expect("a reason");
        assert!(reason.contains(why) && reason.contains("its tokens are refused"), "{why}: {reason}");
        assert_eq!(issuer.followed(), 0, "no redirect is followed");
        let metrics = server.api().get("/metrics").await.text;
        let counted = format!("hyper_chat_issuer_fetches_total{{outcome=\"{outcome}\"}} 1");
        assert!(metrics.contains(&counted), "{counted}: {metrics}");
    };
    tokio::join!(
        try_one(Some(Answer::Down), "it answers 503", "failed"),
        try_one(Some(Answer::Redirect), "it answers 302", "failed"),
        try_one(Some(Answer::Oversize), "its answer is larger than", "refused"),
        try_one(Some(Answer::Garbage), "its answer has no key", "refused"),
        try_one(None, "its discovery document is another issuer's", "refused"),
    );
}
