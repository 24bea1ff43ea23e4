//! The measurements as a small table.

use super::args::Workload;
use super::processes::Spent;
use super::traffic::Received;

/// Faults of chats (or, in `idle`, of sockets), of which there must be none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    pub lost: u64,
    pub duplicates: u64,
    pub out_of_order: u64,
}

impl Faults {
    pub fn add(&mut self, more: Self) {
        self.lost += more.lost;
        self.duplicates += more.duplicates;
        self.out_of_order += more.out_of_order;
    }
}

/// One round of one workload; a figure that it does not measure is none.
#[derive(Clone, Copy)]
pub struct Row {
    pub workload: Workload,
    pub chats_per_s: Option<f64>,
    /// User and system time of the server and its database.
    pub cpu_us_per_chat: Option<f64>,
    /// From the sender's write to the receiver's read.
    pub p50_ms: Option<f64>,
    pub p99_ms: Option<f64>,
    pub kib_per_socket: Option<f64>,
    pub sockets_per_s: Option<f64>,
    /// The load of other programs, in cores; where it is high, only the CPU time per chat can be compared.
    pub other_cores: Option<f64>,
    pub faults: Faults,
}

impl Row {
    /// A row with nothing measured yet.
    pub fn new(workload: Workload, faults: Faults) -> Self {
        Self {
            workload,
            chats_per_s: None,
            cpu_us_per_chat: None,
            p50_ms: None,
            p99_ms: None,
            kib_per_socket: None,
            sockets_per_s: None,
            other_cores: None,
            faults,
        }
    }

    /// The cost of chats and how long they took.
    pub fn of_chats(workload: Workload, received: &Received, spent: &Spent) -> Self {
        let delivered = received.delivered as f64;
        let ms = |quantile| Some(received.near_us.value_at_quantile(quantile) as f64 / 1_000.0);
        Self {
            chats_per_s: Some(delivered / spent.took.as_secs_f64()),
            cpu_us_per_chat: (received.delivered > 0).then(|| spent.cpu.measured() as f64 / delivered),
            p50_ms: ms(0.5),
            p99_ms: ms(0.99),
            other_cores: Some(spent.other_cores()),
            ..Self::new(workload, received.faults)
        }
    }

    /// The medians of the rounds of one workload, and all their faults.
    fn of_rounds(workload: Workload, rounds: &[Self]) -> Self {
        let median = |value: fn(&Self) -> Option<f64>| {
            let mut values: Vec<f64> = rounds.iter().filter_map(value).collect();
            values.sort_by(f64::total_cmp);
            values.get(values.len() / 2).copied()
        };
        let mut faults = Faults::default();
        rounds.iter().for_each(|round| faults.add(round.faults));
        Self {
            workload,
            chats_per_s: median(|round| round.chats_per_s),
            cpu_us_per_chat: median(|round| round.cpu_us_per_chat),
            p50_ms: median(|round| round.p50_ms),
            p99_ms: median(|round| round.p99_ms),
            kib_per_socket: median(|round| round.kib_per_socket),
            sockets_per_s: median(|round| round.sockets_per_s),
            other_cores: median(|round| round.other_cores),
            faults,
        }
    }
}

/// Prints medians over the rounds, a line for each workload.
pub fn print(database: &str, rounds: u32, rows: &[Row]) {
    println!("\n{database}, median of {rounds} round(s)\n");
    println!(
        "| workload | chats/s | CPU µs/chat | p50 ms | p99 ms | KiB/socket | sockets/s | lost | duplicates | out of order | other cores |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    for workload in Workload::ALL {
        let rounds: Vec<Row> = rows.iter().filter(|row| row.workload == workload).copied().collect();
        if !rounds.is_empty() {
            println!("{}", line(&Row::of_rounds(workload, &rounds)));
        }
    }
}

/// A line of the table.
pub fn line(row: &Row) -> String {
    let cell = |value: Option<f64>, digits: usize| value.map_or_else(String::new, |value| format!("{value:.digits$}"));
    let Faults { lost, duplicates, out_of_order } = row.faults;
    format!(
        "| {} | {} | {} | {} | {} | {} | {} | {lost} | {duplicates} | {out_of_order} | {} |",
        row.workload.name(),
        cell(row.chats_per_s, 0),
        cell(row.cpu_us_per_chat, 1),
        cell(row.p50_ms, 2),
        cell(row.p99_ms, 2),
        cell(row.kib_per_socket, 1),
        cell(row.sockets_per_s, 0),
        cell(row.other_cores, 2),
    )
}
