//! Redis is killed under traffic and starts again: the delay of chats that cross instances, and when it ends.

use std::net::SocketAddr;
use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::time::sleep;

use super::accounts::Room;
use super::cluster::nothing_wrong;
use super::server::Server;
use super::traffic::{Crossed, Pace, Running, latencies_us};

/// In all; every other chat crosses.
const CHATS_PER_S: u64 = 400;
const WARM_UP: Duration = Duration::from_secs(3);
/// After Redis is back.
const HEALING_MAX: Duration = Duration::from_secs(6);
/// So many chats in a row, each no later than this, and it has healed.
const HEALED: usize = 50;
const PROMPT: Duration = Duration::from_millis(100);

/// Measures and prints an outage of so long.
pub async fn run(server: &Server, rooms: &[(Room, [SocketAddr; 2])], outage: Duration) -> Result<(), String> {
    let running = Running::begin(Pace::OneWay(CHATS_PER_S), rooms).await?;
    sleep(WARM_UP).await;
    server.redis().kill();
    let gone = running.elapsed();
    running.measure(server, outage).await;
    server.redis().come_back().await;
    let back = running.elapsed();
    sleep(HEALING_MAX).await;
    let received = running.end().await?;
    nothing_wrong(received.faults)?;
    let mut crossed = received.crossed;
    crossed.sort_unstable_by_key(|chat| chat.sent);
    let mut late_us = latencies_us()?;
    for chat in crossed.iter().filter(|chat| (gone..back).contains(&chat.sent)) {
        late_us.saturating_record(chat.took.as_micros() as u64);
    }
    let ms = |latency_us: &Histogram<u64>, quantile| latency_us.value_at_quantile(quantile) as f64 / 1_000.0;
    println!(
        "\nRedis is killed, and away for {} s, at {CHATS_PER_S} chats/s: ms from send to receive\n",
        outage.as_secs()
    );
    println!("| same instance p50 | p99 | max | another instance p50 | p99 | max | healed after |");
    println!("|---|---|---|---|---|---|---|");
    let near: Vec<String> = [0.5, 0.99, 1.0].iter().map(|q| format!("{:.1}", ms(&received.near_us, *q))).collect();
    let far: Vec<String> = [0.5, 0.99, 1.0].iter().map(|q| format!("{:.0}", ms(&late_us, *q))).collect();
    let healed = healed_after(&crossed, back).map_or("not".to_owned(), |after| format!("{:.2} s", after.as_secs_f64()));
    println!("| {} | {} | {healed} |", near.join(" | "), far.join(" | "));
    Ok(())
}

/// From when on chats cross promptly.
fn healed_after(crossed: &[Crossed], back: Duration) -> Option<Duration> {
    let after: Vec<&Crossed> = crossed.iter().filter(|chat| chat.sent >= back).collect();
    let healed = after.windows(HEALED).find(|chats| chats.iter().all(|chat| chat.took <= PROMPT))?;
    Some(healed[0].sent - back)
}
