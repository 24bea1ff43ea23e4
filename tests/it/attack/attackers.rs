//! Eight accounts at four addresses, what they own, and the loop in which each attacks in one way after the other.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::join_all;
use reqwest::Method;
use reqwest::header::HeaderMap;
use serde_json::Value;

use crate::support::dice::Dice;
use crate::support::rest::client;
use crate::support::{Person, TestServer, long};

const ACCOUNTS: usize = 8;
const ADDRESSES: usize = 4;
/// Rooms of each, beside those that it opens; the first of them are long.
const ROOMS: i64 = 400;
const ROOMS_IF_LONG: i64 = 5_000;
/// Long rooms of each, and how many chats one has. All but the first are deleted in the course of the attack.
const LONG_ROOMS: i64 = 3;
const LONG_CHATS: i64 = 5_000;
const LONG_CHATS_IF_LONG: i64 = 100_000;
/// How long an account attacks in one way, in milliseconds.
const BOUT_MS: std::ops::Range<u64> = 500..3_000;
/// How long a connection waits after a refusal. It heeds no `Retry-After`.
const AFTER_REFUSAL: Duration = Duration::from_millis(25);

/// Ways to attack, each a row of its own.
const ROWS: [&str; 12] = ["a1", "a2", "a3", "a4", "a5", "a6", "a7", "a8", "a9", "a10", "a11", "a12"];

/// All, or those that `HYPER_CHAT_TEST_ATTACK_ROWS` names, such as `a2,a5`.
fn chosen_rows() -> Vec<&'static str> {
    let names = std::env::var("HYPER_CHAT_TEST_ATTACK_ROWS").unwrap_or_else(|_| ROWS.join(","));
    let row = |name: &str| *ROWS.iter().find(|row| **row == name).unwrap_or_else(|| panic!("{name} is no row"));
    names.split(',').map(row).collect()
}

/// How often each way was answered with each status; 0 stands for no answer, 101 for an open socket, 4… for its close.
#[derive(Default)]
pub struct Counts(Mutex<BTreeMap<&'static str, BTreeMap<u16, usize>>>);

impl Counts {
    pub fn count(&self, row: &'static str, status: u16) {
        *locked(&self.0).entry(row).or_default().entry(status).or_default() += 1;
    }

    pub fn lines(&self) -> Vec<String> {
        locked(&self.0).iter().map(|(row, statuses)| format!("{row:4} {statuses:?}")).collect()
    }
}

pub struct Attacker {
    pub person: Person,
    pub address: String,
    /// Sends the address with each request, and checks no answer.
    client: reqwest::Client,
    /// A room of its own with 400 chats of 8,000 bytes.
    pub notes: i64,
    /// A room with many chats, which stays.
    pub long_room: i64,
    /// Those that it can delete.
    pub long_rooms: Mutex<Vec<i64>>,
    /// Another attacker, with whom it opens and deletes rooms.
    pub friend: i64,
    /// The ids and names of the pairs' people.
    pub victims: Arc<Vec<(i64, String)>>,
    pub counts: Arc<Counts>,
}

impl Attacker {
    /// Any request; its status when the body is read to its end, and 0 where there is no answer.
    pub async fn request(&self, method: Method, path: &str, body: Option<&Value>) -> u16 {
        self.call(method, path, body).await.map_or(0, |(status, _)| status)
    }

    /// The same with the body as JSON.
    pub async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Option<(u16, Value)> {
        let request = self.client.request(method, self.person.api.url(path)).bearer_auth(&self.person.token);
        let request = request.header("content-type", "application/json");
        let request = body.iter().fold(request, |request, body| request.body(body.to_string()));
        let answer = request.send().await.ok()?;
        let status = answer.status().as_u16();
        let bytes = answer.bytes().await.ok()?;
        let short = bytes.len() < 4_096;
        Some((status, if short { serde_json::from_slice(&bytes).unwrap_or_default() } else { Value::Null }))
    }

    /// A request without a token.
    pub async fn open_request(&self, method: Method, path: &str, body: Option<&Value>) -> u16 {
        let request = self.client.request(method, self.person.api.url(path)).header("content-type", "application/json");
        let request = body.iter().fold(request, |request, body| request.body(body.to_string()));
        let Ok(answer) = request.send().await else { return 0 };
        let status = answer.status().as_u16();
        answer.bytes().await.map_or(0, |_| status)
    }

    /// So many connections that do this again and again until then; each status is counted.
    pub async fn repeat(&self, row: &'static str, lanes: usize, until: Instant, send: impl AsyncFn() -> u16) {
        let lane = async || {
            while Instant::now() < until {
                let Ok(status) = tokio::time::timeout_at(until.into(), send()).await else { return };
                self.counts.count(row, status);
                if !matches!(status, 200 | 201) {
                    tokio::time::sleep(AFTER_REFUSAL).await;
                }
            }
        };
        join_all((0..lanes).map(|_| lane())).await;
    }

    /// The header that names its address, for requests that are written by hand.
    pub fn header(&self) -> String {
        format!("X-Forwarded-For: {}\r\n", self.address)
    }

    async fn attack(&self, mut dice: Dice, stop: &AtomicBool) {
        let rows = chosen_rows();
        while !stop.load(Ordering::Relaxed) {
            let row = *dice.pick(&rows).expect("one of them");
            let until = Instant::now() + Duration::from_millis(BOUT_MS.start + dice.below(BOUT_MS.end - BOUT_MS.start));
            // A connection that the server resets at once makes the clients of the tests fail.
            if AssertUnwindSafe(self.bout(row, until, &mut dice)).catch_unwind().await.is_err() {
                self.counts.count(row, 0);
            }
        }
    }

    async fn bout(&self, row: &'static str, until: Instant, dice: &mut Dice) {
        match row {
            "a1" => self.searches_for_what_compares_much(until).await,
            "a2" => self.reads_whole_histories_slowly(until).await,
            "a3" => self.guesses_its_own_password(until).await,
            "a4" => self.floods(until, dice).await,
            "a5" => self.opens_many_sockets(until).await,
            "a6" => self.pesters(until, dice).await,
            "a7" => self.reads_the_directory(until).await,
            "a8" => self.guesses_the_password_of(dice, until).await,
            "a9" => self.rings_a_device_over_its_quota(until).await,
            "a10" => self.deletes_rooms(until).await,
            "a11" => self.lists_its_rooms(until).await,
            _ => self.searches_for_what_is_nowhere(until).await,
        }
    }
}

pub struct Attackers(Vec<Attacker>);

impl Attackers {
    /// They sign up, and own many rooms, some of them long.
    pub async fn sign_up(server: &TestServer, people: &[Person]) -> Self {
        let victims = Arc::new(people.iter().map(|person| (person.id, person.name.clone())).collect::<Vec<_>>());
        let (dump, counts) = (server.dump().await, Arc::new(Counts::default()));
        let (rooms, chats) = if long() { (ROOMS_IF_LONG, LONG_CHATS_IF_LONG) } else { (ROOMS, LONG_CHATS) };
        let mut all: Vec<Attacker> = Vec::new();
        for number in 0..ACCOUNTS {
            let address = format!("203.0.113.{}", number % ADDRESSES);
            let person = server.api().at(&address).person(&format!("mallory-{number}")).await;
            let notes = person.room_with(&person).await;
            dump.add_copies(notes, person.id, 400, &"a".repeat(8_000)).await;
            // Far above all ids that the database gives in the course of the test.
            let first = 10_000_000 + 100_000 * number as i64;
            dump.add_rooms(person.id, first..first + rooms).await;
            for room in first..first + LONG_ROOMS {
                dump.add_copies(room, person.id, chats, "a chat of a long room, as long as chats are").await;
            }
            let mut headers = HeaderMap::new();
            headers.insert("x-forwarded-for", address.parse().expect("an address"));
            all.push(Attacker {
                friend: all.first().map_or(person.id, |first| first.person.id),
                person,
                address,
                client: client(headers),
                notes,
                long_room: first,
                long_rooms: Mutex::new((first + 1..first + LONG_ROOMS).collect()),
                victims: victims.clone(),
                counts: counts.clone(),
            });
        }
        all[0].friend = all[1].person.id;
        Self(all)
    }
}

/// All attackers, in a thread of their own.
pub struct Attack {
    stop: Arc<AtomicBool>,
    counts: Arc<Counts>,
    thread: std::thread::JoinHandle<()>,
}

impl Attack {
    pub fn start(attackers: Attackers, number: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, counts) = (stop.clone(), attackers.0[0].counts.clone());
        let thread = std::thread::spawn(move || {
            yield_to_the_rest();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            let all = attackers.0.iter().zip(1..);
            let all = all.map(|(attacker, lane)| attacker.attack(Dice::new(number, lane), &stopped));
            runtime.block_on(join_all(all));
        });
        Self { stop, counts, thread }
    }

    /// Ends with the bouts that are under way.
    pub async fn stop(self) -> Arc<Counts> {
        self.stop.store(true, Ordering::Relaxed);
        tokio::task::spawn_blocking(|| self.thread.join().expect("no panic")).await.expect("no panic");
        self.counts
    }
}

/// Attackers have machines of their own: this thread takes only what the server and the pairs leave.
fn yield_to_the_rest() {
    let thread = std::fs::read_link("/proc/thread-self").expect("Linux names threads");
    let id = thread.file_name().expect("a number").to_owned();
    let changed = Command::new("renice").args(["-n", "19", "-p"]).arg(id).output().expect("renice runs");
    assert!(changed.status.success(), "{}", String::from_utf8_lossy(&changed.stderr));
}

pub fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
