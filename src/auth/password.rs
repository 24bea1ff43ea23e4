//! Password hashes (argon2id), computed on threads of their own: a bounded number at once, a bounded number waiting.
//!
//! The bounds hold for the whole instance. The places are shared fairly by address and by username (`hash_queue`);
//! requests beyond them are refused. No hash is computed for a caller that has gone away, but a computation that has
//! begun is finished.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{self, PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Params, Version};
use parking_lot::{Condvar, Mutex};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::oneshot;

pub use super::hash_queue::Requester;

use super::hash_queue::{HashQueue, Place};
use super::hasher::Hasher;
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
    hasher: Hasher,
    /// Verified in place of the hash of an unknown username, so that both cost the same.
    dummy: Arc<str>,
    threads: Arc<Threads>,
}

/// Ends the threads once the last clone is dropped.
///
/// Not a blocking pool: a hash takes 19 MiB, and each thread that ever computed one keeps that memory (`hasher`), so the
/// many threads of a pool would keep hundreds of them.
struct Threads(Arc<Shared>);

/// What the threads and the requests share.
struct Shared {
    state: Mutex<State>,
    /// A request waits, or the threads are to end.
    changed: Condvar,
    /// Requests that may run or wait.
    places: usize,
}

#[derive(Default)]
struct State {
    queue: HashQueue<Job>,
    running: usize,
    is_closed: bool,
}

/// What becomes of a request.
enum Turn {
    /// It is computed now.
    Run,
    /// It lost its place to another one.
    Displaced,
}

type Job = Box<dyn FnOnce(Turn) + Send>;

impl Passwords {
    /// A hasher with the configured parameters. It computes one hash, which takes some 20 ms.
    pub fn new(config: &Auth) -> Result<Self, PasswordError> {
        let params = Params::new(config.argon2_memory_kib, config.argon2_iterations, config.argon2_parallelism, None)
            .map_err(password_hash::Error::from)?;
        let hasher = Hasher::new(params);
        let at_once = match config.hashes_at_once {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            n => n,
        };
        let places = at_once + config.hashes_queued_max;
        let (state, changed) = (Mutex::default(), Condvar::new());
        let shared = Arc::new(Shared { state, changed, places });
        for _ in 0..at_once {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || shared.run());
        }
        Ok(Self {
            dummy: hash(&hasher, &SecretString::from("nobody has this password"))?.into(),
            hasher,
            threads: Arc::new(Threads(shared)),
        })
    }

    /// How many hashes are being computed, and how many requests wait.
    #[must_use]
    pub fn load(&self) -> (usize, usize) {
        let state = self.threads.0.state.lock();
        (state.running, state.queue.len())
    }

    /// A new salted hash, as a PHC string to be stored.
    pub async fn hash(&self, by: &Requester, password: SecretString) -> Result<String, PasswordError> {
        let hasher = self.hasher.clone();
        self.in_turn(by, move || hash(&hasher, &password)).await
    }

    /// Compares the password with a stored hash. Without one, the username is unknown: that costs the same and never
    /// matches.
    pub async fn verify(
        &self,
        by: &Requester,
        password: SecretString,
        stored: Option<String>,
    ) -> Result<PasswordCheck, PasswordError> {
        let (hasher, dummy) = (self.hasher.clone(), Arc::clone(&self.dummy));
        self.in_turn(by, move || match stored {
            Some(stored) => verify(&hasher, &password, &stored),
            None => verify(&hasher, &password, &dummy).map(|_| PasswordCheck { matches: false, needs_rehash: false }),
        })
        .await
    }

    async fn in_turn<T: Send + 'static>(
        &self,
        by: &Requester,
        work: impl FnOnce() -> Result<T, PasswordError> + Send + 'static,
    ) -> Result<T, PasswordError> {
        let (answer, answered) = oneshot::channel();
        self.threads.0.submit(
            by,
            Box::new(move |turn| {
                // No hash is computed for a caller that has gone away meanwhile.
                if !answer.is_closed() {
                    let _ = answer.send(match turn {
                        Turn::Run => work(),
                        Turn::Displaced => Err(PasswordError::Busy),
                    });
                }
            }),
        );
        answered.await.map_err(|_| PasswordError::Interrupted)?
    }
}

impl Shared {
    fn submit(&self, by: &Requester, job: Job) {
        let place = {
            let mut state = self.state.lock();
            let waiting_max = self.places.saturating_sub(state.running);
            state.queue.push(by, job, waiting_max)
        };
        match place {
            Place::Free => {
                self.changed.notify_one();
            }
            Place::Of(lost) | Place::None(lost) => lost(Turn::Displaced),
        }
    }

    /// Computes one hash after another, until the last `Passwords` is dropped.
    fn run(&self) {
        let mut state = self.state.lock();
        loop {
            if state.is_closed {
                return;
            }
            let Some(job) = state.queue.pop() else {
                self.changed.wait(&mut state);
                continue;
            };
            state.running += 1;
            drop(state);
            // A job that panics drops its answer; the thread goes on.
            let _ = std::panic::catch_unwind(AssertUnwindSafe(|| job(Turn::Run)));
            state = self.state.lock();
            state.running -= 1;
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.is_closed = true;
        state.queue = HashQueue::default();
        drop(state);
        self.0.changed.notify_all();
    }
}

fn hash(hasher: &Hasher, password: &SecretString) -> Result<String, PasswordError> {
    Ok(hasher.hash_password(password.expose_secret().as_bytes())?.to_string())
}

fn verify(hasher: &Hasher, password: &SecretString, stored: &str) -> Result<PasswordCheck, PasswordError> {
    let stored = PasswordHash::new(stored).map_err(password_hash::Error::from)?;
    let matches = match hasher.verify_password(password.expose_secret().as_bytes(), &stored) {
        Ok(()) => true,
        Err(password_hash::Error::PasswordInvalid) => false,
        Err(e) => return Err(e.into()),
    };
    let (configured, used) = (hasher.params(), Params::try_from(&stored)?);
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

    fn by(address: u8, username: &str) -> Requester {
        Requester { address: std::net::Ipv4Addr::new(10, 0, 0, address).into(), username: username.to_owned() }
    }

    fn ann() -> Requester {
        by(1, "ann")
    }

    fn secret(text: &str) -> SecretString {
        SecretString::from(text)
    }

    #[tokio::test]
    async fn only_the_same_password_matches() {
        let passwords = Passwords::new(&auth(64, 1, 1)).unwrap();
        let stored = passwords.hash(&ann(), secret(" 비밀번호 🔑 ")).await.unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=64,t=1,p=1$"), "{stored}");
        for (given, matches) in [(" 비밀번호 🔑 ", true), ("비밀번호 🔑", false), ("", false)] {
            let check = passwords.verify(&ann(), secret(given), Some(stored.clone())).await.unwrap();
            assert_eq!(check, PasswordCheck { matches, needs_rehash: false });
        }
    }

    #[tokio::test]
    async fn a_hash_with_other_parameters_matches_and_needs_a_rehash() {
        let stored = Passwords::new(&auth(64, 1, 1)).unwrap().hash(&ann(), secret("the password")).await.unwrap();
        let stronger = Passwords::new(&auth(128, 1, 1)).unwrap();
        let check = stronger.verify(&ann(), secret("the password"), Some(stored)).await.unwrap();
        assert_eq!(check, PasswordCheck { matches: true, needs_rehash: true });
    }

    #[tokio::test]
    async fn an_unknown_username_never_matches() {
        let passwords = Passwords::new(&auth(64, 1, 1)).unwrap();
        let check = passwords.verify(&ann(), secret("nobody has this password"), None).await.unwrap();
        assert_eq!(check, PasswordCheck { matches: false, needs_rehash: false });
    }

    #[tokio::test]
    async fn an_unreadable_hash_is_an_error_and_not_a_mismatch() {
        let passwords = Passwords::new(&auth(64, 1, 1)).unwrap();
        for stored in ["", "plain", "$argon2id$v=19$m=64,t=1,p=1$AAAA"] {
            let result = passwords.verify(&ann(), secret("x"), Some(stored.to_owned())).await;
            assert!(matches!(result, Err(PasswordError::Hash(_))), "{stored}: {result:?}");
        }
    }

    #[tokio::test]
    async fn a_full_queue_refuses_and_accepts_again_once_it_is_empty() {
        let passwords = Passwords::new(&auth(8192, 1, 2)).unwrap();
        // Polled in order without a pause: the first runs, two wait, the fourth finds no place.
        let ann = ann();
        let all = (0..4).map(|_| passwords.hash(&ann, secret("the password")));
        let all = futures_util::future::join_all(all).await;
        let refused = all.iter().filter(|result| matches!(result, Err(PasswordError::Busy))).count();
        assert_eq!((refused, all.iter().filter(|result| result.is_ok()).count()), (1, 3));
        assert!(passwords.hash(&ann, secret("the password")).await.is_ok());
    }

    /// Keeps the only thread busy until the sender is dropped.
    fn occupy(passwords: &Passwords) -> std::sync::mpsc::Sender<()> {
        let (go_on, waits) = std::sync::mpsc::channel::<()>();
        passwords.threads.0.submit(&ann(), Box::new(move |_| assert!(waits.recv().is_err())));
        while passwords.load() != (1, 0) {
            std::thread::yield_now();
        }
        go_on
    }

    #[tokio::test]
    async fn a3_a_flood_of_one_address_is_refused_and_another_address_is_served() {
        let passwords = Passwords::new(&auth(64, 1, 4)).unwrap();
        let go_on = occupy(&passwords);
        let flood = |_| {
            tokio::spawn({
                let passwords = passwords.clone();
                async move { passwords.hash(&ann(), secret("x")).await }
            })
        };
        let flood: Vec<_> = (0..10).map(flood).collect();
        while passwords.load() != (1, 4) || flood.iter().filter(|one| one.is_finished()).count() < 6 {
            tokio::task::yield_now().await;
        }
        let (bob, at_the_same_address) = (by(2, "bob"), by(1, "cat"));
        let served = async {
            tokio::join!(passwords.hash(&bob, secret("x")), passwords.hash(&at_the_same_address, secret("x")))
        };
        let (bob, cat) = tokio::join!(served, async { drop(go_on) }).0;
        assert!(bob.is_ok() && cat.is_ok());
        let mut busy = 0;
        for one in flood {
            busy += usize::from(matches!(one.await.unwrap(), Err(PasswordError::Busy)));
        }
        assert_eq!(busy, 8, "two of the four that waited gave their places away");
    }

    #[tokio::test]
    async fn no_hash_is_computed_for_a_caller_that_went_away() {
        let passwords = Passwords::new(&auth(64, 1, 1)).unwrap();
        let go_on = occupy(&passwords);
        let waiting = tokio::spawn({
            let passwords = passwords.clone();
            async move { passwords.hash(&ann(), secret("the password")).await }
        });
        while passwords.load() != (1, 1) {
            tokio::task::yield_now().await;
        }
        assert!(matches!(passwords.hash(&ann(), secret("x")).await, Err(PasswordError::Busy)));
        waiting.abort();
        assert!(waiting.await.unwrap_err().is_cancelled());
        drop(go_on);
        while passwords.load() != (0, 0) {
            tokio::task::yield_now().await;
        }
        assert!(passwords.hash(&ann(), secret("x")).await.is_ok());
    }

    #[test]
    fn hashes_are_computed_for_a_caller_on_an_actix_worker() {
        let passwords = Passwords::new(&auth(64, 1, 1)).unwrap();
        let stored = actix_web::rt::System::new().block_on(async move { passwords.hash(&ann(), secret("x")).await });
        assert!(stored.is_ok());
    }
}
