//! Row B5: a push token has one account, and moves only to one that has signed in, seldom.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::fcm::FcmStandIn;
use crate::support::secrets::PASSWORD;
use crate::support::{Api, Db, Person, TestServer, on_all, on_both};

mod one_server {
    use super::*;

    on_both![b5_a_sign_up_takes_no_token_and_its_pushes_do_not_ring_on_that_phone];
}

mod registrations {
    use super::*;

    on_all![
        b5_a_token_moves_by_a_signed_in_request_and_the_owner_is_informed,
        b5_a_chatter_takes_five_tokens_a_day,
        b5_accounts_that_register_one_token_at_once_leave_it_with_one_owner,
    ];
}

async fn registers(person: &Person, token: &str) {
    let account = person.put("/api/chatters", &json!({"fcm_reg_id": token})).await.expect(200);
    assert_eq!(account["fcm_reg_id"], token);
}

async fn token_of(person: &Person) -> Value {
    person.get("/api/chatters/me").await.expect(200)["fcm_reg_id"].clone()
}

async fn signs_up_with(api: &Api, name: &str, token: &str) -> (Person, Value) {
    let body = json!({"username": name, "password": PASSWORD, "nickname": name, "fcm_reg_id": token});
    let account = api.post("/api/chatters", &body).await.expect(201);
    let signed_in = api.sign_in(name, PASSWORD).await.expect(200)["token"].as_str().expect("a token").to_owned();
    let id = account["id"].as_i64().expect("an id");
    (Person { api: api.clone(), id, name: name.to_owned(), token: signed_in }, account)
}

async fn b5_a_sign_up_takes_no_token_and_its_pushes_do_not_ring_on_that_phone(db: Db) {
    let fcm = FcmStandIn::start();
    let server = TestServer::with(db).pushes_to(&fcm).set("PUSH__GRACE_MS", 100).start().await;
    let (ann, bob, room) = server.api().pair().await;
    registers(&bob, "phone-of-bob").await;
    let (thief, account) = signs_up_with(&server.api(), "thief", "phone-of-bob").await;
    assert_eq!((&account["fcm_reg_id"], token_of(&thief).await), (&json!(""), json!("")));
    assert_eq!(token_of(&bob).await, "phone-of-bob");
    // The push for the thief is behind the other: it had its turn when that one comes.
    let lure = ann.room_with(&thief).await;
    ann.says(lure, "for the thief").await;
    ann.says(room, "for bob").await;
    fcm.wait_for_calls(1).await;
    let bodies: Vec<_> =
        fcm.calls().iter().map(|call| call.message["message"]["notification"]["body"].clone()).collect();
    assert_eq!(bodies, ["for bob"]);
    let (_, account) = signs_up_with(&server.api(), "cem", "phone-of-cem").await;
    assert_eq!(account["fcm_reg_id"], "phone-of-cem", "a token of nobody is registered at once");
}

async fn b5_a_token_moves_by_a_signed_in_request_and_the_owner_is_informed(db: Db) {
    let server = TestServer::spawn(db).await;
    let (ann, bob) = (server.api().person("ann").await, server.api().person("bob").await);
    registers(&ann, "phone-of-both").await;
    registers(&bob, "phone-of-bob").await;
    let (mut old, mut new) = (ann.device().await, bob.device().await);
    registers(&ann, "phone-of-both").await;
    registers(&bob, "phone-of-both").await;
    assert_eq!(old.expect("device_removed").await["reason"], "moved");
    assert_eq!((token_of(&ann).await, token_of(&bob).await), (json!(""), json!("phone-of-both")));
    let frames = new.until_pong().await;
    assert!(frames.iter().all(|frame| frame["type"] != "device_removed"), "{frames:?}");
}

async fn b5_a_chatter_takes_five_tokens_a_day(db: Db) {
    let server = TestServer::spawn(db).await;
    let api = server.instance(0).api();
    let thief = api.person("thief").await;
    let mut owners = Vec::new();
    for n in 0..6 {
        owners.push(signs_up_with(&api, &format!("owner-{n}"), &format!("phone-{n}")).await.0);
    }
    for n in 0..5 {
        registers(&thief, &format!("phone-{n}")).await;
    }
    let sixth = json!({"fcm_reg_id": "phone-5", "nickname": "changed"});
    let refused = thief.put("/api/chatters", &sixth).await.problem(429, "rate_limited");
    assert!(refused["retry_after_s"].as_i64().is_some_and(|s| s > 3_600), "{refused}");
    assert_eq!(token_of(&owners[5]).await, "phone-5");
    let account = thief.get("/api/chatters/me").await.expect(200);
    assert_eq!((&account["fcm_reg_id"], &account["nickname"]), (&json!("phone-4"), &json!("thief")), "as it was");
    registers(&thief, "a new phone of its own".replace(' ', "-").as_str()).await;
    registers(&owners[0], "phone-0").await;
}

async fn b5_accounts_that_register_one_token_at_once_leave_it_with_one_owner(db: Db) {
    let server = TestServer::with(db).set("LIMITS__TOKEN_MOVES_PER_DAY", 0).start().await;
    let api = server.api();
    let (ann, bob) = (api.person("ann").await, api.person("bob").await);
    for round in 0..10 {
        let token = format!("phone-{round}");
        let body = json!({"fcm_reg_id": token});
        let puts = join_all([&ann, &bob].map(|person| person.put("/api/chatters", &body)));
        let sign_ups = join_all([1, 2].map(|n| {
            let (api, token) = (api.clone(), token.clone());
            async move { signs_up_with(&api, &format!("new-{round}-{n}"), &token).await.0 }
        }));
        let (answers, new) = tokio::join!(puts, sign_ups);
        answers.into_iter().for_each(|answer| drop(answer.expect(200)));
        let mut owners = Vec::new();
        for person in [&ann, &bob].into_iter().chain(&new) {
            if token_of(person).await == token {
                owners.push(person.name.clone());
            }
        }
        assert_eq!(owners.len(), 1, "{owners:?}");
        assert!(["ann", "bob"].contains(&owners[0].as_str()), "a sign-up took it: {owners:?}");
        // Two tokens that are swapped: neither waits for the other for ever.
        let (mine, yours) = (format!("mine-{round}"), format!("yours-{round}"));
        registers(&ann, &mine).await;
        registers(&bob, &yours).await;
        let (to_yours, to_mine) = (json!({"fcm_reg_id": yours}), json!({"fcm_reg_id": mine}));
        let (one, two) = tokio::join!(ann.put("/api/chatters", &to_yours), bob.put("/api/chatters", &to_mine));
        one.expect(200);
        two.expect(200);
    }
}
