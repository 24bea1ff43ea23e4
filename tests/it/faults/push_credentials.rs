//! Row E5: the server runs while pushes cannot be sent, and `/readyz`, the log and the metrics say so.

use serde_json::{Value, json};

use crate::support::fcm::{Answer, FcmStandIn, OauthAnswer};
use crate::support::metrics::Metrics;
use crate::support::server_builder::ServerBuilder;
use crate::support::wait::s;
use crate::support::{Api, Db, Person, TestServer, eventually, on_both, stays};

on_both![
    e5_a_file_that_cannot_be_used_turns_pushes_off_and_readyz_says_so,
    e5_a_refused_key_shows_as_degraded_until_a_push_is_accepted,
];

/// Two people with a device each.
async fn pair(api: &Api) -> (Person, Person, i64) {
    let (ann, bob, room) = api.pair().await;
    for person in [&ann, &bob] {
        person.put("/api/chatters", &json!({"fcm_reg_id": format!("device-of-{}", person.name)})).await.expect(200);
    }
    (ann, bob, room)
}

async fn readiness(api: &Api) -> Value {
    api.get("/readyz").await.expect(200)
}

async fn is_degraded(api: &Api, by: &str) {
    eventually(by, s(10), || async {
        let now = readiness(api).await;
        let reason = now["reasons"][0].as_str().unwrap_or_default();
        (now["status"] == "degraded" && reason.contains(by)).then_some(())
    })
    .await;
    assert_eq!(Metrics::of(api).await.get("pushes_usable"), 0.0);
}

async fn is_ready(api: &Api) {
    eventually("ready", s(10), || async { (readiness(api).await["status"] == "ready").then_some(()) }).await;
    assert_eq!(Metrics::of(api).await.get("pushes_usable"), 1.0);
}

async fn e5_a_file_that_cannot_be_used_turns_pushes_off_and_readyz_says_so(db: Db) {
    let fcm = FcmStandIn::start();
    let file = fcm.directory().join("truncated.json");
    std::fs::write(&file, r#"{"type": "service_account", "project_id": "#).expect("the file");
    let broken = |builder: ServerBuilder| builder.set("FCM__SERVICE_ACCOUNT", file.display());
    let server = broken(TestServer::with(db)).start().await;
    let api = server.api();
    is_degraded(&api, "push_off: the file of fcm.service_account is not a service account's JSON").await;
    let answer = readiness(&api).await.to_string();
    assert!(!answer.contains("truncated.json"), "the path is for the log: {answer}");
    let (ann, _, room) = pair(&api).await;
    ann.says(room, "it waits for a good file").await;
    eventually("the push is measured", s(15), || async {
        let now = Metrics::of(&api).await;
        (now.get("pushes_pending") == 1.0 && now.get("pushes_oldest_seconds") >= 1.0).then_some(())
    })
    .await;
    stays("off without a line for each poll", s(2), || async {
        server.log().matches("the FCM service account cannot be used").count() == 1
    })
    .await;
}

async fn e5_a_refused_key_shows_as_degraded_until_a_push_is_accepted(db: Db) {
    let fcm = FcmStandIn::start();
    let server = TestServer::with(db).pushes_to(&fcm).set("PUSH__GRACE_MS", 100).start().await;
    let api = server.api();
    is_ready(&api).await;
    let (ann, bob, room) = pair(&api).await;
    fcm.script_oauth([OauthAnswer::Denied; 2]);
    ann.says(room, "the token endpoint refuses the key").await;
    is_degraded(&api, "push_failing: FCM takes no pushes (no access token: the token endpoint answered 401)").await;
    fcm.wait_for_calls(1).await;
    is_ready(&api).await;
    fcm.script([Answer::Denied, Answer::Denied]);
    bob.says(room, "the key may not send for the project").await;
    is_degraded(&api, "push_failing: FCM takes no pushes (403 PERMISSION_DENIED)").await;
    fcm.wait_for_calls(4).await;
    is_ready(&api).await;
    assert_eq!(server.log().matches("FCM is failing").count(), 2, "each outage once");
}

#[tokio::test]
async fn e5_without_fcm_nothing_is_degraded() {
    let server = TestServer::spawn(Db::Sqlite).await;
    let api = server.api();
    let (ann, _, room) = pair(&api).await;
    ann.says(room, "its push is logged").await;
    assert_eq!(readiness(&api).await, json!({"status": "ready", "database": "up"}));
    assert_eq!(Metrics::of(&api).await.get("pushes_usable"), 1.0);
}
