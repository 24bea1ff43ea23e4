//! Password hashes (argon2id), computed on threads of their own: a bounded number at once, a bounded number waiting.
//!
//! The bounds hold for the whole instance; requests beyond them are refused. No hash is computed for a caller that has
//! gone away, but a computation that has begun is finished.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, mpsc};

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{self, PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use parking_lot::Mutex;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::{Semaphore, oneshot};

use crate::config::Auth;

/// Why no hash was computed.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// Too many requests are waiting; try again in a second.
    #[error("too many sign-ins are waiting")]
    Busy,
    /// The stored hash cannot be read, or the configured parameters cannot be used.
    #[error("password hash: {0}")]
    Hash(#[from] password_hash::Error),
    /// The thread that computed it ended early, as at shutdown.
    #[error("password hash: interrupted")]
    Interrupted,
}

/// The result of a verification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PasswordCheck {
    /// The password is the right one.
    pub matches: bool,
    /// The stored hash has other parameters than the configured ones: a new one is to be stored while the password is
    /// at hand.
    pub needs_rehash: bool,
}

/// Computes and verifies password hashes; one for the instance, cheap to clone.
#[derive(Clone)]
pub struct Passwords {
    argon2: Argon2<'static>,
    /// Verified in place of the hash of an unknown username, so that both cost the same.
    dummy: Arc<str>,
    /// One for each request that runs or waits.
    places: Arc<Semaphore>,
    places_max: usize,
    at_once: usize,
    /// Not a blocking pool: a hash takes 19 MiB, and each thread that ever computed one keeps that memory, so the many
    /// threads of a pool would keep hundreds of them.
    threads: mpsc::Sender<Job>,
}

type Job = Box<dyn FnOnce() + Send>;

impl Passwords {
    /// A hasher with the configured parameters. It computes one hash, which takes some 20 ms.
    pub fn new(config: &Auth) -> Result<Self, PasswordError> {
        let params = Params::new(config.argon2_memory_kib, config.argon2_iterations, config.argon2_parallelism, None)
            .map_err(password_hash::Error::from)?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let at_once = match config.hashes_at_once {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            n => n,
        };
        Ok(Self {
            dummy: hash(&argon2, &SecretString::from("nobody has this password"))?.into(),
            argon2,
            places: Arc::new(Semaphore::new(at_once + config.hashes_queued_max)),
            places_max: at_once + config.hashes_queued_max,
            at_once,
            threads: start_threads(at_once),
        })
    }

    /// How many hashes are being computed, and how many requests wait.
    #[must_use]
    pub fn load(&self) -> (usize, usize) {
        let all = self.places_max - self.places.available_permits();
        (all.min(self.at_once), all.saturating_sub(self.at_once))
    }

    /// A new salted hash, as a PHC string to be stored.
    pub async fn hash(&self, password: SecretString) -> Result<String, PasswordError> {
        let argon2 = self.argon2.clone();
        self.in_turn(move || hash(&argon2, &password)).await
    }

    /// Compares the password with a stored hash. Without one, the username is unknown: that costs the same and never
    /// matches.
    pub async fn verify(&self, password: SecretString, stored: Option<String>) -> Result<PasswordCheck, PasswordError> {
        let (argon2, dummy) = (self.argon2.clone(), Arc::clone(&self.dummy));
        self.in_turn(move || match stored {
            Some(stored) => verify(&argon2, &password, &stored),
            None => verify(&argon2, &password, &dummy).map(|_| PasswordCheck { matches: false, needs_rehash: false }),
        })
        .await
    }

    async fn in_turn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, PasswordError> + Send + 'static,
    ) -> Result<T, PasswordError> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| PasswordError::Busy)?;
        let (answer, answered) = oneshot::channel();
        let job = Box::new(move || {
            // No hash is computed for a caller that has gone away meanwhile.
            if !answer.is_closed() {
                let _ = answer.send(work());
            }
            drop(place);
        });
        self.threads.send(job).map_err(|_| PasswordError::Interrupted)?;
        answered.await.map_err(|_| PasswordError::Interrupted)?
    }
}

/// Threads that compute one hash after another, until the sender is dropped.
fn start_threads(count: usize) -> mpsc::Sender<Job> {
    let (sender, jobs) = mpsc::channel::<Job>();
    let jobs = Arc::new(Mutex::new(jobs));
    for _ in 0..count {
        let jobs = Arc::clone(&jobs);
        std::thread::spawn(move || {
            loop {
                // In a statement of its own, so that the lock is free while the job runs.
                let job = jobs.lock().recv();
                let Ok(job) = job else { return };
                // A job that panics drops its answer; the thread goes on.
                let _ = std::panic::catch_unwind(AssertUnwindSafe(job));
            }
        });
    }
    sender
}

fn hash(argon2: &Argon2<'_>, password: &SecretString) -> Result<String, PasswordError> {
    Ok(argon2.hash_password(password.expose_secret().as_bytes())?.to_string())
}

fn verify(argon2: &Argon2<'_>, password: &SecretString, stored: &str) -> Result<PasswordCheck, PasswordError> {
    let stored = PasswordHash::new(stored).map_err(password_hash::Error::from)?;
    let matches = match argon2.verify_password(password.expose_secret().as_bytes(), &stored) {
        Ok(()) => true,
        Err(password_hash::Error::PasswordInvalid) => false,
        Err(e) => return Err(e.into()),
    };
    let (configured, used) = (argon2.params(), Params::try_from(&stored)?);
    let as_configured = stored.algorithm == Algorithm::Argon2id.ident()
        && stored.version == Some(Version::V0x13.into())
        && (used.m_cost(), used.t_cost(), used.p_cost())
            == (configured.m_cost(), configured.t_cost(), configured.p_cost());
    Ok(PasswordCheck { matches, needs_rehash: !as_configured })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn auth(memory_kib: u32, at_once: usize, queued_max: usize) -> Auth {
        let mut auth = Config::from_parts([], None).unwrap().auth;
        (auth.argon2_memory_kib, auth.argon2_iterations) = (memory_kib, 1);
        (auth.hashes_at_once, auth.hashes_queued_max) = (at_once, queued_max);
        auth
    }

    fn secret(text: &str) -> SecretString {
        SecretString::from(text)
    }

    #[tokio::test]
    async fn only_the_same_password_matches() {
        let passwords = Passwords::new(&auth(64, 1, 1)).unwrap();
        let stored = passwords.hash(secret(" 비밀번호 🔑 ")).await.unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=64,t=1,p=1$"), "{stored}");
        for (given, matches) in [(" 비밀번호 🔑 ", true), ("비밀번호 🔑", false), ("", false)] {
            let check = passwords.verify(secret(given), Some(stored.clone())).await.unwrap();
            assert_eq!(check, PasswordCheck { matches, needs_rehash: false });
        }
    }

    #[tokio::test]
    async fn a_hash_with_other_parameters_matches_and_needs_a_rehash() {
        let stored = Passwords::new(&auth(64, 1, 1)).unwrap().hash(secret("the password")).await.unwrap();
        let stronger = Passwords::new(&auth(128, 1, 1)).unwrap();
        let check = stronger.verify(secret("the password"), Some(stored)).await.unwrap();
        assert_eq!(check, PasswordCheck { matches: true, needs_rehash: true });
    }

    #[tokio::test]
    async fn an_unknown_username_never_matches() {
        let passwords = Passwords::new(&auth(64, 1, 1)).unwrap();
        let check = passwords.verify(secret("nobody has this password"), None).await.unwrap();
        assert_eq!(check, PasswordCheck { matches: false, needs_rehash: false });
    }

    #[tokio::test]
    async fn an_unreadable_hash_is_an_error_and_not_a_mismatch() {
        let passwords = Passwords::new(&auth(64, 1, 1)).unwrap();
        for stored in ["", "plain", "$argon2id$v=19$m=64,t=1,p=1$AAAA"] {
            let result = passwords.verify(secret("x"), Some(stored.to_owned())).await;
            assert!(matches!(result, Err(PasswordError::Hash(_))), "{stored}: {result:?}");
        }
    }

    #[tokio::test]
    async fn a_full_queue_refuses_and_accepts_again_once_it_is_empty() {
        let passwords = Passwords::new(&auth(8192, 1, 2)).unwrap();
        // Polled in order without a pause: the first runs, two wait, the fourth finds no place.
        let all = futures_util::future::join_all((0..4).map(|_| passwords.hash(secret("the password")))).await;
        let refused = all.iter().filter(|result| matches!(result, Err(PasswordError::Busy))).count();
        assert_eq!((refused, all.iter().filter(|result| result.is_ok()).count()), (1, 3));
        assert!(passwords.hash(secret("the password")).await.is_ok());
    }

    #[tokio::test]
    async fn no_hash_is_computed_for_a_caller_that_went_away() {
        let passwords = Passwords::new(&auth(64, 1, 0)).unwrap();
        let (go_on, held) = mpsc::channel::<()>();
        passwords.threads.send(Box::new(move || assert!(held.recv().is_err()))).unwrap();
        let waiting = tokio::spawn({
            let passwords = passwords.clone();
            async move { passwords.hash(secret("the password")).await }
        });
        while passwords.places.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert!(matches!(passwords.hash(secret("x")).await, Err(PasswordError::Busy)));
        waiting.abort();
        assert!(waiting.await.unwrap_err().is_cancelled());
        drop(go_on);
        while passwords.places.available_permits() == 0 {
            tokio::task::yield_now().await;
        }
        assert!(passwords.hash(secret("x")).await.is_ok());
    }

    #[test]
    fn hashes_are_computed_for_a_caller_on_an_actix_worker() {
        let passwords = Passwords::new(&auth(64, 1, 1)).unwrap();
        let stored = actix_web::rt::System::new().block_on(async move { passwords.hash(secret("x")).await });
        assert!(stored.is_ok());
    }
}
