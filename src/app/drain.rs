//! The drain: the orderly end of an instance, from SIGTERM to exit.

use std::time::{Duration, Instant};

use actix_web::dev::ServerHandle;
use actix_web::rt::time::sleep;
use rand::seq::SliceRandom;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::broker;
use crate::cluster::presence::Presence;
use crate::connections::registry::OpenSocket;
use crate::http::State;
use crate::push::notifier::messages::Drain;
use crate::push::notifier::supervisor::NotifierSupervisor;
use crate::websocket::framing::Close;

/// How long a client has to answer the close frame of a draining instance.
const CLOSING_MAX: Duration = Duration::from_secs(3);
/// The average time between two closed sockets, so that their clients do not overrun the instance they reconnect to.
const PER_SOCKET: Duration = Duration::from_millis(5);
/// The part of the drain time in which sockets are closed; work in flight needs the rest.
const SPREAD_PART: f64 = 0.625;
/// How long one of several instances serves on after `/readyz` has turned 503, so that proxies notice.
const LINGER: Duration = Duration::from_millis(2_500);
/// The least time for writing `last_seen` at the end.
const NOTING_MAX: Duration = Duration::from_secs(1);
/// How long before the end this instance leaves the presence directory. For sockets that are closed later, the other
/// instances announce whether the chatter came back: this one would have ended before it could.
const LEAVING: Duration = Duration::from_secs(3);

/// Closes the sockets one by one, stops accepting chats, finishes work in flight, and stops the server: all within
/// `drain_max` and about two seconds.
pub(super) async fn drain(
    state: &State,
    notifier: &NotifierSupervisor,
    presence: &Presence,
    server: &ServerHandle,
    drain_max: Duration,
) {
    let until = Instant::now() + drain_max;
    tracing::info!(sockets = state.connections.count(), "draining");
    state.drain.refuse_sockets();
    let spread = drain_max.mul_f64(SPREAD_PART);
    let linger = if state.broker.state() == broker::State::Single { Duration::ZERO } else { LINGER.min(spread) };
    let sockets = state.connections.all();
    let spread = spread.min(PER_SOCKET * u32::try_from(sockets.len()).unwrap_or(u32::MAX));
    let leave = async {
        sleep(linger.max(spread).saturating_sub(LEAVING)).await;
        state.broker.leave_all();
    };
    tokio::join!(sleep(linger), close_one_by_one(sockets, spread), leave);
    state.drain.refuse_chats();
    let in_flight = || state.registry.pending() + state.store.writer().in_flight();
    wait_until(|| in_flight() == 0, until).await;
    // Sockets that opened while the others were being closed.
    state.connections.close_all(Close::GOING_AWAY);
    wait_until(|| state.connections.count() == 0, until.min(Instant::now() + CLOSING_MAX)).await;
    let _ = tokio::time::timeout(until.saturating_duration_since(Instant::now()), notifier.current().send(Drain)).await;
    state.store.writer().flush().await;
    presence.record_all((until.max(Instant::now() + NOTING_MAX)).into()).await;
    server.stop(true).await;
    tracing::info!("stopped");
}

/// Closes each socket at a random moment, so that clients do not reconnect all at once.
async fn close_one_by_one(mut sockets: Vec<OpenSocket>, spread: Duration) {
    sockets.shuffle(&mut rand::rng());
    let mut moments: Vec<Duration> = sockets.iter().map(|_| spread.mul_f64(rand::random())).collect();
    moments.sort_unstable();
    let begun = Instant::now();
    for (socket, moment) in sockets.iter().zip(moments) {
        sleep(moment.saturating_sub(begun.elapsed())).await;
        socket.close(Close::GOING_AWAY);
    }
}

/// Waits until a condition holds twice in a row: a command that passes from one queue to the next is in neither.
async fn wait_until(holds: impl Fn() -> bool, until: Instant) {
    let mut in_a_row = 0;
    while in_a_row < 2 && Instant::now() < until {
        in_a_row = if holds() { in_a_row + 1 } else { 0 };
        sleep(Duration::from_millis(20)).await;
    }
}

/// SIGTERM, SIGINT and SIGHUP, which a closed terminal sends. A signal that arrives before [`Stop::requested`] is awaited
/// is not lost.
pub(super) struct Stop(Option<[Signal; 3]>);

impl Stop {
    /// Registers the handlers; signals count from now on.
    pub(super) fn listen() -> Self {
        let signals =
            || Ok([signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?, signal(SignalKind::hangup())?]);
        let signals: std::io::Result<_> = signals();
        Self(signals.inspect_err(|error| tracing::error!(%error, "no handler for SIGTERM could be registered")).ok())
    }

    /// Waits for the first of the signals.
    pub(super) async fn requested(&mut self) {
        match &mut self.0 {
            Some([term, int, hup]) => tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
                _ = hup.recv() => {}
            },
            None => std::future::pending().await,
        }
    }
}
