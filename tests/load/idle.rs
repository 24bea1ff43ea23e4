//! The idle workload: the memory of a socket.

use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::accounts::{Chatter, Room};
use super::args::Workload;
use super::processes::resident_kib;
use super::server::Server;
use super::socket::{Listener, Socket};
use super::table::{Faults, Row};

/// Two sockets each.
pub const ROOMS: usize = 5_000;
pub const CHATTERS: usize = 200;
const OPENED_AT_ONCE: usize = 64;
/// Until the last sockets' buffers are given back.
const SETTLE: Duration = Duration::from_secs(3);
/// Of this process, beside the sockets.
const OTHER_FILES: u64 = 100;

/// Pairs each chatter with as many others as needed.
pub fn room_pairs(chatters: &[Chatter]) -> Vec<[Chatter; 2]> {
    let count = chatters.len();
    let pair = |number: usize| {
        let (one, distance) = (number % count, number / count + 1);
        [chatters[one].clone(), chatters[(one + distance) % count].clone()]
    };
    (0..ROOMS).map(pair).collect()
}

/// Opens two sockets in each room and measures their memory.
pub async fn run(server: &Server, rooms: &[Room]) -> Result<Row, String> {
    let wanted = rooms.len() as u64 * 2;
    let files = rlimit::increase_nofile_limit(wanted + OTHER_FILES).map_err(|e| e.to_string())?;
    if files < wanted + OTHER_FILES {
        return Err(format!("idle needs {} open files, the limit is {files}", wanted + OTHER_FILES));
    }
    let (before, from) = (resident_kib(server.pid()), Instant::now());
    let ends = rooms.iter().flat_map(|room| room.tokens.iter().map(|token| (room.id, token)));
    let opening = stream::iter(ends).map(|(room, token)| Socket::open(server.address(), room, token));
    let opened: Vec<(Rc<Socket>, Vec<u8>)> = opening.buffer_unordered(OPENED_AT_ONCE).try_collect().await?;
    let took = from.elapsed();
    let mut tasks = JoinSet::new();
    let mut sockets = Vec::with_capacity(opened.len());
    for (socket, rest) in opened {
        sockets.push(Rc::clone(&socket));
        tasks.spawn_local(socket.listen(rest, Deaf));
    }
    sleep(SETTLE).await;
    let grown = resident_kib(server.pid()).saturating_sub(before);
    let lost = sockets.iter().filter(|socket| socket.is_over()).count() as u64;
    let mut row = Row::new(Workload::Idle, Faults { lost, ..Faults::default() });
    row.kib_per_socket = Some(grown as f64 / sockets.len() as f64);
    row.sockets_per_s = Some(sockets.len() as f64 / took.as_secs_f64());
    Ok(row)
}

/// Ignores all frames.
pub struct Deaf;

impl Listener for Deaf {
    fn text(&self, _: &[u8]) {}
    fn piece_ended(&self) {}
}
