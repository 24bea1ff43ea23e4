//! A cluster is renewed under load (row E22), and one whose machines disagree about the time (row E19).

use std::path::Path;
use std::time::Duration;

use serde_json::json;

use crate::support::balancer::Balancer;
use crate::support::burst::{Burst, Manner};
use crate::support::cluster::{Cluster, Crossing};
use crate::support::fcm::FcmStandIn;
use crate::support::token::{claims, mint, now};
use crate::support::wait::s;
use crate::support::{Api, Checker, Db, Person, Redis, TestServer, eventually, heavy, long, until};

/// Row E22.
#[tokio::test]
async fn a_rolling_restart_behind_a_balancer_fails_no_request() {
    let _turn = heavy().await;
    let mut cluster = Cluster::start(3).await;
    let balancer = Balancer::before((0..3).map(|number| cluster.server.instance(number).port));
    let api = Api::new(balancer.port, cluster.server.api().secrets);
    let manner = Manner { pause: Duration::from_millis(5), patience: s(30) };
    let burst = Burst::with(manner, &api, 3, 2).await;
    let pairs: Vec<_> = burst.rooms.iter().copied().zip(burst.people.clone()).collect();
    let mut checker =
        pairs.iter().fold(Checker::default(), |checker, (room, (left, right))| checker.both_look(*room, left, right));
    for number in (0..3).cycle().take(if long() { 12 } else { 3 }) {
        let mut open = Vec::new();
        for (room, (left, right)) in &pairs {
            open.push((*room, cluster.at(number, left).joins(*room).await));
            open.push((*room, cluster.at(number, right).joins(*room).await));
        }
        let goal = burst.acked() + 50;
        until("the burst goes on", s(30), || burst.acked() >= goal).await;
        cluster.server.instance(number).term();
        for (room, socket) in &mut open {
            assert_eq!(socket.expect_close(s(10)).await, 1001);
            checker.saw(*room, socket);
        }
        let status = cluster.server.instance_mut(number).wait_end(s(10)).await;
        assert_eq!(status.code(), Some(0), "{status}");
        cluster.server.instance_mut(number).restart().await;
        until("the balancer uses it again", s(5), || balancer.uses(number)).await;
    }
    let (refused, unanswered) = (burst.refused(), burst.unanswered());
    let acked = burst.finish().await;
    assert_eq!((refused, unanswered), (0, 0), "of {} requests", acked.len());
    let count = acked.len();
    assert_eq!(checker.acked(acked).verify(&cluster.server).await, count);
}

/// Debian's libfaketime; it leaves the monotonic clock alone.
fn library() -> String {
    let places = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib"];
    let found = places.iter().map(|place| format!("{place}/faketime/libfaketimeMT.so.1"));
    found
        .into_iter()
        .find(|file| Path::new(file).exists())
        .expect("libfaketime (Debian: apt-get install faketime, or run tests/run)")
}

/// Row E19.
#[tokio::test]
async fn instances_that_disagree_about_the_time_are_one_service() {
    let _turn = heavy().await;
    let offsets = [300, -7_200, 7_200, -300];
    for offset in offsets.into_iter().take(if long() { 4 } else { 2 }) {
        disagreeing_by(offset).await;
    }
}

async fn disagreeing_by(offset: i64) {
    let fcm = FcmStandIn::start();
    let builder = TestServer::with(Db::Cluster)
        .set("FCM__SERVICE_ACCOUNT", fcm.service_account_path().display())
        .set("FCM__BASE_URL", fcm.base_url())
        .env_of(1, "LD_PRELOAD", library())
        .env_of(1, "FAKETIME", format!("{offset:+}"))
        .env_of(1, "FAKETIME_DONT_FAKE_MONOTONIC", "1");
    let cluster = Cluster::built(builder, Redis::start(), 2).await;
    cluster.is_whole_within(s(5)).await;
    let (ann, bob, room) = cluster.server.instance(0).api().pair().await;
    tokens_hold_within_a_minute(&cluster, &ann, offset).await;
    // As a team's own backend mints them, which says nothing about when.
    let lasting = |person: &Person| {
        let mut claims = claims(person.id);
        claims["exp"] = json!(now() + 86_400);
        claims.as_object_mut().expect("an object").remove("iat");
        person.with_token(&mint(&claims))
    };
    let (ann, bob) = (lasting(&ann), lasting(&bob));
    let off = cluster.at(1, &bob).device().await;
    let server_time = off.ready["server_time"].as_str().expect("a time").to_owned();
    eprintln!("{offset} s: the other instance takes it to be {server_time}");
    let eve = lasting(&cluster.server.instance(0).api().person("eve").await);
    eve.put("/api/chatters", &json!({"fcm_reg_id": "the-phone-of-eve"})).await.expect(200);
    let with_eve = ann.room_with(&eve).await;
    for (from, to) in [(0, 1), (1, 0)] {
        let mut crossing = Crossing::between(&cluster, [&ann, &bob], room, from, to).await;
        for _ in 0..5 {
            crossing.arrives_within(s(1)).await;
        }
    }
    let (here, there) = (cluster.at(0, &ann), cluster.at(1, &bob));
    for n in 0..10 {
        here.says(room, &format!("in turn {n}, here")).await;
        there.says(room, &format!("in turn {n}, there")).await;
        cluster.at(n % 2, &ann).says(with_eve, &format!("to who is away {n}")).await;
    }
    there.receipt(room, &json!({"read_seq": 20}), (20, 20)).await;
    let last = cluster.server.dump().await.room(with_eve).await.expect("the room").last_seq.to_string();
    // Claims are leases by the database's clock: nobody takes another's, and each is told of the last once.
    let told = || async {
        let done = cluster.server.dump().await.outbox(with_eve).await.is_empty();
        done.then(|| fcm.sent_to("the-phone-of-eve"))
    };
    let calls = eventually("the pushes are sent", s(20), told).await;
    let of_last = calls.iter().filter(|call| call.message["message"]["data"]["seq"] == last.as_str()).count();
    assert_eq!(of_last, 1, "{calls:?}");
    drop(off);
    let stored =
        Checker::default().both_look(room, &ann, &bob).both_look(with_eve, &ann, &eve).verify(&cluster.server).await;
    assert_eq!(stored, 40);
}

/// A token may be a minute ahead, and no more: README, "Tokens".
async fn tokens_hold_within_a_minute(cluster: &Cluster, ann: &Person, offset: i64) {
    let elsewhere = Person { api: cluster.server.instance(1).api(), ..ann.clone() };
    let late = elsewhere.signed_in_again().await;
    let (ahead, behind) = if offset > 0 { (late, ann.clone()) } else { (ann.clone(), late) };
    let [slow, fast] = if offset > 0 { [0, 1] } else { [1, 0] };
    cluster.at(slow, &ahead).get("/api/chatters/me").await.problem(401, "token_invalid");
    cluster.at(fast, &ahead).get("/api/chatters/me").await.expect(200);
    for instance in 0..2 {
        cluster.at(instance, &behind).get("/api/chatters/me").await.expect(200);
    }
}
