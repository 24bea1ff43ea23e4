//! Chaos on device sockets (row D5): four devices of two people send, edit, delete and read, each over a connection
//! that is cut, loses bytes or stalls at random, and resume while the others go on. In the end each holds what is
//! stored and has applied each event once and in order, and the server violated its protocol on no socket.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::device_checker::{settle, verify};
use crate::support::device_socket::WAYS;
use crate::support::dice::Dice;
use crate::support::proxy::Proxy;
use crate::support::secrets::MARKER;
use crate::support::wait::s;
use crate::support::{Api, Db, Device, Person, TestServer, heavy, long, on_all};

on_all![devices_on_faulty_connections_converge_to_one_view];

const CHATS_PER_DEVICE: usize = 450;
/// Chats of the third person, who has no device and uses REST.
const CHATS_BY_REST: usize = 200;
/// How many requests a device has in flight at once.
const WINDOW: usize = 32;
/// One seed takes a few seconds on an idle machine.
const GIVE_UP_AFTER: Duration = Duration::from_secs(120);

async fn devices_on_faulty_connections_converge_to_one_view(db: Db) {
    let _turn = heavy().await;
    for seed in 1..=if long() { 20 } else { 3 } {
        let start = Instant::now();
        eprintln!("{db:?}, seed {seed}");
        let stats = run(db, seed).await;
        eprintln!("{db:?}, seed {seed}: {stats} in {:?}", start.elapsed());
    }
}

/// Two people with two devices each, a third one without, and their rooms.
struct Scene {
    api: Api,
    ann: Person,
    bob: Person,
    cem: Person,
    /// The room of ann and bob; then ann's and bob's with cem; then ann's and bob's notes to self.
    rooms: [i64; 5],
}

impl Scene {
    async fn on(server: &TestServer) -> Self {
        let api = server.api();
        let (ann, bob, both) = api.pair().await;
        let cem = api.person("cem").await;
        let with_cem = [ann.room_with(&cem).await, bob.room_with(&cem).await];
        let notes = [ann.room_with(&ann).await, bob.room_with(&bob).await];
        let rooms = [both, with_cem[0], with_cem[1], notes[0], notes[1]];
        Self { api, ann, bob, cem, rooms }
    }

    /// A device and its rooms; the shared room is picked more often than the others.
    async fn device(&self, lane: usize) -> Life {
        let (person, name, mine) = match lane {
            0 => (&self.ann, "ann-phone", [1, 3]),
            1 => (&self.ann, "ann-desk", [1, 3]),
            2 => (&self.bob, "bob-phone", [2, 4]),
            _ => (&self.bob, "bob-desk", [2, 4]),
        };
        let proxy = Proxy::before(&self.api.ports).await;
        let device = Device::new(person, proxy.port, name);
        let rooms = [0, 0, 0, mine[0], mine[1]].map(|at| self.rooms[at]);
        Life { device, proxy, rooms, left: CHATS_PER_DEVICE, since: Instant::now() }
    }
}

async fn run(db: Db, seed: u64) -> String {
    let server = TestServer::spawn(db).await;
    let scene = Scene::on(&server).await;
    let mut lives = Vec::new();
    for lane in 0..4 {
        lives.push(tokio::spawn(scene.device(lane).await.live(Dice::new(seed, lane as u64))));
    }
    let by_rest = tokio::spawn(by_rest(scene.cem.clone(), [scene.rooms[1], scene.rooms[2]], Dice::new(seed, 9)));
    let (mut devices, mut proxies) = (Vec::new(), Vec::new());
    for life in lives {
        let life = life.await.expect("no device fails");
        life.proxy.heal();
        devices.push(life.device);
        proxies.push(life.proxy);
    }
    by_rest.await.expect("nor does REST");
    // And a new device of each person, which has to read everything.
    for (person, name) in [(&scene.ann, "ann-new"), (&scene.bob, "bob-new")] {
        devices.push(Device::new(person, server.ports(), name));
    }
    let dump = server.dump().await;
    settle(&mut devices, &dump, &scene.rooms, s(60)).await;
    verify(&devices, &dump, &scene.rooms).await;
    let sent = 4 * CHATS_PER_DEVICE + CHATS_BY_REST;
    assert_eq!(dump.chats_count().await, sent as u64, "each chat that was sent is stored once");
    for device in &devices[..4] {
        let stats = &device.stats;
        assert!(stats.sockets > 1 && stats.live > 100 && stats.pages > 2, "too quiet for a test: {stats:?}");
    }
    let sum = |of: fn(&Device) -> usize| devices.iter().map(of).sum::<usize>();
    format!(
        "{} sockets, {} live events ({} passed over), {} pages, {} resets, {} sent again, {} recounts, {} later",
        sum(|d| d.stats.sockets),
        sum(|d| d.stats.live),
        sum(|d| d.stats.passed_over),
        sum(|d| d.stats.pages),
        sum(|d| d.stats.resets),
        sum(|d| d.stats.resent),
        sum(|d| d.stats.recounts),
        sum(|d| d.stats.later),
    )
}

/// A device, its connection, and how many chats it still has to send.
struct Life {
    device: Device,
    proxy: Proxy,
    rooms: [i64; 5],
    left: usize,
    since: Instant,
}

impl Life {
    async fn live(mut self, mut dice: Dice) -> Self {
        while self.left > 0 || self.device.pending() > 0 {
            let state = (self.left, self.device.pending(), self.device.in_flight(), self.device.violations());
            assert!(self.since.elapsed() < GIVE_UP_AFTER, "{} makes no progress: {state:?}", self.device.name);
            if !self.device.is_connected() {
                self.come_back(&mut dice).await;
            } else if self.device.in_flight() < WINDOW && self.device.pending() < WINDOW {
                self.act(&mut dice).await;
            }
            self.device.turn(Duration::from_millis(dice.below(6))).await;
            for _ in 0..8 {
                if !self.device.turn(Duration::ZERO).await {
                    break;
                }
            }
        }
        self
    }

    async fn come_back(&mut self, dice: &mut Dice) {
        self.device.way = *dice.pick(&WAYS).expect("there are some");
        self.device.resumed_at_once = 1 + dice.below(4) as usize;
        self.device.connect().await;
    }

    async fn act(&mut self, dice: &mut Dice) {
        let room = *dice.pick(&self.rooms).expect("there are some");
        match dice.below(1_000) {
            0..800 => self.say(room, dice),
            800..860 => {
                if let Some(chat) = self.own_chat(room, dice) {
                    self.device.edit(chat, &content(dice));
                }
            }
            860..900 => {
                if let Some(chat) = self.own_chat(room, dice) {
                    self.device.delete(chat);
                }
            }
            900..960 => self.read(room, dice),
            960..970 => self.device.resume_again(room),
            970..982 => self.cut(dice).await,
            982..991 => self.lose(dice).await,
            _ => self.stall(dice).await,
        }
    }

    fn say(&mut self, room: i64, dice: &mut Dice) {
        if self.left > 0 {
            self.left -= 1;
            self.device.send(room, &content(dice));
        }
    }

    /// A chat of this person that is not deleted, as far as this device knows.
    fn own_chat(&self, room: i64, dice: &mut Dice) -> Option<i64> {
        let view = self.device.rooms.get(&room)?;
        let own = view.chats.values().filter(|c| c.content.is_some() && c.sender == Some(self.device.person.id));
        let own: Vec<_> = own.map(|c| c.id).collect();
        dice.pick(&own).copied()
    }

    fn read(&self, room: i64, dice: &mut Dice) {
        let last = self.device.rooms.get(&room).map_or(0, |view| view.last_seq());
        // Also less than before, and now and then beyond the last chat.
        let delivered = (last - dice.below(5) as i64).max(0) + i64::from(dice.below(20) == 0);
        self.device.receipt(room, delivered, (delivered - dice.below(8) as i64).max(0));
    }

    /// The connection breaks; the device queues chats meanwhile.
    async fn cut(&mut self, dice: &mut Dice) {
        self.proxy.cut();
        self.be_away(dice).await;
        self.proxy.heal();
    }

    /// Bytes in flight are lost and nothing is closed; the device gives up and reconnects.
    async fn lose(&mut self, dice: &mut Dice) {
        self.proxy.hole();
        for _ in 0..dice.below(8) {
            self.device.turn(Duration::from_millis(5)).await;
            let room = *dice.pick(&self.rooms).expect("there are some");
            self.say(room, dice);
        }
        self.device.hang_up();
        if dice.below(2) == 0 {
            self.proxy.cut();
        }
        self.be_away(dice).await;
        self.proxy.heal();
    }

    /// The device reads nothing for a while: its queue in the server fills, or overflows.
    async fn stall(&mut self, dice: &mut Dice) {
        self.proxy.clog();
        let until = Instant::now() + Duration::from_millis(50 + dice.below(700));
        while Instant::now() < until {
            if self.device.in_flight() < WINDOW && dice.below(4) == 0 {
                let room = *dice.pick(&self.rooms).expect("there are some");
                self.say(room, dice);
            }
            self.device.turn(Duration::from_millis(10)).await;
        }
        self.proxy.heal();
    }

    async fn be_away(&mut self, dice: &mut Dice) {
        for _ in 0..dice.below(4) {
            let room = *dice.pick(&self.rooms).expect("there are some");
            self.say(room, dice);
        }
        let longer = if dice.below(5) == 0 { 600 } else { 60 };
        tokio::time::sleep(Duration::from_millis(2 + dice.below(longer))).await;
    }
}

/// Mostly short; now and then long, so that changes take several pages.
fn content(dice: &mut Dice) -> String {
    let length = if dice.below(12) == 0 { 1_000 + dice.below(5_000) } else { dice.below(60) };
    format!("{MARKER} {} {}", dice.below(1 << 32), "z".repeat(length as usize))
}

/// The third person, who has no device: chats, edits, deletions and receipts over REST.
async fn by_rest(cem: Person, rooms: [i64; 2], mut dice: Dice) {
    let mut own = Vec::new();
    for n in 0..CHATS_BY_REST {
        let room = *dice.pick(&rooms).expect("there are some");
        let answer = cem.says_once(room, &content(&mut dice), &format!("cem-{n}")).await;
        let chat = answer.expect(201);
        own.push(chat["id"].as_i64().expect("an id"));
        match dice.below(10) {
            0 => {
                let chat = own[dice.below(own.len() as u64) as usize];
                cem.put(&format!("/api/chats/{chat}"), &json!({"content": content(&mut dice)})).await.expect(200);
            }
            1 => {
                let chat = own.swap_remove(dice.below(own.len() as u64) as usize);
                cem.delete(&format!("/api/chats/{chat}")).await.expect(200);
            }
            2 | 3 => {
                let read = json!({"read_seq": chat["seq"]});
                cem.put(&format!("/api/chatrooms/{room}/receipt"), &read).await.expect(200);
            }
            _ => {}
        }
    }
}
