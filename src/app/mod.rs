//! The composition root: reads the configuration, makes every part, gives each its own section, and runs them until they
//! are told to stop.

mod cluster;
mod drain;
mod listen;
mod open;

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use actix::{Actor, Arbiter};
use actix_web::rt::task::JoinHandle;
use actix_web::web;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use secrecy::ExposeSecret;
use tokio::sync::Semaphore;

use crate::auth::password::{PasswordError, Passwords};
use crate::auth::token::Tokens;
use crate::broker;
use crate::cluster::Cluster;
use crate::cluster::presence::Presence;
use crate::cluster::receipts::Receipts;
use crate::config;
use crate::config::{Config, ConfigError};
use crate::connections::registry::ConnectionRegistry;
pub use crate::http::documents::{asyncapi_text as asyncapi, openapi_text as openapi};
use crate::http::{Deletion, Rules, State};
use crate::limits::Limits;
use crate::metrics::delivery::Refused;
use crate::push::notifier;
use crate::push::notifier::supervisor::NotifierSupervisor;
use crate::push::notifier::{Counters, Notifier};
use crate::push::{Pusher, fcm};
use crate::rooms::registry::{Registry, RoomParts, Threads};
use crate::store::change_feed::Watch;
use crate::store::{OpenError, Options, Store};

/// A room that had nothing to do for so long gives its memory back.
const ROOM_IDLE: Duration = Duration::from_secs(60);
/// Open files that the server asks for.
const OPEN_FILES: u64 = 1_048_576;
/// Why the server could not run; each text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("the password hasher cannot start")]
    Passwords(#[from] PasswordError),
    #[error("cannot listen on {address}; is something else there? Set PORT or HYPER_CHAT__SERVER__HOST")]
    Listen { address: String, source: std::io::Error },
    #[error("Redis cannot be used")]
    Broker(#[from] broker::redis::Refused),
    #[error("a part of the server has failed, as the log says above; start it again")]
    Part,
    #[error("the HTTP server failed")]
    Http(#[source] std::io::Error),
}

/// `hyper-chat serve`: runs until SIGTERM or SIGINT, then drains.
pub async fn serve(config: Config) -> Result<(), RunError> {
    let mut stop = drain::Stop::listen();
    raise_open_files();
    outlive_file_size_limit();
    let listener = listen::bind(&config)?;
    let application = tokio::select! {
        built = Application::build(&config, listener) => built?,
        () = stop.asked() => return Ok(()),
    };
    application.run_until(stop).await
}

/// `hyper-chat migrate`.
pub async fn migrate(config: Config) -> Result<(), RunError> {
    Store::migrate(&store_options(&config)).await?;
    tracing::info!("the schema is up to date");
    Ok(())
}

/// A server that is listening and not yet run.
struct Application {
    state: web::Data<State>,
    notifier: Arc<NotifierSupervisor>,
    presence: Arc<Presence>,
    receipts: Arc<Receipts>,
    /// Where there are other instances.
    others: Option<(Arc<Cluster>, broker::Worker, Watch)>,
    server: actix_web::dev::Server,
    drain_max: Duration,
    clean_up_every: Duration,
}

impl Application {
    /// Makes every part and serves the listener.
    async fn build(config: &Config, listener: TcpListener) -> Result<Self, RunError> {
        warn_of_lost_disk(config);
        let secret = config.jwt_secret()?;
        let writer = listen::Writer::default();
        let store = Arc::new(open::open(config, &listener, &writer).await?);
        let (broker, hearing) = cluster::open_relay(config, &secret)?;
        let connections = Arc::new(ConnectionRegistry::new(config.limits.sockets_per_chatter, broker));
        let notifier = start_notifier(config, &store, &connections);
        let parts = RoomParts {
            store: store.clone(),
            connections: connections.clone(),
            notifier: notifier.clone(),
            idle: ROOM_IDLE,
        };
        let presence = Presence::new(store.clone(), connections.clone());
        let receipts = Receipts::new(store.clone(), connections.clone());
        store.writer().watch(receipts.clone());
        let threads = Threads::default();
        let state = web::Data::new(State {
            store,
            registry: Registry::new(parts, threads.clone()),
            connections,
            limits: Arc::new(Limits::new(&config.limits)),
            passwords: Passwords::new(&config.auth)?,
            tokens: Arc::new(Tokens::new(
                &secret,
                &config.auth.jwt_issuer,
                &config.auth.jwt_audience,
                token_ttl(config),
            )),
            rules: rules(config),
            turns: Arc::new(Semaphore::new((config.database.connections_max as usize / 2).max(2))),
            draining: Arc::new(AtomicBool::new(false)),
            refused: Refused::default(),
            notifier: notifier.clone(),
        });
        let others = match hearing {
            // Before there are sockets: they shall miss nothing.
            Some(hearing) => {
                Some((cluster::cluster(config, &state, &receipts, &presence), hearing, cluster::watch(&state).await))
            }
            None => None,
        };
        let server = listen::listen(config, listener, state.clone(), threads, writer)?;
        let drain_max = Duration::from_millis(config.server.drain_ms);
        let clean_up_every = Duration::from_secs(config.cleanup.interval_s);
        Ok(Self { state, notifier, presence, receipts, others, server, drain_max, clean_up_every })
    }

    /// Serves until SIGTERM or SIGINT, then drains and ends.
    async fn run_until(self, mut stop: drain::Stop) -> Result<(), RunError> {
        let Self { state, notifier, presence, receipts, others, server, drain_max, clean_up_every } = self;
        let cleaner = actix_web::rt::spawn(clean_up(state.clone(), clean_up_every));
        let keeper = actix_web::rt::spawn(keep(notifier.clone()));
        let asker = actix_web::rt::spawn({
            let notifier = notifier.clone();
            async move { notifier.ask_for_ever().await }
        });
        let teller = actix_web::rt::spawn(presence.clone().run());
        let counter = actix_web::rt::spawn(receipts.run());
        let hearer = actix_web::rt::spawn(async move {
            if let Some((cluster, hearing, watch)) = others {
                cluster.run(hearing, watch).await;
            }
        });
        let handle = server.handle();
        let mut drainer = actix_web::rt::spawn(async move {
            stop.asked().await;
            drain::drain(&state, &notifier, &presence, &handle, drain_max).await;
        });
        let mut parts = [cleaner, keeper, asker, teller, counter, hearer];
        let ended = tokio::select! {
            ended = server => ended.map_err(RunError::Http),
            () = fails(parts.iter_mut().chain([&mut drainer])) => return Err(RunError::Part),
        };
        for part in parts {
            part.abort();
        }
        if ended.is_ok() {
            // The server ends inside the drain; the rest of it is short.
            let _ = drainer.await;
        }
        ended
    }
}

/// Waits until one of these has failed. Some end by themselves, where an instance is alone.
async fn fails(parts: impl Iterator<Item = &mut JoinHandle<()>>) {
    let mut parts: FuturesUnordered<_> = parts.collect();
    while let Some(ended) = parts.next().await {
        if ended.is_err() {
            return;
        }
    }
    std::future::pending().await
}

/// Takes away what has expired, now and then.
async fn clean_up(state: web::Data<State>, every: Duration) {
    let mut timer = actix_web::rt::time::interval(every);
    loop {
        timer.tick().await;
        state.limits.forget_idle();
        match state.store.clean_up().await {
            Ok(0) => {}
            Ok(sign_ins) => tracing::info!(sign_ins, "expired rows taken away"),
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "the clean-up waits for the database")
            }
        }
    }
}

fn start_notifier(config: &Config, store: &Store, connections: &Arc<ConnectionRegistry>) -> Arc<NotifierSupervisor> {
    let settings = notifier::Settings {
        grace: Duration::from_millis(config.push.grace_ms),
        lease: Duration::from_millis(config.push.lease_ms),
        expiry: Duration::from_secs(config.push.expiry_h * 3_600),
        ..notifier::Settings::default()
    };
    let fcm = fcm::Settings {
        service_account: config.fcm.service_account.clone(),
        base_url: config.fcm.base_url.clone(),
        ..fcm::Settings::default()
    };
    let (outbox, pusher, counters) = (store.outbox(), Arc::new(Pusher::open(&fcm)), Arc::new(Counters::default()));
    let (connections, thread, broker) = (connections.clone(), Arbiter::current(), connections.broker().clone());
    Arc::new(NotifierSupervisor::new(broker, counters.clone(), move || {
        let connections = connections.clone();
        let live: notifier::HasLiveSocket = Arc::new(move |chatter| connections.is_connected_here(chatter));
        let (outbox, pusher, settings, counters) = (outbox.clone(), pusher.clone(), settings.clone(), counters.clone());
        Notifier::start_in_arbiter(&thread, move |_| Notifier::new(outbox, pusher, live, settings, counters))
    }))
}

/// Looks now and then whether the notifier is still there.
async fn keep(notifier: Arc<NotifierSupervisor>) {
    let mut timer = actix_web::rt::time::interval(Duration::from_secs(5));
    loop {
        timer.tick().await;
        notifier.look();
    }
}

fn store_options(config: &Config) -> Options {
    Options {
        url: config.database.url.expose_secret().to_owned(),
        migrate: config.database.migrate_on_start,
        migration_wait: Duration::from_secs(config.database.migration_wait_s),
        connections_max: config.database.connections_max,
        hears_others: config.redis.url.is_some(),
        unsafe_durability: config.database.unsafe_durability,
        push_grace: Duration::from_millis(config.push.grace_ms),
    }
}

fn token_ttl(config: &Config) -> Duration {
    Duration::from_secs(config.auth.token_ttl_s)
}

fn rules(config: &Config) -> Rules {
    Rules {
        allowed_origins: config.server.allowed_origins.clone(),
        proxy_hops: config.server.proxy_hops,
        token_ttl: token_ttl(config),
        public_directory: config.accounts.public_directory,
        deletion: match config.accounts.deletion {
            config::Deletion::Anonymise => Deletion::Anonymise,
            config::Deletion::Cascade => Deletion::Cascade,
        },
        socket_queue_bytes: config.limits.socket_queue_bytes,
        frame_bytes: config.limits.frame_bytes,
        body_bytes: config.limits.body_bytes,
    }
}

/// A file that may not grow any more (RLIMIT_FSIZE) is an error to be answered, as a full disk is, and not the end.
fn outlive_file_size_limit() {
    use tokio::signal::unix::{SignalKind, signal};
    // SIGXFSZ on Linux and the BSDs. Whoever registers takes the default away, for good.
    if let Err(error) = signal(SignalKind::from_raw(25)) {
        tracing::debug!(%error, "a limit of file sizes would end the process");
    }
}

fn raise_open_files() {
    let Ok((soft, hard)) = rlimit::Resource::NOFILE.get() else { return };
    let wanted = OPEN_FILES.min(hard);
    if soft < wanted
        && let Err(error) = rlimit::Resource::NOFILE.set(wanted, hard)
    {
        tracing::warn!(%error, soft, "the limit of open files stays as it is; each socket needs one");
    }
}

/// A platform that sets PORT usually throws the disk away with the process.
fn warn_of_lost_disk(config: &Config) {
    let on_file = crate::store::sqlite_path(config.database.url.expose_secret()).is_some();
    if on_file && std::env::var_os("DYNO").is_some() {
        tracing::warn!(
            "the database is a file on a disk that this platform throws away at every restart: set DATABASE_URL to PostgreSQL"
        );
    }
}
