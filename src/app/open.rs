//! Opens the store, however long that takes. While PostgreSQL is away or another instance migrates, the port answers
//! 503.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::listen;
use super::listen::Writer;
use super::listener::Listener;
use super::{RunError, settings};
use crate::config::{Config, DatabaseKind};
use crate::store::{OpenError, Store};
use crate::telemetry;

/// If the store opens within this time, no answering server is started.
const AT_ONCE: Duration = Duration::from_millis(200);
/// The first pause between two attempts; each is twice as long as the one before.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// The longest pause: the server promises to serve within 3 s of PostgreSQL's return, and an attempt that began just
/// before it may take 2 s.
const PAUSE_MAX: Duration = Duration::from_millis(600);

/// Opens the store. If that takes longer, a small server answers on the listener meanwhile.
pub(super) async fn open(config: &Config, listener: &Listener, writer: &Writer) -> Result<Store, RunError> {
    let mut opening = std::pin::pin!(open_with_retries(config, writer));
    if let Ok(opened) = timeout(AT_ONCE, &mut opening).await {
        return Ok(opened?);
    }
    let answering = listen::answer_until_open(config, listener)?;
    let opened = opening.await;
    answering.stop(true).await;
    Ok(opened?)
}

/// Tries until the store is open or an error is final.
async fn open_with_retries(config: &Config, writer: &Writer) -> Result<Store, OpenError> {
    let options = settings::store(config);
    let mut pause = PAUSE_MIN;
    let mut logged: Option<String> = None;
    loop {
        match Store::open(&options, |run| *writer.lock() = Some(run)).await {
            Err(error) if config.database.kind() == DatabaseKind::Postgres && error.is_transient() => {
                let cause = telemetry::chain(&error);
                match &logged {
                    Some(before) if *before == cause => {}
                    Some(_) => tracing::warn!(error = cause, "the database cannot be opened yet; trying again"),
                    None => tracing::warn!(error = cause, "waiting for the database; trying again"),
                }
                logged = Some(cause);
            }
            opened => return opened,
        }
        // Jitter keeps instances that wait together from trying together.
        sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}
