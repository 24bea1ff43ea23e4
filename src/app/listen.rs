//! The HTTP server: its address, its workers, and the options of its TCP sockets.

use std::io::ErrorKind;
use std::net::TcpListener;
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

use super::{RunError, settings};
use crate::config::Config;
use crate::http::{State, routes};
use crate::rooms::registry::Threads;
use crate::store::writer::WriterTask;

/// What the kernel keeps of one connection until it is read: a peer that floods is read in turns of this size, and the
/// other connections of the worker come between them.
const RECEIVE_BUFFER: usize = 64 << 10;
/// The kernel cuts a connection whose peer stopped reading after this time; nothing above TCP can free its socket.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(10);
/// The time that a request's head has to arrive.
const REQUEST_HEAD_MAX: Duration = Duration::from_secs(5);
/// How long an idle connection is kept: longer than the usual proxies keep the ones in their pools.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// The most connections of one worker.
const CONNECTIONS_PER_WORKER: usize = 100_000;
/// The most connections that wait to be accepted.
const BACKLOG: u32 = 4_096;

/// The store's writer, until the first worker takes it.
pub(super) type Writer = Arc<Mutex<Option<WriterTask>>>;

/// Binds the address.
pub(super) fn bind(config: &Config) -> Result<TcpListener, RunError> {
    let host = config.server.host.trim_matches(['[', ']']);
    // An IPv6 address is told apart from its port by brackets.
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let address = format!("{host}:{}", config.server.port);
    let listener = TcpListener::bind(&address).and_then(|listener| {
        // The second `listen` only widens the queue of connections that wait.
        SockRef::from(&listener).listen(i32::try_from(BACKLOG).unwrap_or(i32::MAX))?;
        // Accepted sockets inherit it.
        SockRef::from(&listener).set_recv_buffer_size(RECEIVE_BUFFER)?;
        Ok(listener)
    });
    listener.map_err(|source| RunError::Listen { address, source })
}

/// What to do about an address that cannot be bound.
pub(super) fn hint(error: &std::io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::AddrInUse => "another program listens there: end it, or set PORT",
        ErrorKind::PermissionDenied => {
            "ports below 1024 need a permission (CAP_NET_BIND_SERVICE): set PORT to a higher one"
        }
        // The name of a host that does not resolve has no kind of its own.
        _ => "this machine has no such address: set HYPER_CHAT__SERVER__HOST (server.host)",
    }
}

/// Starts the workers, each of which is a thread for rooms too.
pub(super) fn listen(
    config: &Config,
    listener: TcpListener,
    state: web::Data<State>,
    threads: Threads,
    writer: Writer,
) -> Result<actix_web::dev::Server, RunError> {
    let local = listener.local_addr().map_err(RunError::Http)?;
    let origins = state.rules.origins.clone();
    let server = HttpServer::new(move || {
        // Each worker is a thread for rooms too, and the first one takes the store's writer.
        threads.add(Arbiter::current());
        if let Some(writer) = writer.lock().take() {
            Arbiter::current().spawn(write(writer));
        }
        App::new()
            .app_data(state.clone())
            .app_data(web::Data::from(origins.clone()))
            .wrap(routes::cors(&origins))
            .wrap(from_fn(routes::refuse))
            .wrap(from_fn(routes::access_log))
            .wrap(from_fn(routes::complete))
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
    let server = server.listen(listener).map_err(RunError::Http)?;
    tracing::info!("hyper-chat {} listens on http://{local}", env!("CARGO_PKG_VERSION"));
    Ok(server.run())
}

/// Starts the small server that answers while the store is not open yet: `/healthz` 200, anything else 503.
pub(super) fn answer_until_open(config: &Config, listener: &TcpListener) -> Result<ServerHandle, RunError> {
    let origins = Arc::new(settings::origins(config));
    let server = HttpServer::new(move || {
        App::new()
            .app_data(web::Data::from(origins.clone()))
            .wrap(routes::cors(&origins))
            .wrap(from_fn(routes::refuse))
            .wrap(from_fn(routes::access_log))
            .wrap(from_fn(routes::complete))
            .configure(routes::mount_waiting)
    })
    // A kept connection would stay with this server after the real one has started.
    .keep_alive(KeepAlive::Disabled)
    .client_request_timeout(REQUEST_HEAD_MAX)
    .shutdown_timeout(1)
    .disable_signals()
    .workers(1);
    let listener = listener.try_clone().map_err(RunError::Http)?;
    let server = server.listen(listener).map_err(RunError::Http)?.run();
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
