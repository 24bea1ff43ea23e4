//! The PostgreSQL servers that a URL names, and which of them is used.

use std::fmt;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sea_orm::sqlx::postgres::{PgConnectOptions, PgConnection};
use sea_orm::sqlx::{self, ConnectOptions as _, Connection as _};
use secrecy::ExposeSecret;
use tokio::time::timeout;

use super::error::{OpenError, is_sqlx_outage};
use crate::config::{Host, PostgresUrl};

/// How long a server may take to answer a connection attempt; where there are several, a silent one costs the others.
const ANSWER_MAX: Duration = Duration::from_secs(2);
const ANSWER_MAX_OF_SEVERAL: Duration = Duration::from_secs(1);

/// Whether the session may write. A standby says that it is in recovery, a fenced primary that its transactions are
/// read-only.
pub(super) const IS_READ_ONLY: &str = "SELECT pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on'";

/// The servers, and the place of the one in use.
pub(super) struct Servers {
    all: Vec<Server>,
    current: AtomicUsize,
    /// Whether only a server that takes writes will do.
    writable: bool,
    within: Duration,
}

struct Server {
    /// As `HOST:PORT`.
    name: String,
    /// None where the server is reached through a Unix socket.
    address: Option<(String, u16)>,
    options: PgConnectOptions,
}

/// Why one server cannot be used.
#[derive(Debug)]
pub struct ServerFailure {
    server: String,
    why: Why,
}

#[derive(Debug)]
enum Why {
    /// The name has no address; `for_now` where the name service itself does not answer.
    Unresolved {
        for_now: bool,
    },
    Unreachable(ErrorKind),
    Silent,
    NoTls(String),
    /// The server's own words, and whether it may say otherwise later.
    Refused {
        message: String,
        for_now: bool,
    },
    ReadOnly,
}

impl ServerFailure {
    /// Whether the same attempt may succeed later.
    pub(super) fn is_transient(&self) -> bool {
        match &self.why {
            Why::Unresolved { for_now } | Why::Refused { for_now, .. } => *for_now,
            Why::Unreachable(kind) => *kind != ErrorKind::PermissionDenied,
            Why::Silent | Why::ReadOnly => true,
            Why::NoTls(_) => false,
        }
    }
}

impl fmt::Display for ServerFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let server = &self.server;
        match &self.why {
            Why::Unresolved { for_now: true } => write!(f, "the name service does not answer for host '{server}'"),
            Why::Unresolved { for_now: false } => {
                write!(
                    f,
                    "host '{server}' does not resolve; percent-encode @ / # in the password, if it is a part of one"
                )
            }
            Why::Unreachable(ErrorKind::ConnectionRefused) => write!(f, "connection to {server} refused"),
            Why::Unreachable(ErrorKind::NotFound) => write!(f, "there is no socket {server}"),
            Why::Unreachable(kind) => write!(f, "connection to {server} failed: {kind}"),
            Why::Silent => write!(f, "{server} does not answer"),
            Why::NoTls(message) => {
                write!(
                    f,
                    "no TLS with {server} as sslmode asks for it ({message}); set up TLS there, or another sslmode"
                )
            }
            Why::Refused { message, .. } => write!(f, "{server} refuses: {message}"),
            Why::ReadOnly => write!(f, "{server} takes no writes"),
        }
    }
}

impl Servers {
    /// The servers of a URL; refuses one that cannot be used, whatever the servers say.
    pub(super) fn of_url(url: &str) -> Result<Self, OpenError> {
        let url = PostgresUrl::parse(url).map_err(OpenError::Url)?;
        for (name, file) in
            url.parameters.iter().filter(|(name, _)| matches!(*name, "sslrootcert" | "sslcert" | "sslkey"))
        {
            if let Err(error) = std::fs::metadata(Path::new(file)) {
                return Err(OpenError::Url(format!("names {file} as {name}, which cannot be read: {}", error.kind())));
            }
        }
        let all = url.hosts.iter().map(|host| Server::of(&url, host)).collect::<Result<Vec<_>, _>>()?;
        let default = if all.len() > 1 { ANSWER_MAX_OF_SEVERAL } else { ANSWER_MAX };
        let within = url.connect_timeout.map_or(default, |asked| asked.min(ANSWER_MAX));
        Ok(Self { all, current: AtomicUsize::new(0), writable: url.writable, within })
    }

    /// Whether there is more than one.
    pub(super) fn are_several(&self) -> bool {
        self.all.len() > 1
    }

    /// How to connect to the server in use.
    pub(super) fn options(&self) -> PgConnectOptions {
        self.current().options.clone()
    }

    /// The server in use, as `HOST:PORT`.
    pub(super) fn name(&self) -> &str {
        &self.current().name
    }

    fn current(&self) -> &Server {
        &self.all[self.current.load(Ordering::Relaxed) % self.all.len()]
    }

    /// Uses the first server that answers and fits; whether it is another one than before.
    pub(super) async fn find(&self, writable: bool) -> Result<bool, OpenError> {
        let mut failures = Vec::new();
        for (place, server) in self.all.iter().enumerate() {
            match timeout(self.within, server.check(writable || self.writable)).await.unwrap_or(Err(Why::Silent)) {
                Ok(()) => return Ok(self.current.swap(place, Ordering::Relaxed) != place),
                Err(why) => failures.push(server.failure(why)),
            }
        }
        Err(OpenError::Servers(failures))
    }
}

impl Server {
    fn of(url: &PostgresUrl, host: &Host) -> Result<Self, OpenError> {
        let password = url.password.as_ref().map(|password| password.expose_secret().to_owned());
        let port = host.port.map(|port| port.to_string());
        let parts = [
            ("host", host.name.clone()),
            ("port", port),
            ("user", url.user.clone()),
            ("password", password),
            ("dbname", url.database.clone()),
            ("application_name", Some("hyper-chat".to_owned())),
        ];
        let parts = parts.into_iter().filter_map(|(name, value)| Some((name, value?)));
        let pairs = parts.chain(url.parameters.iter().map(|(name, value)| (*name, value.clone())));
        let query: Vec<String> = pairs.map(|(name, value)| format!("{name}={}", encoded(&value))).collect();
        // Every part as a parameter, since the driver does not take the brackets off an IPv6 address.
        let options: Result<PgConnectOptions, sqlx::Error> = format!("postgres:///?{}", query.join("&")).parse();
        let options = options.map_err(|_| OpenError::Url("cannot be read by the driver".to_owned()))?;
        let options = options.disable_statement_logging().options([
            ("synchronous_commit", "on"),
            ("lock_timeout", "1s"),
            ("idle_in_transaction_session_timeout", "1s"),
            ("tcp_user_timeout", "10s"),
            ("jit", "off"),
        ]);
        let (host, port) = (options.get_host().to_owned(), options.get_port());
        let folder = options.get_socket().map(|folder| folder.display().to_string());
        let folder = folder.or_else(|| host.starts_with('/').then(|| host.clone()));
        Ok(match folder {
            Some(folder) => Self { name: format!("{folder}/.s.PGSQL.{port}"), address: None, options },
            None if host.contains(':') => {
                Self { name: format!("[{host}]:{port}"), address: Some((host, port)), options }
            }
            None => Self { name: format!("{host}:{port}"), address: Some((host, port)), options },
        })
    }

    /// Connects, and disconnects again.
    async fn check(&self, writable: bool) -> Result<(), Why> {
        if let Some((host, port)) = &self.address {
            // By itself, so that a wrong name is told apart from a server that is away.
            let found = tokio::net::lookup_host((host.as_str(), *port)).await.map(|mut addresses| addresses.next());
            let for_now = match found {
                Ok(Some(_)) => None,
                Ok(None) => Some(false),
                Err(error) => {
                    let text = error.to_string().to_lowercase();
                    Some(text.contains("temporary") || text.contains("try again"))
                }
            };
            if let Some(for_now) = for_now {
                return Err(Why::Unresolved { for_now });
            }
        }
        let mut connection = PgConnection::connect_with(&self.options).await.map_err(|error| why(&error))?;
        let read_only = if writable {
            sqlx::query_scalar::<_, bool>(IS_READ_ONLY).fetch_one(&mut connection).await.map_err(|error| why(&error))?
        } else {
            false
        };
        // The server ends the session by itself when the socket closes.
        let _ = connection.close().await;
        if read_only { Err(Why::ReadOnly) } else { Ok(()) }
    }

    fn failure(&self, why: Why) -> ServerFailure {
        let server = match (&why, &self.address) {
            (Why::Unresolved { .. }, Some((host, _))) => host.clone(),
            _ => self.name.clone(),
        };
        ServerFailure { server, why }
    }
}

fn why(error: &sqlx::Error) -> Why {
    match error {
        sqlx::Error::Io(error) => Why::Unreachable(error.kind()),
        sqlx::Error::Tls(error) => Why::NoTls(error.to_string()),
        sqlx::Error::Database(answer) => {
            Why::Refused { message: answer.message().to_owned(), for_now: is_sqlx_outage(error) }
        }
        other => Why::Refused { message: other.to_string(), for_now: is_sqlx_outage(other) },
    }
}

fn encoded(text: &str) -> String {
    let byte = |b: u8| if b.is_ascii_alphanumeric() { (b as char).to_string() } else { format!("%{b:02X}") };
    text.bytes().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d1_the_driver_gets_an_ipv6_address_without_brackets() {
        let servers = Servers::of_url("postgres://us%40er:p%26w@[::1]:5433/d%20b?application_name=mine,host2");
        let servers = servers.unwrap_or_else(|e| panic!("{e}"));
        let options = servers.options();
        assert_eq!((options.get_host(), options.get_port()), ("::1", 5433));
        assert_eq!((options.get_username(), options.get_database()), ("us@er", Some("d b")));
        assert_eq!(options.get_application_name(), Some("mine,host2"));
        assert_eq!(servers.name(), "[::1]:5433");
    }

    #[tokio::test]
    async fn e1_a_host_without_an_address_is_named_and_is_no_reason_to_wait() {
        // Longer than a label of DNS may be, so that no name service is asked.
        let host = "s".repeat(70);
        let servers = Servers::of_url(&format!("postgres://u:p@{host}/db")).unwrap_or_else(|e| panic!("{e}"));
        let error = servers.find(false).await.expect_err("no such host");
        assert!(error.to_string().contains(&format!("host '{host}' does not resolve")), "{error}");
        assert!(!error.is_transient() && error.is_setting());
    }

    #[tokio::test]
    async fn e1_a_refused_port_is_named_and_waited_for() {
        let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port();
        let servers = Servers::of_url(&format!("postgres://u:hunter2@127.0.0.1:{port}/db"));
        let error = servers.unwrap_or_else(|e| panic!("{e}")).find(false).await.expect_err("nothing listens");
        assert!(error.to_string().contains(&format!("connection to 127.0.0.1:{port} refused")), "{error}");
        assert!(error.is_transient() && !error.to_string().contains("hunter2"), "{error}");
    }
}
