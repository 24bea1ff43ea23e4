//! The workloads that send: chats between pairs, each followed from its sender to both sockets of the room.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::accounts::Room;
use super::args::Workload;
use super::ledger::{Label, Ledger};
use super::processes::{CpuTime, cpu_time};
use super::server::Server;
use super::socket::{Listener, Socket};
use super::table::{Faults, Row};

const WARM_UP: Duration = Duration::from_secs(3);
/// What did not come within such a silence at the end is lost.
const SILENCE: Duration = Duration::from_secs(10);
const LATENCY_US_MAX: u64 = 120_000_000;

/// How much is sent.
#[derive(Clone, Copy)]
enum Pace {
    /// Each sender has so many chats under way; one that arrives lets the next go.
    InFlight(u32),
    /// So many chats a second in all, whatever arrives.
    PerSecond(u64),
}

/// How many pairs a workload has.
pub fn pairs(workload: Workload) -> usize {
    match workload {
        Workload::Saturate => 50,
        Workload::Hot => 1,
        Workload::Steady | Workload::Idle => 100,
    }
}

fn pace(workload: Workload) -> Pace {
    match workload {
        Workload::Saturate => Pace::InFlight(4),
        Workload::Hot => Pace::InFlight(64),
        Workload::Steady | Workload::Idle => Pace::PerSecond(1_000),
    }
}

struct Pair {
    sockets: [Rc<Socket>; 2],
    sent: [Cell<u32>; 2],
    ledgers: [RefCell<Ledger>; 2],
}

impl Pair {
    fn sent(&self) -> u64 {
        self.sent.iter().map(|sent| u64::from(sent.get())).sum()
    }
}

struct Traffic {
    pairs: Vec<Pair>,
    pace: Pace,
    began: Instant,
    sending: Cell<bool>,
    measuring: Cell<bool>,
    delivered: Cell<u64>,
    heard: Cell<Instant>,
    latency_us: RefCell<Histogram<u64>>,
    /// The first frame that is no chat of ours.
    strange: RefCell<Option<String>>,
}

/// Runs a workload over these rooms.
pub async fn run(server: &Server, workload: Workload, rooms: &[Room], measured: Duration) -> Result<Row, String> {
    let mut tasks = JoinSet::new();
    let traffic = connect(server, workload, rooms, &mut tasks).await?;
    traffic.begin(&mut tasks);
    sleep(WARM_UP).await;
    let (before, from) = (cpu_time(&server.roots()), Instant::now());
    traffic.measuring.set(true);
    sleep(measured).await;
    traffic.measuring.set(false);
    let (after, took) = (cpu_time(&server.roots()), from.elapsed());
    traffic.sending.set(false);
    traffic.wait_for_the_rest().await;
    if let Some(frame) = traffic.strange.take() {
        return Err(format!("{}: an unexpected frame: {frame}", workload.name()));
    }
    Ok(traffic.row(workload, before, after, took))
}

async fn connect(
    server: &Server,
    workload: Workload,
    rooms: &[Room],
    tasks: &mut JoinSet<()>,
) -> Result<Rc<Traffic>, String> {
    let (mut pairs, mut rests) = (Vec::new(), Vec::new());
    for room in rooms {
        let (first, first_rest) = Socket::open(server.address(), room.id, &room.tokens[0]).await?;
        let (second, second_rest) = Socket::open(server.address(), room.id, &room.tokens[1]).await?;
        pairs.push(Pair { sockets: [first, second], sent: Default::default(), ledgers: Default::default() });
        rests.push([first_rest, second_rest]);
    }
    let traffic = Rc::new(Traffic {
        pairs,
        pace: pace(workload),
        began: Instant::now(),
        sending: Cell::new(true),
        measuring: Cell::new(false),
        delivered: Cell::new(0),
        heard: Cell::new(Instant::now()),
        latency_us: RefCell::new(Histogram::new_with_max(LATENCY_US_MAX, 3).map_err(|e| e.to_string())?),
        strange: RefCell::default(),
    });
    for (pair, rests) in rests.into_iter().enumerate() {
        for (side, rest) in rests.into_iter().enumerate() {
            let socket = Rc::clone(&traffic.pairs[pair].sockets[side]);
            tasks.spawn_local(socket.listen(rest, Ear { traffic: Rc::clone(&traffic), pair, side }));
        }
    }
    Ok(traffic)
}

impl Traffic {
    fn begin(self: &Rc<Self>, tasks: &mut JoinSet<()>) {
        match self.pace {
            Pace::InFlight(count) => {
                for pair in 0..self.pairs.len() {
                    for author in 0..2 {
                        (0..count).for_each(|_| self.send(pair, author));
                        self.pairs[pair].sockets[author].flush();
                    }
                }
            }
            Pace::PerSecond(rate) => drop(tasks.spawn_local(Rc::clone(self).send_steadily(rate))),
        }
    }

    /// Sends what is due each millisecond, from one sender after another.
    async fn send_steadily(self: Rc<Self>, rate: u64) {
        let (mut sent, senders) = (0_u64, self.pairs.len() * 2);
        while self.sending.get() {
            let due = self.began.elapsed().as_micros() as u64 * rate / 1_000_000;
            while sent < due {
                let turn = sent as usize % senders;
                let (pair, author) = (turn % self.pairs.len(), turn / self.pairs.len());
                self.send(pair, author);
                self.pairs[pair].sockets[author].flush();
                sent += 1;
            }
            sleep(Duration::from_millis(1)).await;
        }
    }

    fn send(&self, pair: usize, author: usize) {
        let sent = &self.pairs[pair].sent[author];
        let (number, sent_ns) = (sent.get(), self.began.elapsed().as_nanos() as u64);
        sent.set(number + 1);
        let label = Label { pair: pair as u32, author, number, sent_ns };
        self.pairs[pair].sockets[author].queue(&label.frame());
    }

    /// A frame came to one side of a pair.
    fn hear(&self, pair: usize, side: usize, frame: &[u8]) {
        let read = Label::of_frame(frame).filter(|(label, _)| label.pair as usize == pair);
        let Some((label, seq)) = read else {
            self.strange.borrow_mut().get_or_insert_with(|| String::from_utf8_lossy(frame).chars().take(400).collect());
            return;
        };
        let first = self.pairs[pair].ledgers[side].borrow_mut().enter(label, seq);
        // Delivered is what the other one got; the echo only has to be complete and in order.
        if !first || label.author == side {
            return;
        }
        if self.measuring.get() {
            self.delivered.set(self.delivered.get() + 1);
            let took_ns = (self.began.elapsed().as_nanos() as u64).saturating_sub(label.sent_ns);
            self.latency_us.borrow_mut().saturating_record(took_ns / 1_000);
        }
        if matches!(self.pace, Pace::InFlight(_)) && self.sending.get() {
            self.send(pair, label.author);
        }
    }

    /// Until all has come, all sockets are closed, or nothing came for long.
    async fn wait_for_the_rest(&self) {
        let whole = |pair: &Pair| pair.ledgers.iter().all(|ledger| ledger.borrow().count() >= pair.sent());
        let over = |pair: &Pair| pair.sockets.iter().all(|socket| socket.is_over());
        self.heard.set(Instant::now());
        while self.heard.get().elapsed() < SILENCE && !self.pairs.iter().all(|pair| whole(pair) || over(pair)) {
            sleep(Duration::from_millis(10)).await;
        }
    }

    fn row(&self, workload: Workload, before: CpuTime, after: CpuTime, took: Duration) -> Row {
        let mut faults = Faults::default();
        for pair in &self.pairs {
            for ledger in &pair.ledgers {
                faults.add(ledger.borrow().faults(pair.sent()));
            }
        }
        let delivered = self.delivered.get() as f64;
        let latency = self.latency_us.borrow();
        let cpu_us = (after.measured - before.measured) as f64;
        let others = (after.machine - before.machine) as f64 - cpu_us - (after.own - before.own) as f64;
        let mut row = Row::new(workload, faults);
        row.chats_per_s = Some(delivered / took.as_secs_f64());
        row.cpu_us_per_chat = (delivered > 0.0).then(|| cpu_us / delivered);
        row.p50_ms = Some(latency.value_at_quantile(0.5) as f64 / 1_000.0);
        row.p99_ms = Some(latency.value_at_quantile(0.99) as f64 / 1_000.0);
        row.other_cores = Some(others.max(0.0) / took.as_micros() as f64);
        row
    }
}

/// One side of a pair.
struct Ear {
    traffic: Rc<Traffic>,
    pair: usize,
    side: usize,
}

impl Listener for Ear {
    fn text(&self, text: &[u8]) {
        self.traffic.hear(self.pair, self.side, text);
    }

    /// What arrived let the other side send; its own frames go out with the pongs.
    fn piece_ended(&self) {
        self.traffic.heard.set(Instant::now());
        self.traffic.pairs[self.pair].sockets[1 - self.side].flush();
    }
}
