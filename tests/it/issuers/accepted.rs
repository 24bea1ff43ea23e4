//! Tokens that are accepted, in every place that takes a token.

use jsonwebtoken::Header;
use serde_json::json;

use super::{CREATES, issuer_and_server, person};
use crate::support::device_socket::WAYS;
use crate::support::issuer::{Issuer, TestKey};
use crate::support::token::now;
use crate::support::wait::s;
use crate::support::{Db, DeviceSocket, TestServer, on_all};

on_all![
    p5_tokens_of_each_algorithm_are_accepted_beside_the_servers_own,
    p5_a_token_of_the_identity_provider_opens_both_sockets_in_every_way,
    p5_a_socket_ends_with_the_token_of_the_identity_provider,
];

async fn p5_tokens_of_each_algorithm_are_accepted_beside_the_servers_own(db: Db) {
    let keys = [TestKey::rs256("r"), TestKey::es256("e"), TestKey::ed25519("d")];
    let issuer = Issuer::start(&keys.each_ref());
    let server = TestServer::with(db).set("AUTH__ISSUERS", issuer.setting(CREATES)).start().await;
    let ann = server.api().person("ann").await;
    let mut ids = Vec::new();
    for key in &keys {
        let bob = person(&server, &issuer, key, &issuer.claims("subject-1", "bob")).await;
        assert_eq!(bob.name, "bob");
        ids.push(bob.id);
    }
    assert!(ids.iter().all(|id| *id == ids[0] && *id != ann.id), "one account for the subject: {ids:?}");
    let bob = person(&server, &issuer, &keys[0], &issuer.claims("subject-1", "renamed")).await;
    assert_eq!((bob.id, bob.name.as_str()), (ids[0], "bob"), "the name is that of the first sight");
    assert_eq!(bob.get("/api/chatters/me").await.expect(200)["nickname"], "bob of the team");
    let mut claims = issuer.claims("subject-1", "bob");
    claims["aud"] = json!(["other", "chat"]);
    claims["nbf"] = json!(now() + 5);
    claims["iat"] = json!(now() + 5);
    assert_eq!(person(&server, &issuer, &keys[1], &claims).await.id, bob.id, "a clock that is a little ahead");
    // Without a key id, where one key fits.
    let token = jsonwebtoken::encode(&Header::new(keys[2].algorithm), &claims, &keys[2].private).expect("signs");
    bob.with_token(&token).get("/api/chatters/me").await.expect(200);
    let room = ann.room_with(&bob).await;
    ann.says(room, "hello to the team").await;
    assert_eq!(bob.history(room).await.len(), 1);
    ann.get("/api/chatters/me").await.expect(200);
}

async fn p5_a_token_of_the_identity_provider_opens_both_sockets_in_every_way(db: Db) {
    let (issuer, key, server) = issuer_and_server(db).await;
    let ann = server.api().person("ann").await;
    let bob = person(&server, &issuer, &key, &issuer.claims("1", "bob")).await;
    let room = ann.room_with(&bob).await;
    for way in WAYS {
        let mut socket = DeviceSocket::connect(server.port, &bob.token, way).await.expect("a socket");
        socket.expect_ready().await;
        ann.says(room, &format!("{way:?}")).await;
        socket.expect_chat(&format!("{way:?}")).await;
    }
    let mut socket = ann.device().await;
    let room_socket = bob.joins(room).await;
    room_socket.send("from the room's socket");
    socket.expect_chat("from the room's socket").await;
}

async fn p5_a_socket_ends_with_the_token_of_the_identity_provider(db: Db) {
    let (issuer, key, server) = issuer_and_server(db).await;
    let bob = person(&server, &issuer, &key, &issuer.claims("1", "bob")).await;
    let mut brief = issuer.claims("1", "bob");
    brief["exp"] = json!(now() + 3);
    let brief = bob.with_token(&issuer.mint(&key, &brief));
    let (mut ends, mut renewed) = (brief.device().await, brief.device().await);
    renewed.send_json(&json!({"type": "auth", "token": bob.token}));
    renewed.expect("authenticated").await;
    assert_eq!(ends.expect_close(s(8)).await, 4401);
    brief.get("/api/chatters/me").await.problem(401, "token_expired");
    renewed.send_json(&json!({"type": "ping"}));
    renewed.expect("pong").await;
}
