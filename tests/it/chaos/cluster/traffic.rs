//! Every client that uses the cluster during a run, and the checks when the run is over.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::task::JoinHandle;

use super::INSTANCES;
use super::device_life::lives;
use super::follower::Follower;
use super::listener::Listener;
use crate::support::breakable::Breakable;
use crate::support::burst::{Burst, Pace};
use crate::support::checker::Acked;
use crate::support::device_checker::{settle, verify};
use crate::support::dice::Dice;
use crate::support::fcm::FcmStandIn;
use crate::support::wait::{SLACK, s};
use crate::support::{Checker, Device, Person, until};

/// Slow enough that machines with two cores have time for the faults.
const SENDERS: Pace = Pace { pause: Duration::from_millis(15), patience: Duration::from_secs(2) };
/// How soon after the last fault every chat is delivered.
const DELIVERED_WITHIN: Duration = Duration::from_secs(5);
const EVES_PHONE: &str = "the-phone-of-eve";

/// All clients that use the cluster meanwhile.
pub struct Traffic {
    pub burst: Burst,
    pub stop: Arc<AtomicBool>,
    pub listeners: Vec<JoinHandle<Listener>>,
    pub devices: Vec<JoinHandle<Device>>,
    pub followers: Vec<JoinHandle<Follower>>,
    pub eve: Person,
    /// The room in which chats are changed, and the room with eve.
    pub rooms: [i64; 2],
}

impl Traffic {
    pub async fn start(cluster: &Breakable, seed: u64) -> Self {
        let api = cluster.api();
        let (ann, bob) = (api.person("ann").await, api.person("bob").await);
        let eve = api.person("eve").await;
        eve.put("/api/chatters", &json!({"fcm_reg_id": EVES_PHONE})).await.expect(200);
        let rooms = [ann.room_with(&bob).await, ann.room_with(&eve).await];
        let burst = Burst::with(SENDERS, &api, 2, 1).await;
        let stop = Arc::new(AtomicBool::new(false));
        let mut traffic =
            Self { burst, stop, listeners: Vec::new(), devices: Vec::new(), followers: Vec::new(), eve, rooms };
        traffic.join(cluster, seed, &ann, &bob).await;
        traffic
    }

    async fn join(&mut self, cluster: &Breakable, seed: u64, ann: &Person, bob: &Person) {
        let pairs: Vec<_> = self.burst.rooms.iter().copied().zip(self.burst.people.clone()).collect();
        for (room, (left, right)) in &pairs {
            for instance in 0..INSTANCES {
                for person in [left, right] {
                    let person = Person { api: cluster.api_of(instance), ..person.clone() };
                    let listener = Listener::new(person, *room, self.burst.record());
                    self.listeners.push(tokio::spawn(listener.lives(self.stop.clone())));
                }
            }
        }
        let both = self.rooms.to_vec();
        let devices = [
            (ann, "ann-phone", both.clone()),
            (ann, "ann-desk", both.clone()),
            (bob, "bob-phone", both[..1].to_vec()),
            (&pairs[0].1.0, "left-phone", vec![]),
            (&pairs[1].1.1, "right-phone", vec![]),
        ];
        for (lane, (person, name, rooms)) in devices.into_iter().enumerate() {
            let mut device = Device::new(person, cluster.ports(), name);
            device.outages = true;
            let life = lives(device, rooms, Dice::new(seed, 10 + lane as u64), self.stop.clone());
            self.devices.push(tokio::spawn(life));
        }
        for (room, person) in [(self.rooms[0], bob), (pairs[0].0, &pairs[0].1.0), (pairs[1].0, &pairs[1].1.1)] {
            let follower = Follower::new(person, room);
            self.followers.push(tokio::spawn(follower.follows(self.stop.clone())));
        }
    }

    /// Lets all clients finish, then runs the checker.
    pub async fn ends(self, cluster: &Breakable, fcm: &FcmStandIn) -> String {
        let server = &cluster.cluster.server;
        self.stop.store(true, Ordering::Relaxed);
        let pairs: Vec<_> = self.burst.rooms.iter().copied().zip(self.burst.people.clone()).collect();
        let (refused, unanswered) = (self.burst.refused(), self.burst.unanswered());
        let acked = self.burst.finish().await;
        let quiet = Instant::now();
        let mut devices = Vec::new();
        for device in self.devices {
            devices.push(device.await.expect("no device fails"));
        }
        let mut rooms = self.rooms.to_vec();
        rooms.extend(pairs.iter().map(|(room, _)| *room));
        let dump = server.dump().await;
        let mut checker = Checker::default();
        let (mut sockets, mut kept) = (0, 0);
        for listener in self.listeners {
            let mut listener = listener.await.expect("no listener fails");
            if let Some((mut socket, since)) = listener.open.take() {
                let head = dump.room(listener.room).await.expect("the room is there").last_seq;
                socket.read_until_seq(head, DELIVERED_WITHIN + SLACK + s(5)).await;
                listener.over.push((socket, since));
                kept += 1;
            }
            sockets += listener.over.len();
            listener.over.iter().for_each(|(socket, since)| checker.saw_since(listener.room, socket, *since));
        }
        let received = quiet.elapsed();
        settle(&mut devices, &dump, &rooms, s(20)).await;
        verify(&devices, &dump, &rooms).await;
        for follower in self.followers {
            follower.await.expect("no follower fails").has_all(server).await;
        }
        let with_views =
            |checker: Checker, (room, (one, other)): &(i64, (Person, Person))| checker.compare_views(*room, one, other);
        let count = acked.len();
        let checker = pairs.iter().fold(checker, with_views).acked(acked);
        let stored = checker.verify(server).await;
        assert_eq!(stored, count, "I2: each was tried until it was acknowledged, so none is extra");
        let by_devices: Vec<&Acked> = devices.iter().flat_map(|device| &device.acked).collect();
        let all = dump.chats_count().await as usize;
        assert_eq!(all, count + by_devices.len(), "I2: nor of what devices sent");
        check_pushes_to_eve(&dump, fcm, &self.eve, self.rooms[1]).await;
        format!(
            "{count} chats by REST ({refused} refusals, {unanswered} without an answer), {} by devices, \
             {sockets} chatroom sockets, {kept} open to the end, which were up to date after {received:?}",
            by_devices.len()
        )
    }
}

/// I7: eve never confirms a chat, so the last one is pushed to her.
async fn check_pushes_to_eve(dump: &crate::support::database::Dump, fcm: &FcmStandIn, eve: &Person, room: i64) {
    let last = dump.room(room).await.expect("the room is there").last_seq;
    assert!(last > 0, "eve was sent no chat");
    let newest = last.to_string();
    let marks = dump.members(room).await;
    let marks = marks.iter().find(|member| member.chatter_id == eve.id).map(|m| (m.delivered_seq, m.read_seq));
    assert_eq!(marks, Some((0, 0)), "she never confirmed a chat");
    let received = || {
        let calls = fcm.sent_to(EVES_PHONE);
        calls.iter().any(|call| call.message["message"]["data"]["seq"] == newest.as_str())
    };
    until("I7: the last push is sent", s(20), received).await;
    crate::support::eventually("I7: no push is pending", s(10), || async {
        dump.outbox(room).await.is_empty().then_some(())
    })
    .await;
    fcm.check();
}
