//! Several instances on PostgreSQL and Redis: the cost of crossing between them, and the throughput of each more.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::time::sleep;

use super::accounts::{Accounts, Room};
use super::outage;
use super::processes::Spent;
use super::server::Server;
use super::table::Faults;
use super::traffic::{self, Pace, Received};

/// Half of them with both ends on one instance, half with the two on different ones.
const PAIRS: usize = 100;
const SATURATING_PAIRS: usize = 50;
const WHOLE_MAX: Duration = Duration::from_secs(20);

/// Measures and prints all figures of several instances.
pub async fn run(measured: Duration) -> Result<(), String> {
    let two = Server::cluster(2);
    wait_until_whole(&two).await?;
    let rooms = Accounts::new(two.address())?.rooms_of_two(PAIRS).await?;
    let rooms = half_of_them_crossing(rooms, &two.addresses());
    crossing(&two, &rooms, measured).await?;
    outage::run(&two, &rooms, measured).await?;
    drop(two);
    println!("\nsaturated: {SATURATING_PAIRS} pairs, 4 chats in flight each, ends spread over all instances\n");
    println!("| instances | chats/s | CPU µs/chat | of it instances | PostgreSQL | Redis | other cores |");
    println!("|---|---|---|---|---|---|---|");
    for instances in 1..=3 {
        saturated(instances, measured).await?;
    }
    Ok(())
}

/// Until every instance reaches Redis.
pub async fn wait_until_whole(server: &Server) -> Result<(), String> {
    let end = Instant::now() + WHOLE_MAX;
    let client = reqwest::Client::builder().no_proxy().build().map_err(|e| e.to_string())?;
    for address in server.addresses() {
        let ready = async || {
            let answer = client.get(format!("http://{address}/readyz")).send().await.ok()?;
            answer.text().await.ok().filter(|text| text.contains("\"ready\""))
        };
        while ready().await.is_none() {
            if Instant::now() > end {
                return Err(format!("{address} does not reach Redis"));
            }
            sleep(Duration::from_millis(20)).await;
        }
    }
    Ok(())
}

/// Each instance has as many pairs of either kind.
fn half_of_them_crossing(rooms: Vec<Room>, at: &[SocketAddr]) -> Vec<(Room, [SocketAddr; 2])> {
    let ends = |number: usize| [at[number % 2], at[(number + number / 2) % 2]];
    rooms.into_iter().enumerate().map(|(number, room)| (room, ends(number))).collect()
}

/// At a steady pace: how much later a chat arrives on another instance than on its own.
async fn crossing(server: &Server, rooms: &[(Room, [SocketAddr; 2])], measured: Duration) -> Result<(), String> {
    println!(
        "\ncrossing: {PAIRS} pairs at a steady pace, every other one between two instances; ms from send to receive\n"
    );
    println!(
        "| chats/s | same instance p50 | p99 | another instance p50 | p99 | added p50 | p99 | CPU µs/chat | other cores |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for rate in [200, 1_000] {
        let (received, spent) = traffic::run(server, Pace::OneWay(rate), rooms, measured).await?;
        nothing_wrong(received.faults)?;
        let at = |latency_us: &Histogram<u64>| [0.5, 0.99].map(|q| latency_us.value_at_quantile(q) as f64 / 1_000.0);
        let (near, far) = (at(&received.near_us), at(&received.far_us));
        println!(
            "| {rate} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} | {:.0} | {:.2} |",
            near[0],
            near[1],
            far[0],
            far[1],
            far[0] - near[0],
            far[1] - near[1],
            spent.cpu.measured() as f64 / received.delivered as f64,
            spent.other_cores(),
        );
    }
    Ok(())
}

/// The throughput of so many instances.
async fn saturated(instances: usize, measured: Duration) -> Result<(), String> {
    let server = Server::cluster(instances);
    wait_until_whole(&server).await?;
    let rooms = Accounts::new(server.address())?.rooms_of_two(SATURATING_PAIRS).await?;
    let at = server.addresses();
    let ends = |number: usize| [at[number % instances], at[number / instances % instances]];
    let rooms: Vec<_> = rooms.into_iter().enumerate().map(|(number, room)| (room, ends(number))).collect();
    let (received, spent) = traffic::run(&server, Pace::InFlight(4), &rooms, measured).await?;
    nothing_wrong(received.faults)?;
    println!("| {instances} | {} |", per_chat(&received, &spent));
    Ok(())
}

fn per_chat(received: &Received, spent: &Spent) -> String {
    let (delivered, cpu) = (received.delivered as f64, &spent.cpu);
    let [all, instances, postgres, redis] =
        [cpu.measured(), cpu.instances, cpu.postgres, cpu.redis].map(|us| us as f64 / delivered);
    let chats_per_s = delivered / spent.took.as_secs_f64();
    format!("{chats_per_s:.0} | {all:.1} | {instances:.1} | {postgres:.1} | {redis:.1} | {:.2}", spent.other_cores())
}

/// A benchmark of a server that loses chats measures nothing.
pub fn nothing_wrong(faults: Faults) -> Result<(), String> {
    if faults == Faults::default() { Ok(()) } else { Err(format!("{faults:?}")) }
}
