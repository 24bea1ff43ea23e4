//! When a push is sent whose receiver is connected to another instance, or to one that was just killed.

use std::time::{Duration, Instant};

use serde_json::json;

use super::presence::{OFFLINE_WITHIN, RECOVERED_WITHIN, shows_online};
use crate::support::fcm::FcmStandIn;
use crate::support::wait::{SLACK, s};
use crate::support::{Db, Person, Redis, TestServer, alone, eventually, stays};

/// Three instances that push to a stand-in.
struct Pushing {
    fcm: FcmStandIn,
    server: TestServer,
    _redis: Redis,
    ann: Person,
    bob: Person,
    room: i64,
}

/// Long enough to tell a push that waits from one that does not.
const GRACE: Duration = s(6);

impl Pushing {
    async fn start(device: &str) -> Self {
        let (fcm, redis) = (FcmStandIn::start(), Redis::start());
        let server = TestServer::with(Db::Cluster)
            .pushes_to(&fcm)
            .set("PUSH__GRACE_MS", GRACE.as_millis())
            .redis_urls((0..3).map(|_| redis.url()))
            .start()
            .await;
        server.wait_until_redis_is_reached().await;
        let (ann, bob, room) = server.api().pair().await;
        bob.put("/api/chatters", &json!({"fcm_reg_id": device})).await.expect(200);
        let bob = Person { name: device.to_owned(), ..bob };
        Self { fcm, server, _redis: redis, ann, bob, room }
    }

    fn at(&self, instance: usize, person: &Person) -> Person {
        Person { api: self.server.instance(instance).api(), ..person.clone() }
    }

    fn pushes(&self) -> usize {
        self.fcm.sent_to(&self.bob.name).len()
    }

    /// Waits for one push more; how long that took.
    async fn is_pushed(&self, before: usize, within: Duration) -> Duration {
        let start = Instant::now();
        eventually("the push", within, || async { (self.pushes() > before).then_some(()) }).await;
        start.elapsed()
    }
}

/// Row F8, and what presence on another instance means for a push: it delays the push and never cancels it.
#[tokio::test]
async fn a_push_waits_while_its_receiver_is_connected_elsewhere_and_is_dropped_once_read_or_deleted() {
    // A push is sent at once only if Redis answers within 300 ms.
    let _turn = alone().await;
    let at = Pushing::start("device-of-bob-f8").await;
    let device = at.at(1, &at.bob).device().await;
    shows_online(&at.at(0, &at.ann), &at.bob, true, RECOVERED_WITHIN).await;
    // One chat is read on a third instance, one is deleted by the sender, both within the grace.
    at.at(0, &at.ann).says(at.room, "read elsewhere in the grace").await;
    at.at(2, &at.bob).receipt(at.room, &json!({"read_seq": 1}), (1, 1)).await;
    let chat = at.at(0, &at.ann).says(at.room, "deleted in the grace").await;
    at.at(2, &at.ann).delete(&format!("/api/chats/{}", chat["id"])).await.expect(200);
    stays("no push", GRACE + s(3), || async { at.pushes() == 0 }).await;
    at.at(0, &at.ann).says(at.room, "not confirmed by anybody").await;
    let took = at.is_pushed(0, GRACE + s(5)).await;
    assert!(took > GRACE - s(1), "after the grace: {took:?}");
    device.close();
    shows_online(&at.at(0, &at.ann), &at.bob, false, OFFLINE_WITHIN + SLACK).await;
    // By then the gap after a push is over.
    tokio::time::sleep(s(6)).await;
    at.at(0, &at.ann).says(at.room, "to one who is connected nowhere").await;
    let took = at.is_pushed(1, GRACE + s(5)).await;
    assert!(took < GRACE - s(1), "at once: {took:?}");
}

/// Rows N6 and F9.
#[tokio::test]
async fn a_push_is_due_after_the_grace_when_the_receivers_instance_has_just_been_killed() {
    let mut at = Pushing::start("device-of-bob-f9").await;
    let _device = at.at(1, &at.bob).device().await;
    shows_online(&at.at(0, &at.ann), &at.bob, true, RECOVERED_WITHIN).await;
    at.server.instance_mut(1).kill9();
    tokio::time::sleep(s(1)).await;
    at.at(0, &at.ann).says(at.room, "a second after its death").await;
    let took = at.is_pushed(0, GRACE + s(5)).await;
    assert!(took > GRACE - s(1), "the death is not known yet: {took:?}");
}
