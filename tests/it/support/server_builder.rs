//! What a test server is started with: environment variables, its database, its Redis, and how many instances it has.

use std::collections::BTreeMap;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::database::{Db, sqlite_url};
use super::dice::{Dice, given_seed};
use super::fcm::FcmStandIn;
use super::instance::{Instance, READY_WAIT};
use super::postgres::fresh_database;
use super::reaper;
use super::redis_groups::OwnRedis;
use super::secrets::{JWT_SECRET, Secrets};
use super::server::TestServer;

/// Another process may take the port between the choice and the bind.
const PORTS_TRIED_MAX: usize = 5;
/// How many processes `Db::Cluster` has.
const CLUSTER: usize = 2;

/// The settings of a server that is not started yet.
pub struct ServerBuilder {
    db: Db,
    database_url: Option<String>,
    env: BTreeMap<String, String>,
    /// Set if the REDIS_URL of the instances differ, or the test brings its own Redis.
    redis_urls: Option<Vec<String>>,
    /// Variables of one instance only.
    own_env: Vec<(usize, String, String)>,
    seed: Option<u64>,
}

impl ServerBuilder {
    /// The settings that most tests want: cheap passwords, no rate limits, a detailed log.
    pub fn new(db: Db) -> Self {
        let builder =
            Self { db, database_url: None, env: BTreeMap::new(), redis_urls: None, own_env: Vec::new(), seed: None };
        builder
            .set("AUTH__JWT_SECRET", JWT_SECRET)
            .set("AUTH__ARGON2_MEMORY_KIB", 8)
            .set("AUTH__ARGON2_ITERATIONS", 1)
            .set("ACCOUNTS__PUBLIC_DIRECTORY", true)
            .set("LIMITS__SEND_PER_S", 0)
            .set("LIMITS__SIGN_IN_PER_MIN", 0)
            .set("LIMITS__SIGN_UP_PER_MIN", 0)
            .set("LIMITS__SEARCHES_PER_MIN", 0)
            .set("LIMITS__ROOMS_PER_HOUR", 0)
            .set("LIMITS__OPEN_PAGES_PER_MIN", 0)
            .set("LOG__FILTER", "debug")
            // Rooms and sockets on several threads, however small the machine.
            .set("SERVER__WORKERS", 2)
    }

    /// Sets a variable; `LIMITS__SEND_PER_S` stands for `HYPER_CHAT__LIMITS__SEND_PER_S`.
    pub fn set(mut self, key: &str, value: impl ToString) -> Self {
        self.env.insert(format!("HYPER_CHAT__{key}"), value.to_string());
        self
    }

    /// Sets a variable by its full name.
    pub fn env(mut self, name: &str, value: impl ToString) -> Self {
        self.env.insert(name.to_owned(), value.to_string());
        self
    }

    /// Removes a variable that the tests set by default.
    pub fn unset(mut self, key: &str) -> Self {
        self.env.remove(&format!("HYPER_CHAT__{key}"));
        self
    }

    /// Sets a variable by its full name for this instance only.
    pub fn env_of(mut self, instance: usize, name: &str, value: impl ToString) -> Self {
        self.own_env.push((instance, name.to_owned(), value.to_string()));
        self
    }

    /// Chooses the instance of each request by this seed instead of a random one.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Pushes go to this stand-in of FCM, with its key.
    pub fn pushes_to(self, fcm: &FcmStandIn) -> Self {
        self.set("FCM__SERVICE_ACCOUNT", fcm.service_account_path().display()).set("FCM__BASE_URL", fcm.base_url())
    }

    /// Uses this database instead of a fresh one.
    pub fn database_url(mut self, url: impl Into<String>) -> Self {
        self.database_url = Some(url.into());
        self
    }

    /// The REDIS_URL of each instance of a cluster, instead of a Redis that the cluster brings.
    pub fn redis_urls(mut self, urls: impl IntoIterator<Item = String>) -> Self {
        self.redis_urls = Some(urls.into_iter().collect());
        self
    }

    /// Starts it and waits until it is ready.
    pub async fn start(self) -> TestServer {
        let mut server = self.prepared().await;
        for instance in &mut server.instances {
            instance.launch();
            start_up(instance).await;
        }
        server.port = server.instances[0].port;
        if server.redis.is_some() {
            server.wait_until_redis_is_reached().await;
        }
        server
    }

    /// Starts all instances at once without waiting; for a server that will not become ready.
    pub async fn launch(self) -> TestServer {
        let mut server = self.prepared().await;
        server.launch();
        server
    }

    /// Runs a command of the binary to its end within 20 s: its status, standard output, and log.
    pub async fn run(self, args: &[&str]) -> (ExitStatus, String, String) {
        let server = self.prepared().await;
        let mut child =
            server.instances[0].command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
        let pid = child.id();
        let end = tokio::task::spawn_blocking(move || {
            let limit = Instant::now() + READY_WAIT;
            let stdout = drain(child.stdout.take());
            let stderr = drain(child.stderr.take());
            while Instant::now() < limit {
                if let Some(status) = child.try_wait().expect("own child") {
                    return Some((status, stdout.join().expect("read"), stderr.join().expect("read")));
                }
                std::thread::sleep(Duration::from_millis(10));
            }
            child.kill().ok();
            child.wait().ok();
            None
        });
        end.await.expect("no panic").unwrap_or_else(|| panic!("{args:?} (pid {pid}) did not end within {READY_WAIT:?}"))
    }

    async fn prepared(self) -> TestServer {
        let folder = tempfile::Builder::new().prefix("hyper-chat-it-").tempdir().expect("a temp folder");
        reaper::remove_at_exit(folder.path());
        let database_url = match (self.database_url, self.db) {
            (Some(url), _) => url,
            (None, Db::Sqlite) => sqlite_url(&folder.path().join("hyper_chat.db")),
            (None, Db::Postgres | Db::Cluster) => fresh_database().await,
        };
        let own = match self.db == Db::Cluster && self.redis_urls.is_none() {
            true => Some(OwnRedis::start().await),
            false => None,
        };
        let redis_urls = match (&own, self.redis_urls) {
            (Some(redis), _) => vec![redis.url(); CLUSTER],
            (None, urls) => urls.unwrap_or_default(),
        };
        let mut env = self.env;
        env.insert("DATABASE_URL".to_owned(), database_url.clone());
        let secrets = Secrets::default();
        let instances: Vec<_> = (0..redis_urls.len().max(1))
            .map(|number| {
                let url = redis_urls.get(number).map(|url| ("REDIS_URL".to_owned(), url.clone()));
                let own = self.own_env.iter().filter(|(of, ..)| *of == number);
                let own = own.map(|(_, name, value)| (name.clone(), value.clone()));
                let env = env.clone().into_iter().chain(url).chain(own).collect();
                Instance::new(number, folder.path().to_owned(), env, secrets.clone())
            })
            .collect();
        let seed = self.seed.unwrap_or_else(seed);
        let dice = Arc::new(Mutex::new(Dice::new(seed, 0)));
        let port = instances[0].port;
        TestServer { db: self.db, database_url, port, folder, instances, redis: own, seed, dice, secrets }
    }
}

/// The seed that chooses instances; `HYPER_CHAT_TEST_SEED` repeats one.
fn seed() -> u64 {
    given_seed().unwrap_or_else(rand::random)
}

async fn start_up(instance: &mut Instance) {
    for _ in 0..PORTS_TRIED_MAX {
        match instance.wait_ready().await {
            Ok(()) => return,
            Err(log) if log.contains("in use") => {
                instance.choose_another_port();
                instance.launch();
            }
            Err(log) => panic!("the server did not start:\n{log}"),
        }
    }
    panic!("no port could be bound in {PORTS_TRIED_MAX} tries");
}

fn drain(pipe: Option<impl std::io::Read + Send + 'static>) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut text = Vec::new();
        if let Some(mut pipe) = pipe {
            pipe.read_to_end(&mut text).ok();
        }
        String::from_utf8_lossy(&text).into_owned()
    })
}
