//! What an instance does at intervals, for as long as it runs.

use std::time::Duration;

use actix_web::web;

use crate::http::State;

/// How often the counts of refusals without a line are due.
const AUDIT_EVERY: Duration = Duration::from_secs(10);

/// Removes expired rows and idle rate limits, at the configured interval.
pub(super) async fn clean_up(state: web::Data<State>, every: Duration) {
    let mut timer = actix_web::rt::time::interval(every);
    loop {
        timer.tick().await;
        state.limits.forget_idle();
        match state.store.clean_up().await {
            Ok(0) => {}
            Ok(sign_ins) => tracing::info!(sign_ins, "expired rows removed"),
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "the clean-up waits for the database")
            }
        }
    }
}

/// Logs how many refusals got no line of their own.
pub(super) async fn report_unlogged(state: web::Data<State>) {
    let mut timer = actix_web::rt::time::interval(AUDIT_EVERY);
    loop {
        timer.tick().await;
        state.audit.report_unlogged();
    }
}
