//! The HTTP server: its workers, and the options of its connections.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use actix::Arbiter;
use actix_web::dev::ServerHandle;
use actix_web::http::KeepAlive;
use actix_web::middleware::from_fn;
use actix_web::rt::net::TcpStream;
use actix_web::{App, HttpServer, web};
use futures_util::FutureExt;
use parking_lot::Mutex;
use socket2::SockRef;

use super::listener::{BACKLOG, Listener};
use super::{RunError, settings};
use crate::config::Config;
use crate::http::base_path::BasePath;
use crate::http::documents::Documents;
use crate::http::{State, routes};
use crate::rooms::registry::Threads;
use crate::store::writer::WriterTask;

/// The kernel cuts a connection whose peer stopped reading after this time; nothing above TCP can free its socket.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(10);
/// The time that a request's head has to arrive.
const REQUEST_HEAD_MAX: Duration = Duration::from_secs(5);
/// How long an idle connection is kept: longer than the usual proxies keep the ones in their pools.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// The most connections of one worker.
const CONNECTIONS_PER_WORKER: usize = 100_000;

/// The store's writer, until the first worker takes it.
pub(super) type Writer = Arc<Mutex<Option<WriterTask>>>;

/// Starts the workers, each of which is a thread for rooms too.
pub(super) fn listen(
    config: &Config,
    listener: Listener,
    state: web::Data<State>,
    threads: Threads,
    writer: Writer,
) -> Result<actix_web::dev::Server, RunError> {
    let shown = listener.shown().map_err(RunError::Http)?;
    let origins = state.rules.origins.clone();
    let base = web::Data::new(BasePath::new(&config.server.base_path));
    let documents = web::Data::new(Documents::new(&base));
    let server = HttpServer::new(move || {
        // Each worker is a thread for rooms too, and the first one takes the store's writer.
        threads.add(Arbiter::current());
        if let Some(writer) = writer.lock().take() {
            Arbiter::current().spawn(write(writer));
        }
        App::new()
            .app_data(state.clone())
            .app_data(base.clone())
            .app_data(documents.clone())
            .app_data(web::Data::from(origins.clone()))
            .wrap(routes::cors(&origins))
            .wrap(from_fn(routes::refuse))
            .wrap(from_fn(routes::access_log))
            .wrap(from_fn(routes::complete))
            .wrap(from_fn(routes::strip))
            .configure(routes::mount)
    })
    .on_connect(|connection, _| {
        if let Some(tcp) = connection.downcast_ref::<TcpStream>() {
            let _ = SockRef::from(tcp).set_tcp_user_timeout(Some(TCP_USER_TIMEOUT));
        }
    })
    .tcp_nodelay(true)
    .client_request_timeout(REQUEST_HEAD_MAX)
    .keep_alive(KEEP_ALIVE)
    .max_connections(CONNECTIONS_PER_WORKER)
    .backlog(BACKLOG)
    .shutdown_timeout(1)
    .disable_signals()
    .workers(workers(config));
    let server = match listener {
        Listener::Tcp(tcp) => server.listen(tcp),
        Listener::Unix(unix, _) => server.listen_uds(unix),
    };
    let server = server.map_err(RunError::Http)?;
    tracing::info!("hyper-chat {} listens on {shown}", env!("CARGO_PKG_VERSION"));
    Ok(server.run())
}

/// Starts the small server that answers while the store is not open yet: `/healthz` 200, anything else 503.
pub(super) fn answer_until_open(config: &Config, listener: &Listener) -> Result<ServerHandle, RunError> {
    let origins = Arc::new(settings::origins(config));
    let base = web::Data::new(BasePath::new(&config.server.base_path));
    let server = HttpServer::new(move || {
        App::new()
            .app_data(base.clone())
            .app_data(web::Data::from(origins.clone()))
            .wrap(routes::cors(&origins))
            .wrap(from_fn(routes::refuse))
            .wrap(from_fn(routes::access_log))
            .wrap(from_fn(routes::complete))
            .wrap(from_fn(routes::strip))
            .configure(routes::mount_waiting)
    })
    // A kept connection would stay with this server after the real one has started.
    .keep_alive(KeepAlive::Disabled)
    .client_request_timeout(REQUEST_HEAD_MAX)
    .shutdown_timeout(1)
    .disable_signals()
    .workers(1);
    let server = match listener.try_clone().map_err(RunError::Http)? {
        Listener::Tcp(tcp) => server.listen(tcp),
        Listener::Unix(unix, _) => server.listen_uds(unix),
    };
    let server = server.map_err(RunError::Http)?.run();
    let handle = server.handle();
    actix_web::rt::spawn(server);
    Ok(handle)
}

/// The number of workers. By default half of the cores: the database needs the other half, and fewer threads mean fewer
/// wake-ups a chat.
fn workers(config: &Config) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if config.server.workers > 0 { config.server.workers } else { cores.div_ceil(2) }
}

/// Runs the store's writer. Without it the server can store nothing, so the process ends if the writer fails, and its
/// supervisor starts another. Acknowledged chats are in the database.
async fn write(writer: WriterTask) {
    if AssertUnwindSafe(writer.run()).catch_unwind().await.is_err() {
        tracing::error!("the store's writer failed; the server ends");
        std::process::exit(1);
    }
}
