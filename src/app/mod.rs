//! The composition root: builds every part from its section of the configuration, and runs them until SIGTERM.

mod cluster;
mod commands;
mod drain;
mod listen;
mod listener;
mod new_epoch;
mod open;
mod process;
mod settings;
mod sockets;
mod tasks;
mod timers;

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Arbiter, System};
use actix_web::web;

use crate::auth::issuers::{ClientError, Issuers};
use crate::auth::password::{PasswordError, Passwords};
use crate::auth::token::Tokens;
use crate::broker;
use crate::cluster::Cluster;
use crate::cluster::access::AccessCheck;
use crate::cluster::presence::Presence;
use crate::cluster::receipts::Receipts;
use crate::config::{Config, ConfigError};
use crate::http::State;
pub use crate::http::documents::{ASYNCAPI_TEXT, OPENAPI_TEXT};
use crate::http::search_turns::SearchTurns;
use crate::limits::Limits;
use crate::metrics::{Counts, PushMetrics};
use crate::problem::Code;
use crate::push::notifier;
use crate::push::notifier::Notifier;
use crate::push::notifier::gauges;
use crate::push::notifier::supervisor::NotifierSupervisor;
use crate::push::pusher::Pusher;
use crate::rooms::registry::{Registry, Threads};
use crate::service::bearers::Bearers;
use crate::sessions::turns::Turns;
use crate::store::change_feed::FeedPosition;
use crate::store::restore::RestoreError;
use crate::store::{BackupError, OpenError, Store};
pub use crate::store::{Mend, Report};
use crate::telemetry::audit;
use crate::telemetry::audit::Audit;
pub use commands::{backup, begin_epoch, check, epoch, migrate, restore};
use listener::Listener;
use sockets::Sockets;
use tasks::Tasks;

/// Lists of which a page is read and encoded at a time; a chatter has a quarter of them.
const LISTS_MAX: usize = 64;
/// How often the supervisor checks that the notifier is alive.
const SUPERVISE_EVERY: Duration = Duration::from_secs(5);

/// Why the server could not run, each with what to do.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The secret that signs tokens can be neither read nor created.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The database cannot be opened, or its schema does not fit this program.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// There is no backup.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// The backup could not be put in place.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// Argon2id (RFC 9106) refuses its configured parameters.
    #[error("the password hasher cannot start")]
    Passwords(#[from] PasswordError),
    /// No keys of identity providers can be fetched.
    #[error(transparent)]
    Issuers(#[from] ClientError),
    /// The address cannot be bound.
    #[error("cannot listen on {address}; {}", listener::hint(address, source))]
    Listen {
        /// `server.host` and `server.port`, as `HOST:PORT`, or `unix:PATH`.
        address: String,
        /// The reason that the operating system gave.
        source: std::io::Error,
    },
    /// The URL of Redis, or the secret that signs the messages, cannot be used.
    #[error("Redis cannot be used")]
    Broker(#[from] broker::redis::SettingsError),
    /// The background task of this name panicked.
    #[error("the task \"{0}\" failed, as the log says above; start the server again")]
    Task(&'static str),
    /// The HTTP server ended with an error of the operating system.
    #[error("the HTTP server failed")]
    Http(#[source] std::io::Error),
}

impl RunError {
    /// Whether the settings are at fault: no further start with them succeeds.
    #[must_use]
    pub fn is_setting(&self) -> bool {
        match self {
            Self::Config(_) | Self::Broker(_) => true,
            Self::Open(error) => error.is_setting(),
            _ => false,
        }
    }
}

/// `hyper-chat serve`: runs until SIGTERM, SIGINT or SIGHUP, then drains. Blocks the thread, on which it starts an actix
/// system.
pub fn serve(config: Config) -> Result<(), RunError> {
    System::new().block_on(async {
        let mut stop = drain::Stop::listen();
        process::raise_open_files();
        process::survive_file_size_limit();
        // The file of a socket lasts until everything has ended.
        let (listener, _file) = listener::bind(&config)?;
        let application = tokio::select! {
            built = Application::build(&config, listener) => built?,
            () = stop.requested() => return Ok(()),
        };
        application.run_until(stop).await
    })
}

/// A server that listens and does not run yet.
struct Application {
    state: web::Data<State>,
    notifier: Arc<NotifierSupervisor>,
    presence: Arc<Presence>,
    receipts: Arc<Receipts>,
    access: Arc<AccessCheck>,
    /// Only where there are other instances.
    cluster: Option<(Arc<Cluster>, broker::redis::RedisWorker, FeedPosition)>,
    server: actix_web::dev::Server,
    drain_max: Duration,
    clean_up_every: Duration,
}

impl Application {
    /// Builds every part and starts the HTTP server on the listener.
    async fn build(config: &Config, listener: Listener) -> Result<Self, RunError> {
        process::warn_of_lost_disk(config);
        process::warn_of_one_address(config);
        cluster::check_broker(config)?;
        let writer = listen::Writer::default();
        let store = Arc::new(open::open(config, &listener, &writer).await?);
        // Behind the database: a start that cannot open it leaves no secret beside it.
        let secrets = config.signing_secrets()?;
        process::warn_of_readable_files(config);
        let (broker, inbound) = cluster::open_broker(config, &secrets, &store)?;
        let sockets = Sockets::new(config, broker);
        let notifier = start_notifier(config, &store, &sockets);
        let presence = sockets.presence(&store);
        let receipts = Receipts::new(store.clone(), sockets.broadcaster.clone(), sockets.broker.clone());
        store.writer().observe_watermarks(receipts.clone());
        let end = new_epoch::EndOfEpoch {
            store: Arc::downgrade(&store),
            connections: sockets.connections.clone(),
            receipts: receipts.clone(),
        };
        store.epochs().observe(Arc::new(end));
        let threads = Threads::default();
        let registry = Registry::new(sockets.room_parts(&store, &notifier), threads.clone());
        let limits = Arc::new(Limits::new(&config.limits));
        let (issuer, audience) = (&config.auth.jwt_issuer, &config.auth.jwt_audience);
        let tokens = Arc::new(Tokens::new(&secrets, issuer, audience, settings::token_ttl(config)));
        let (issuers, audit) = (Arc::new(Issuers::new(&config.auth.issuers)?), Arc::new(Audit::default()));
        let bearers = Arc::new(Bearers::new(tokens.clone(), issuers, store.clone(), audit.clone()));
        let sessions = sockets.session_parts(config, &store, &registry, &limits, &bearers);
        let service = Arc::new(sockets.service(&store, &registry));
        let Sockets { connections, broadcaster, broker, presence_changes, drain, metrics } = sockets;
        let state = web::Data::new(State {
            search_turns: SearchTurns::new(sessions.bulk.clone()),
            store,
            registry,
            connections,
            service,
            broadcaster,
            broker,
            presence_changes,
            drain,
            sessions,
            delivery_metrics: metrics,
            limits,
            lists: Arc::new(Turns::new(LISTS_MAX)),
            places: Arc::default(),
            passwords: Passwords::new(&config.auth)?,
            tokens,
            bearers,
            rules: settings::http(config),
            refused: Counts::new(Code::ALL.len()),
            audit,
            notifier: notifier.clone(),
        });
        audit::started(&state.store.epochs().name(), secrets.all().count() - 1);
        let access = Arc::new(AccessCheck::new(state.store.clone(), state.connections.clone()));
        let cluster = match inbound {
            // The feed begins before the first socket, so that no socket misses a change.
            Some(inbound) => Some((
                cluster::cluster(config, &state, &receipts, &presence, &access),
                inbound,
                cluster::feed_position(&state).await,
            )),
            None => None,
        };
        let server = listen::listen(config, listener, state.clone(), threads, writer)?;
        let drain_max = Duration::from_millis(config.server.drain_ms);
        let clean_up_every = Duration::from_secs(config.cleanup.interval_s);
        Ok(Self { state, notifier, presence, receipts, access, cluster, server, drain_max, clean_up_every })
    }

    /// Serves until SIGTERM, SIGINT or SIGHUP, then drains and ends.
    async fn run_until(self, mut stop: drain::Stop) -> Result<(), RunError> {
        let Self { state, notifier, presence, receipts, access, cluster, server, drain_max, clean_up_every } = self;
        let mut tasks = Tasks::default();
        tasks.spawn("clean-up", timers::clean_up(state.clone(), clean_up_every));
        tasks.spawn("audit", timers::report_unlogged(state.clone()));
        let service = state.service.clone();
        tasks.spawn("deletions", async move { service.delete_in_background().await });
        tasks.spawn("epoch", new_epoch::check(state.clone()));
        tasks.spawn("notifier supervisor", supervise(notifier.clone()));
        let (outbox, measured) = (state.store.outbox(), notifier.clone());
        tasks.spawn("push gauges", async move { gauges::measure(&outbox, measured.metrics()).await });
        let hints = notifier.clone();
        tasks.spawn("push hints", async move { hints.run().await });
        tasks.spawn("presence", presence.clone().run());
        tasks.spawn("receipts", receipts.run());
        let bearers = state.bearers.clone();
        tasks.spawn("issuers", async move { bearers.issuers().run().await });
        tasks.spawn("access", async move { access.run().await });
        if let Some((cluster, inbound, position)) = cluster {
            tasks.spawn("cluster", async move { cluster.run(inbound, position).await });
        }
        let handle = server.handle();
        let mut drainer = actix_web::rt::spawn(async move {
            stop.requested().await;
            drain::drain(&state, &notifier, &presence, &handle, drain_max).await;
            state.audit.report_last();
        });
        let ended = tokio::select! {
            ended = server => ended.map_err(RunError::Http),
            name = tasks.failed() => return Err(RunError::Task(name)),
            Err(_) = &mut drainer => return Err(RunError::Task("drain")),
        };
        tasks.abort();
        if ended.is_ok() {
            // The server ends inside the drain; the rest of it is short.
            let _ = drainer.await;
        }
        ended
    }
}

fn start_notifier(config: &Config, store: &Store, sockets: &Sockets) -> Arc<NotifierSupervisor> {
    let (settings, pusher) = (settings::notifier(config), Arc::new(Pusher::open(&settings::fcm(config))));
    let (outbox, metrics) = (store.outbox(), Arc::new(PushMetrics::default()));
    let (connections, thread, broker) = (sockets.connections.clone(), Arbiter::current(), sockets.broker.clone());
    Arc::new(NotifierSupervisor::new(broker, metrics.clone(), move || {
        let connections = connections.clone();
        let live: notifier::HasLiveSocket = Arc::new(move |chatter| connections.is_connected_here(chatter));
        let (outbox, pusher, settings, metrics) = (outbox.clone(), pusher.clone(), settings.clone(), metrics.clone());
        Notifier::start_in_arbiter(&thread, move |_| Notifier::new(outbox, pusher, live, settings, metrics))
    }))
}

/// Lets the supervisor check at intervals that the notifier is alive.
async fn supervise(notifier: Arc<NotifierSupervisor>) {
    let mut timer = actix_web::rt::time::interval(SUPERVISE_EVERY);
    loop {
        timer.tick().await;
        notifier.restart_if_failed();
    }
}
