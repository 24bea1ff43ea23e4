//! The load benchmark: what a chat costs, how long it takes, and that none is lost, doubled or reordered.
//!
//! `cargo bench --bench load -- [WORKLOAD]… [--postgres] [--secs N] [--rounds N]`. Each round of each workload gets a
//! new server, the real program, on an empty database: SQLite, or a PostgreSQL cluster of its own. `cluster` and `net`
//! start several instances on PostgreSQL and Redis, once. The load comes from one thread of this process. It fails if
//! any chat was lost, doubled or reordered.

#![allow(clippy::expect_used, reason = "a benchmark that cannot be set up fails by panicking")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the table is what it is for")]
#![allow(unreachable_pub, reason = "no crate uses a benchmark; its modules share what is pub")]

mod accounts;
mod args;
mod cluster;
mod idle;
mod ledger;
mod net;
mod outage;
mod postgres;
mod processes;
mod redis;
mod server;
mod socket;
mod table;
mod traffic;

use std::process::ExitCode;
use std::time::Duration;

use accounts::Accounts;
use args::{Args, Workload};
use server::Server;
use table::{Faults, Row};
use tokio::runtime::Builder;
use tokio::task::LocalSet;
use tokio::time::timeout;

/// For set-up, warm-up and the wait for the last chat.
const BESIDE_MEASURING_MAX: Duration = Duration::from_secs(180);

/// For all that is measured of several instances.
const SEVERAL_INSTANCES_MAX: Duration = Duration::from_secs(900);

fn main() -> ExitCode {
    let args = match Args::parse(std::env::args().skip(1)) {
        Ok(args) => args,
        Err(problem) => {
            eprintln!("{problem}");
            return ExitCode::from(2);
        }
    };
    let (mut rows, mut failed) = (Vec::new(), false);
    for round in 1..=args.rounds {
        for &workload in &args.workloads {
            match measure(workload, &args) {
                Ok(row) => {
                    eprintln!("round {round} {}", table::line(&row));
                    failed |= row.faults != Faults::default();
                    rows.push(row);
                }
                Err(problem) => {
                    eprintln!("round {round} {}: {problem}", workload.name());
                    failed = true;
                }
            }
        }
    }
    if !rows.is_empty() {
        table::print(if args.postgres { "PostgreSQL" } else { "SQLite" }, args.rounds, &rows);
    }
    if args.cluster {
        failed |= !printed("cluster", cluster::run(args.measured));
    }
    if args.net {
        failed |= !printed("net", net::run(args.measured));
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Whether it could print its own tables.
fn printed(name: &str, work: impl Future<Output = Result<(), String>>) -> bool {
    let done = on_a_thread(SEVERAL_INSTANCES_MAX, work);
    done.inspect_err(|problem| eprintln!("{name}: {problem}")).is_ok()
}

/// One round of one workload, on a server of its own.
fn measure(workload: Workload, args: &Args) -> Result<Row, String> {
    let server = Server::start(args.postgres);
    on_a_thread(args.measured + BESIDE_MEASURING_MAX, put(workload, &server, args.measured))
}

/// Runs it on this thread alone, for so long at most.
fn on_a_thread<T>(within: Duration, work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let runtime = Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
    let done = LocalSet::new().block_on(&runtime, async { timeout(within, work).await });
    done.map_err(|_| "it took too long".to_owned())?
}

async fn put(workload: Workload, server: &Server, measured: Duration) -> Result<Row, String> {
    let accounts = Accounts::new(server.address())?;
    if workload == Workload::Idle {
        let chatters = accounts.chatters(idle::CHATTERS).await?;
        let rooms = accounts.rooms(idle::room_pairs(&chatters)).await?;
        return idle::run(server, &rooms).await;
    }
    let rooms = accounts.rooms_of_two(traffic::pairs(workload)).await?;
    let rooms: Vec<_> = rooms.into_iter().map(|room| (room, [server.address(); 2])).collect();
    let (received, spent) = traffic::run(server, traffic::pace(workload), &rooms, measured).await?;
    Ok(Row::of_chats(workload, &received, &spent))
}
