//! The way of a push to a device: FCM, the log, or nowhere.

use super::fcm::{Fcm, Settings};
use super::{Outcome, Push, Scope, log};

/// Where pushes go.
#[derive(Debug)]
pub enum Pusher {
    /// To Google.
    Fcm(Box<Fcm>),
    /// To the log, because FCM is not configured.
    Log,
    /// Nowhere, because the configured key cannot be used. Pending pushes are left to other instances and to the next
    /// start. Holds what is wrong with it, for `/readyz`.
    Off(String),
}

impl Pusher {
    /// FCM where it is configured, else the log. Where the key cannot be used, one line is logged and the server runs
    /// without pushes. The composition root calls this once.
    #[must_use]
    pub fn open(settings: &Settings) -> Self {
        let Some(path) = &settings.service_account else {
            tracing::info!("pushes are logged, not sent: FCM is not configured");
            return Self::Log;
        };
        match Fcm::open(path, settings) {
            Ok(fcm) => Self::Fcm(Box::new(fcm)),
            Err(error) => {
                tracing::error!(
                    error = %error,
                    "pushes are left to other instances and to the next start: the FCM service account cannot be used"
                );
                Self::Off(error.without_path())
            }
        }
    }

    /// What is wrong with the configured key, where it cannot be used.
    #[must_use]
    pub fn off_reason(&self) -> Option<&str> {
        if let Self::Off(reason) = self { Some(reason) } else { None }
    }

    /// Sends to one device, within the timeout of the settings.
    pub async fn send(&self, token: &str, push: &Push) -> Outcome {
        match self {
            Self::Fcm(fcm) => fcm.send(token, push).await,
            Self::Log => log::send(push),
            Self::Off(_) => {
                let reason = "the service account cannot be used".to_owned();
                Outcome::RetryLater { after: None, scope: Scope::All, reason }
            }
        }
    }
}
