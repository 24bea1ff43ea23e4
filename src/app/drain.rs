//! The end of an instance: what SIGTERM sets in motion.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use actix_web::dev::ServerHandle;
use actix_web::rt::time::sleep;
use rand::seq::SliceRandom;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::broker;
use crate::cluster::presence::Presence;
use crate::connections::connection::Connection;
use crate::http::State;
use crate::push::notifier::messages::Drain;
use crate::push::notifier::supervisor::NotifierSupervisor;
use crate::websocket::framing::Close;

/// How long a client has to answer the close frame of a draining instance.
const CLOSING_MAX: Duration = Duration::from_secs(3);
/// Sockets are closed no faster than one in so long on average, so that whoever they come back to is not overrun.
const PER_SOCKET: Duration = Duration::from_millis(5);
/// The part of the drain time in which sockets are closed; what they still have under way needs the rest.
const SPREAD_PART: f64 = 0.625;
/// Of several instances one serves on for so long after `/readyz` has refused: proxies need a moment to see it.
const LINGER: Duration = Duration::from_millis(2_500);
/// What has to be noted at the end gets so long in any case.
const NOTING_MAX: Duration = Duration::from_secs(1);
/// Whose socket is closed in the last moments is left to the other instances, who see whether they come back: this one would
/// have ended before it could tell.
const LEAVING: Duration = Duration::from_secs(3);

/// Lets the sockets go one by one, stops taking, finishes what is under way, ends: all within `drain_max` and a little.
pub(super) async fn drain(
    state: &State,
    notifier: &NotifierSupervisor,
    presence: &Presence,
    server: &ServerHandle,
    drain_max: Duration,
) {
    let until = Instant::now() + drain_max;
    tracing::info!(sockets = state.connections.count(), "draining");
    state.draining.store(true, Ordering::Relaxed);
    let spread = drain_max.mul_f64(SPREAD_PART);
    let linger =
        if state.connections.broker().state() == broker::State::Single { Duration::ZERO } else { LINGER.min(spread) };
    let connections = state.connections.all();
    let spread = spread.min(PER_SOCKET * u32::try_from(connections.len()).unwrap_or(u32::MAX));
    let leave = async {
        sleep(linger.max(spread).saturating_sub(LEAVING)).await;
        state.connections.broker().leave_all();
    };
    tokio::join!(sleep(linger), close_one_by_one(connections, spread), leave);
    state.connections.stop_taking();
    let in_flight = || state.registry.pending() + state.store.writer().in_flight();
    wait_until(|| in_flight() == 0, until).await;
    // Who came in while the others went.
    state.connections.close_all(Close::GOING_AWAY);
    wait_until(|| state.connections.count() == 0, until.min(Instant::now() + CLOSING_MAX)).await;
    let _ = tokio::time::timeout(until.saturating_duration_since(Instant::now()), notifier.current().send(Drain)).await;
    state.store.writer().flush().await;
    presence.note_all((until.max(Instant::now() + NOTING_MAX)).into()).await;
    server.stop(true).await;
    tracing::info!("stopped");
}

/// Each at a random moment, so that clients do not come back all at once; few of them are through in no time.
async fn close_one_by_one(mut connections: Vec<Arc<Connection>>, spread: Duration) {
    connections.shuffle(&mut rand::rng());
    let mut moments: Vec<Duration> = connections.iter().map(|_| spread.mul_f64(rand::random())).collect();
    moments.sort_unstable();
    let begun = Instant::now();
    for (connection, moment) in connections.iter().zip(moments) {
        sleep(moment.saturating_sub(begun.elapsed())).await;
        connection.close(Close::GOING_AWAY);
    }
}

/// Waits for a condition that holds twice in a row, so that a command between two queues is not missed.
async fn wait_until(holds: impl Fn() -> bool, until: Instant) {
    let mut held = 0;
    while held < 2 && Instant::now() < until {
        held = if holds() { held + 1 } else { 0 };
        sleep(Duration::from_millis(20)).await;
    }
}

/// SIGTERM and SIGINT; one that comes between two questions is not missed.
pub(super) struct Stop(Option<[Signal; 2]>);

impl Stop {
    /// Listens from now on.
    pub(super) fn listen() -> Self {
        let signals = signal(SignalKind::terminate()).and_then(|term| Ok([term, signal(SignalKind::interrupt())?]));
        Self(signals.inspect_err(|error| tracing::error!(%error, "signals cannot be listened to")).ok())
    }

    /// Waits until the process shall stop.
    pub(super) async fn asked(&mut self) {
        match &mut self.0 {
            Some([term, int]) => tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} },
            None => std::future::pending().await,
        }
    }
}
