//! The workloads that send: chats between pairs, each followed from its sender to both sockets of the room.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::accounts::Room;
use super::args::Workload;
use super::ledger::{Label, Ledger};
use super::processes::{Meter, Spent};
use super::server::Server;
use super::socket::{Listener, Socket};
use super::table::Faults;

const WARM_UP: Duration = Duration::from_secs(3);
/// A chat that does not arrive within such a silence at the end is lost.
const SILENCE: Duration = Duration::from_secs(10);
const LATENCY_US_MAX: u64 = 120_000_000;

/// How much is sent.
#[derive(Clone, Copy)]
pub enum Pace {
    /// Each sender has so many chats under way; one that arrives lets the next go.
    InFlight(u32),
    /// So many chats a second in all, whatever arrives.
    PerSecond(u64),
    /// The same from the first one of each pair only, so that no receiver also sends.
    OneWay(u64),
}

/// How many pairs a workload has.
pub fn pairs(workload: Workload) -> usize {
    match workload {
        Workload::Saturate => 50,
        Workload::Hot => 1,
        Workload::Steady | Workload::Idle => 100,
    }
}

pub fn pace(workload: Workload) -> Pace {
    match workload {
        Workload::Saturate => Pace::InFlight(4),
        Workload::Hot => Pace::InFlight(64),
        Workload::Steady | Workload::Idle => Pace::PerSecond(1_000),
    }
}

/// The received chats.
pub struct Received {
    /// How many chats arrived at the other one of the pair while it was measured.
    pub delivered: u64,
    /// From the sender's write to the receiver's read, where both are on one instance.
    pub near_us: Histogram<u64>,
    /// The same where they are on different instances.
    pub far_us: Histogram<u64>,
    /// Every chat that crossed instances, in the order of arrival; at a pace one way only.
    pub crossed: Vec<Crossed>,
    pub faults: Faults,
}

/// A chat that went from one instance to another.
#[derive(Clone, Copy)]
pub struct Crossed {
    /// Since the traffic began.
    pub sent: Duration,
    pub took: Duration,
}

struct Pair {
    /// The two are on different instances.
    crosses: bool,
    sockets: [Rc<Socket>; 2],
    sent: [Cell<u32>; 2],
    ledgers: [RefCell<Ledger>; 2],
}

impl Pair {
    fn sent(&self) -> u64 {
        self.sent.iter().map(|sent| u64::from(sent.get())).sum()
    }
}

/// For times up to two minutes.
pub fn latencies_us() -> Result<Histogram<u64>, String> {
    Histogram::new_with_max(LATENCY_US_MAX, 3).map_err(|e| e.to_string())
}

/// Traffic under way.
pub struct Running {
    traffic: Rc<Traffic>,
    tasks: JoinSet<()>,
}

struct Traffic {
    pairs: Vec<Pair>,
    pace: Pace,
    began: Instant,
    sending: Cell<bool>,
    measuring: Cell<bool>,
    delivered: Cell<u64>,
    received: Cell<Instant>,
    near_us: RefCell<Histogram<u64>>,
    far_us: RefCell<Histogram<u64>>,
    crossed: RefCell<Vec<Crossed>>,
    /// The first frame that is no chat of ours.
    strange: RefCell<Option<String>>,
}

/// Warms up, measures, and waits for the last chat. Each room has the addresses of the instances of its two.
pub async fn run(
    server: &Server,
    pace: Pace,
    rooms: &[(Room, [SocketAddr; 2])],
    measured: Duration,
) -> Result<(Received, Spent), String> {
    let running = Running::begin(pace, rooms).await?;
    sleep(WARM_UP).await;
    let spent = running.measure(server, measured).await;
    Ok((running.end().await?, spent))
}

impl Running {
    /// Connects the pairs and lets them send.
    pub async fn begin(pace: Pace, rooms: &[(Room, [SocketAddr; 2])]) -> Result<Self, String> {
        let (mut pairs, mut rests) = (Vec::new(), Vec::new());
        for (room, at) in rooms {
            let (first, first_rest) = Socket::open(at[0], room.id, &room.tokens[0]).await?;
            let (second, second_rest) = Socket::open(at[1], room.id, &room.tokens[1]).await?;
            let (crosses, sockets) = (at[0] != at[1], [first, second]);
            pairs.push(Pair { crosses, sockets, sent: Default::default(), ledgers: Default::default() });
            rests.push([first_rest, second_rest]);
        }
        let traffic = Rc::new(Traffic {
            pairs,
            pace,
            began: Instant::now(),
            sending: Cell::new(true),
            measuring: Cell::new(false),
            delivered: Cell::new(0),
            received: Cell::new(Instant::now()),
            near_us: RefCell::new(latencies_us()?),
            far_us: RefCell::new(latencies_us()?),
            crossed: RefCell::default(),
            strange: RefCell::default(),
        });
        let mut tasks = JoinSet::new();
        for (pair, rests) in rests.into_iter().enumerate() {
            for (side, rest) in rests.into_iter().enumerate() {
                let socket = Rc::clone(&traffic.pairs[pair].sockets[side]);
                tasks.spawn_local(socket.listen(rest, Receiver { traffic: Rc::clone(&traffic), pair, side }));
            }
        }
        traffic.begin(&mut tasks);
        Ok(Self { traffic, tasks })
    }

    /// Since it began.
    pub fn elapsed(&self) -> Duration {
        self.traffic.began.elapsed()
    }

    /// Counts the delivered chats and their cost for so long.
    pub async fn measure(&self, server: &Server, measured: Duration) -> Spent {
        let meter = Meter::start(server.roots());
        self.traffic.measuring.set(true);
        sleep(measured).await;
        self.traffic.measuring.set(false);
        meter.read()
    }

    /// Stops sending and waits for the last chat.
    pub async fn end(self) -> Result<Received, String> {
        let Self { traffic, mut tasks } = self;
        traffic.sending.set(false);
        traffic.wait_for_the_rest().await;
        tasks.shutdown().await;
        if let Some(frame) = traffic.strange.take() {
            return Err(format!("an unexpected frame: {frame}"));
        }
        let mut faults = Faults::default();
        for pair in &traffic.pairs {
            for ledger in &pair.ledgers {
                faults.add(ledger.borrow().faults(pair.sent()));
            }
        }
        Ok(Received {
            delivered: traffic.delivered.get(),
            near_us: traffic.near_us.borrow().clone(),
            far_us: traffic.far_us.borrow().clone(),
            crossed: traffic.crossed.take(),
            faults,
        })
    }
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
            Pace::PerSecond(rate) => drop(tasks.spawn_local(Rc::clone(self).send_steadily(rate, 2))),
            Pace::OneWay(rate) => drop(tasks.spawn_local(Rc::clone(self).send_steadily(rate, 1))),
        }
    }

    /// Sends the chats that are due each millisecond, from one sender after another.
    async fn send_steadily(self: Rc<Self>, rate: u64, authors: usize) {
        let (mut sent, senders) = (0_u64, self.pairs.len() * authors);
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

    /// A frame arrived at one side of a pair.
    fn hear(&self, pair: usize, side: usize, frame: &[u8]) {
        let read = Label::of_frame(frame).filter(|(label, _)| label.pair as usize == pair);
        let Some((label, seq)) = read else {
            self.strange.borrow_mut().get_or_insert_with(|| String::from_utf8_lossy(frame).chars().take(400).collect());
            return;
        };
        let first = self.pairs[pair].ledgers[side].borrow_mut().enter(label, seq);
        // A chat counts as delivered when the other one gets it; the echo only has to be complete and in order.
        if !first || label.author == side {
            return;
        }
        let (crosses, sent) = (self.pairs[pair].crosses, Duration::from_nanos(label.sent_ns));
        let took = self.began.elapsed().saturating_sub(sent);
        if self.measuring.get() {
            self.delivered.set(self.delivered.get() + 1);
            let latency_us = if crosses { &self.far_us } else { &self.near_us };
            latency_us.borrow_mut().saturating_record(took.as_micros() as u64);
        }
        match self.pace {
            Pace::InFlight(_) if self.sending.get() => self.send(pair, label.author),
            Pace::OneWay(_) if crosses => self.crossed.borrow_mut().push(Crossed { sent, took }),
            _ => {}
        }
    }

    /// Waits until all chats have arrived, all sockets are closed, or no chat has arrived for long.
    async fn wait_for_the_rest(&self) {
        let whole = |pair: &Pair| pair.ledgers.iter().all(|ledger| ledger.borrow().count() >= pair.sent());
        let over = |pair: &Pair| pair.sockets.iter().all(|socket| socket.is_over());
        self.received.set(Instant::now());
        while self.received.get().elapsed() < SILENCE && !self.pairs.iter().all(|pair| whole(pair) || over(pair)) {
            sleep(Duration::from_millis(10)).await;
        }
    }
}

/// One side of a pair.
struct Receiver {
    traffic: Rc<Traffic>,
    pair: usize,
    side: usize,
}

impl Listener for Receiver {
    fn text(&self, text: &[u8]) {
        self.traffic.hear(self.pair, self.side, text);
    }

    /// The received frames let the other side send; its own frames are written with the pongs.
    fn piece_ended(&self) {
        self.traffic.received.set(Instant::now());
        self.traffic.pairs[self.pair].sockets[1 - self.side].flush();
    }
}
