//! Instances in the middle of a rolling change of the secret: one signs with the next, the other still with the old one.

use crate::rest::sessions::{refreshes, signs_in, tokens};
use crate::support::cluster::Cluster;
use crate::support::secrets::{JWT_SECRET, PASSWORD};
use crate::support::{Db, Redis, TestServer, alone};

const NEXT: &str = "the-next-secret-of-more-than-thirty-two-bytes";
const SECRET: &str = "HYPER_CHAT__AUTH__JWT_SECRET";
const OLD: &str = "HYPER_CHAT__AUTH__JWT_SECRETS_OLD";

#[tokio::test]
async fn instances_with_the_next_and_the_old_secret_take_each_others_tokens_and_messages() {
    let _turn = alone().await;
    // No poll of the database stands in for a message that is refused.
    let builder = TestServer::with(Db::Cluster).set("REDIS__LOOK_MS", 60_000).env(SECRET, NEXT).env(OLD, JWT_SECRET);
    let builder = builder.env_of(1, SECRET, JWT_SECRET).env_of(1, OLD, NEXT);
    let cluster = Cluster::built(builder, Redis::start(), 2).await;
    cluster.all_ready_within(std::time::Duration::from_secs(20)).await;
    cluster.server.api().secrets.remember(NEXT);
    let (ann, bob, room) = cluster.server.api().pair().await;
    let mut devices = Vec::new();
    for instance in 0..2 {
        let (there, refresh) = signs_in(&cluster.at(instance, &ann).api, "ann", None).await;
        for other in 0..2 {
            cluster.at(other, &there).get("/api/chatters/me").await.expect(200);
        }
        // The next refresh token is the same, whichever secret an instance signs with.
        let elsewhere = &cluster.at(1 - instance, &ann).api;
        let first = tokens(elsewhere, &refreshes(&there.api, &refresh).await.expect(200));
        let again = tokens(elsewhere, &refreshes(elsewhere, &refresh).await.expect(200));
        assert_eq!(first.1, again.1);
        let (token, _) = tokens(elsewhere, &refreshes(elsewhere, &again.1).await.expect(200));
        devices.push(cluster.at(instance, &ann.with_token(&token)).device().await);
    }
    for instance in 0..2 {
        let text = format!("from instance {instance}");
        cluster.at(instance, &bob).says(room, &text).await;
        for device in &mut devices {
            device.expect_chat(&text).await;
        }
    }
    cluster.server.api().sign_in("bob", PASSWORD).await.expect(200);
}
