//! The cost of polling the database: instances that ask the database what changed, for many device sockets of many
//! rooms.
//!
//! The database is filled by SQL, since a quarter of a million rooms take too long over REST.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures_util::{StreamExt, TryStreamExt, stream};
use jsonwebtoken::{EncodingKey, Header, encode};
use sea_orm::{ConnectionTrait, Database};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::accounts::Room;
use super::cluster::{nothing_wrong, wait_until_whole};
use super::processes::{Meter, Spent};
use super::server::{SECRET, Server};
use super::socket::{Listener, Socket};
use super::traffic::{self, Pace};

/// How many are connected, one step after the other.
const SOCKETS: [u64; 2] = [1_000, 10_000];
const CHATTERS: u64 = 10_000;
/// Of each chatter with those behind them; as many others have one with them.
const ROOMS_EACH: u64 = 25;
const INSTANCES: usize = 2;
const CHATS_PER_S: u64 = 200;
const TALKING_PAIRS: u64 = 100;
const OPENED_AT_ONCE: usize = 64;
const OPENED_MAX: Duration = Duration::from_secs(120);
/// After so long without a frame the opening is over.
const QUIET: Duration = Duration::from_secs(3);
/// The instances take the inserted rows for traffic until their polls reach no further back.
const FILLED_BEFORE: Duration = Duration::from_secs(20);
/// Of this process, beside the sockets.
const OTHER_FILES: u64 = 1_000;

/// Measures and prints the cost of idle device sockets, without and with some traffic.
pub async fn run(measured: Duration) -> Result<(), String> {
    let wanted = CHATTERS + OTHER_FILES;
    let files = rlimit::increase_nofile_limit(wanted).map_err(|e| e.to_string())?;
    if files < wanted {
        return Err(format!("the net's sockets need {wanted} open files, the limit is {files}"));
    }
    let server = Server::cluster(INSTANCES);
    wait_until_whole(&server).await?;
    fill(&server.database_url()).await?;
    sleep(FILLED_BEFORE).await;
    let rooms = talking(&server.addresses())?;
    println!("\nnet: device sockets of {} rooms each over {INSTANCES} instances; ms of CPU a second\n", ROOMS_EACH * 2);
    println!("| sockets | Redis | chats/s | instances | PostgreSQL | Redis | other cores |");
    println!("|---|---|---|---|---|---|---|");
    let mut open = Open::default();
    for sockets in SOCKETS {
        open.up_to(sockets, &server.addresses()).await?;
        rows(&server, sockets, "up", &rooms, measured).await?;
        server.redis().kill();
        sleep(QUIET).await;
        rows(&server, sockets, "away", &rooms, measured).await?;
        server.redis().come_back().await;
        wait_until_whole(&server).await?;
        open.all_open()?;
    }
    Ok(())
}

/// A line for idle sockets, and one with traffic.
async fn rows(
    server: &Server,
    sockets: u64,
    redis: &str,
    rooms: &[(Room, [SocketAddr; 2])],
    measured: Duration,
) -> Result<(), String> {
    let meter = Meter::start(server.roots());
    sleep(measured).await;
    let idle = meter.read();
    let (received, busy) = traffic::run(server, Pace::PerSecond(CHATS_PER_S), rooms, measured).await?;
    nothing_wrong(received.faults)?;
    for (chats_per_s, spent) in [(0, &idle), (CHATS_PER_S, &busy)] {
        let cpu = &spent.cpu;
        let [instances, postgres, own] = [cpu.instances, cpu.postgres, cpu.redis].map(|us| ms_per_s(us, spent));
        let others = spent.other_cores();
        println!("| {sockets} | {redis} | {chats_per_s} | {instances:.1} | {postgres:.1} | {own:.1} | {others:.2} |");
    }
    Ok(())
}

fn ms_per_s(us: u64, spent: &Spent) -> f64 {
    us as f64 / 1_000.0 / spent.took.as_secs_f64()
}

/// Chatters in a ring, each with a room with those next to them, and a chat in each. Nothing shall be tidied up behind
/// that while something else is measured.
async fn fill(database_url: &str) -> Result<(), String> {
    let rooms = CHATTERS * ROOMS_EACH;
    let now = now_s() * 1_000_000;
    let filling = format!(
        "INSERT INTO chatters (id, username, username_key, nickname, create_time)
           SELECT n, 'net' || n, 'net' || n, 'net' || n, {now} FROM generate_series(1, {CHATTERS}) n;
         INSERT INTO sign_ins (id, chatter_id, create_time, expire_time)
           SELECT n, n, {now}, {now} + 86400000000 FROM generate_series(1, {CHATTERS}) n;
         INSERT INTO chatrooms
             (id, owner_id, opponent_id, pair_low, pair_high, create_time, last_chat_time, last_seq, version)
           SELECT (a - 1) * {ROOMS_EACH} + d, a, b, least(a, b), greatest(a, b), {now}, {now}, 1, 1
           FROM generate_series(1, {CHATTERS}) a, generate_series(1, {ROOMS_EACH}) d,
             LATERAL (SELECT (a + d - 1) % {CHATTERS} + 1 AS b) other;
         INSERT INTO members (chatroom_id, chatter_id)
           SELECT id, owner_id FROM chatrooms UNION ALL SELECT id, opponent_id FROM chatrooms;
         INSERT INTO chats (id, chatroom_id, seq, version, sender_id, content, create_time)
           SELECT id * 512, id, 1, 1, owner_id, 'the first', {now} FROM chatrooms;
         SELECT setval(pg_get_serial_sequence('chats', 'id'), ({rooms} + 1) * 512);"
    );
    let database = Database::connect(database_url).await.map_err(|e| e.to_string())?;
    for statements in [
        filling.as_str(),
        "VACUUM ANALYZE",
        "ALTER SYSTEM SET autovacuum = off",
        "SELECT pg_reload_conf()",
        "CHECKPOINT",
    ] {
        database.execute_unprepared(statements).await.map_err(|e| e.to_string())?;
    }
    database.close().await.map_err(|e| e.to_string())
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// As a sign-in would have given it; a chatter's sign-in has the chatter's number.
fn token(chatter: u64) -> Result<String, String> {
    let (id, now) = (chatter.to_string(), now_s());
    let claims = json!({
        "iss": "hyper-chat", "aud": "hyper-chat", "sub": id, "sid": id, "iat": now, "exp": now + 86_400,
    });
    encode(&Header::default(), &claims, &EncodingKey::from_secret(SECRET.as_bytes())).map_err(|e| e.to_string())
}

/// Neighbours are on different instances.
fn instance_of(chatter: u64, at: &[SocketAddr]) -> SocketAddr {
    at[chatter as usize % at.len()]
}

/// Some of the rooms, whose chatters talk.
fn talking(at: &[SocketAddr]) -> Result<Vec<(Room, [SocketAddr; 2])>, String> {
    let room = |number: u64| {
        let [one, other] = [number * 2 + 1, number * 2 + 2];
        let room = Room { id: (one - 1) * ROOMS_EACH + 1, tokens: [token(one)?, token(other)?] };
        Ok((room, [instance_of(one, at), instance_of(other, at)]))
    };
    (0..TALKING_PAIRS).map(room).collect()
}

/// The device sockets, one a chatter.
#[derive(Default)]
struct Open {
    sockets: Vec<Rc<Socket>>,
    tasks: JoinSet<()>,
    received: Rc<Received>,
}

impl Open {
    /// Opens more, until so many have received `ready` and no more frames come.
    async fn up_to(&mut self, sockets: u64, at: &[SocketAddr]) -> Result<(), String> {
        let from = Instant::now();
        let opening = stream::iter(self.sockets.len() as u64 + 1..=sockets)
            .map(async |chatter| Socket::open_device(instance_of(chatter, at), &token(chatter)?).await);
        let opened: Vec<(Rc<Socket>, Vec<u8>)> = opening.buffer_unordered(OPENED_AT_ONCE).try_collect().await?;
        for (socket, rest) in opened {
            self.sockets.push(Rc::clone(&socket));
            self.tasks.spawn_local(socket.listen(rest, Receiver(Rc::clone(&self.received))));
        }
        while self.received.ready.get() < sockets || self.received.last.get().elapsed() < QUIET {
            self.all_open()?;
            if from.elapsed() > OPENED_MAX {
                return Err(format!("{} of {sockets} device sockets are ready", self.received.ready.get()));
            }
            sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    fn all_open(&self) -> Result<(), String> {
        let left = self.sockets.iter().filter(|socket| socket.is_over()).count();
        if left == 0 { Ok(()) } else { Err(format!("{left} device sockets were closed")) }
    }
}

/// What all device sockets have received.
struct Received {
    ready: Cell<u64>,
    last: Cell<Instant>,
}

impl Default for Received {
    fn default() -> Self {
        Self { ready: Cell::default(), last: Cell::new(Instant::now()) }
    }
}

struct Receiver(Rc<Received>);

impl Listener for Receiver {
    fn text(&self, text: &[u8]) {
        if text.starts_with(b"{\"type\":\"ready\"") {
            self.0.ready.set(self.0.ready.get() + 1);
        }
        self.0.last.set(Instant::now());
    }

    fn piece_ended(&self) {}
}
