//! A new epoch of the database under a running server: sockets are closed, and the row is read now and then.

use std::sync::{Arc, Weak};
use std::time::Duration;

use actix_web::web;
use tokio::time::sleep;

use crate::cluster::receipts::Receipts;
use crate::connections::registry::ConnectionRegistry;
use crate::http::State;
use crate::store::Store;
use crate::store::epoch::EpochObserver;
use crate::telemetry::audit;
use crate::websocket::framing::Close;

/// How often the epoch is read beside the checks of new connections: so late at most a server notices
/// `hyper-chat epoch --new`.
const CHECK_EVERY: Duration = Duration::from_secs(2);

/// Ends what belongs to the earlier epoch.
pub(super) struct EndOfEpoch {
    pub(super) store: Weak<Store>,
    pub(super) connections: Arc<ConnectionRegistry>,
    pub(super) receipts: Arc<Receipts>,
}

impl EpochObserver for EndOfEpoch {
    fn epoch_changed(&self) {
        if let Some(store) = self.store.upgrade() {
            audit::epoch_changed(&store.epochs().name());
        }
        self.receipts.forget();
        self.connections.close_signed_in(Close::TOKEN_REFUSED);
    }
}

/// Reads the epoch for as long as the server runs.
pub(super) async fn check(state: web::Data<State>) {
    loop {
        sleep(CHECK_EVERY).await;
        if let Err(error) = state.store.check_epoch().await {
            tracing::debug!(error = &error as &dyn std::error::Error, "the epoch could not be read");
        }
    }
}
