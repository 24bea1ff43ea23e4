//! Opening the store, however long that takes: while PostgreSQL is away or another instance migrates, the port answers.

use std::net::TcpListener;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::listen;
use super::listen::Writer;
use super::{RunError, settings};
use crate::config::{Config, DatabaseKind};
use crate::store::{OpenError, Store};

/// An opening that is done in this time needs nobody to answer meanwhile.
const AT_ONCE: Duration = Duration::from_millis(200);
/// The first pause between two tries; each is twice as long as the one before.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// The longest: promised are 3 s from PostgreSQL's return, and a try may have begun just before and take 2 s.
const PAUSE_MAX: Duration = Duration::from_millis(600);

/// Opens the store; while that takes its time, the listener answers that it waits.
pub(super) async fn open(config: &Config, listener: &TcpListener, writer: &Writer) -> Result<Store, RunError> {
    let mut opening = std::pin::pin!(patiently(config, writer));
    if let Ok(opened) = timeout(AT_ONCE, &mut opening).await {
        return Ok(opened?);
    }
    let answering = listen::answer_that_it_waits(config, listener)?;
    let opened = opening.await;
    answering.stop(true).await;
    Ok(opened?)
}

/// Tries until it is known whether the store can be opened.
async fn patiently(config: &Config, writer: &Writer) -> Result<Store, OpenError> {
    let options = settings::store(config);
    let mut pause = PAUSE_MIN;
    let mut said = false;
    loop {
        match Store::open(&options, |run| *writer.lock() = Some(run)).await {
            Err(error) if config.database.kind() == DatabaseKind::Postgres && error.is_transient() => {
                if !said {
                    tracing::warn!(error = &error as &dyn std::error::Error, "waiting for the database");
                    said = true;
                }
            }
            opened => return opened,
        }
        // With jitter, so that instances which wait together do not come together.
        sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}
