//! The end of an instance: what SIGTERM sets in motion.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use actix_web::dev::ServerHandle;

use crate::actors::notifier::keeper::Keeper;
use crate::actors::notifier::messages::Drain;
use crate::actors::presence::Presence;
use crate::actors::session::frame::Close;
use crate::http::State;

/// How long a client has to answer the close frame of a draining instance.
const CLOSING_MAX: Duration = Duration::from_secs(3);

/// Stops taking, finishes what is under way, says goodbye, ends: all within `drain_max` and a little.
pub(super) async fn drain(
    state: &State,
    notifier: &Keeper,
    presence: &Presence,
    server: &ServerHandle,
    drain_max: Duration,
) {
    let until = Instant::now() + drain_max;
    tracing::info!(sockets = state.sessions.count(), "draining");
    state.draining.store(true, Ordering::Relaxed);
    state.sessions.stop_taking();
    let in_flight = || state.registry.pending() + state.store.writer().in_flight();
    wait_until(|| in_flight() == 0, until - CLOSING_MAX.min(drain_max)).await;
    state.sessions.relay().leave();
    state.sessions.close_all(Close::GOING_AWAY);
    wait_until(|| state.sessions.count() == 0, until.min(Instant::now() + CLOSING_MAX)).await;
    let _ = tokio::time::timeout(until.saturating_duration_since(Instant::now()), notifier.current().send(Drain)).await;
    state.store.writer().flush().await;
    presence.note_all(until.into()).await;
    server.stop(true).await;
    tracing::info!("stopped");
}

/// Waits for a condition that holds twice in a row, so that a command between two queues is not missed.
async fn wait_until(holds: impl Fn() -> bool, until: Instant) {
    let mut held = 0;
    while held < 2 && Instant::now() < until {
        held = if holds() { held + 1 } else { 0 };
        actix_web::rt::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(super) async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
        return std::future::pending().await;
    };
    tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
}
