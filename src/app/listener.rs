//! The address that the server listens on: a TCP port, or a socket file (`unix:PATH`).

use std::fs::{self, File, Permissions, TryLockError};
use std::io::{self, ErrorKind};
use std::net::TcpListener;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, SockRef, Socket, Type};

use super::RunError;
use crate::config::Config;

/// What the kernel keeps of one connection until it is read: a peer that floods is read in turns of this size, and the
/// other connections of the worker come between them.
const RECEIVE_BUFFER: usize = 64 << 10;
/// The most connections that wait to be accepted.
pub(super) const BACKLOG: u32 = 4_096;
/// How long a start waits for another one that binds a socket file in the same folder, and between two tries.
const LOCK_MAX: Duration = Duration::from_secs(2);
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// A bound address.
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, PathBuf),
}

impl Listener {
    /// A second handle of the same address.
    pub(super) fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Tcp(tcp) => Self::Tcp(tcp.try_clone()?),
            Self::Unix(unix, path) => Self::Unix(unix.try_clone()?, path.clone()),
        })
    }

    /// The address for the log.
    pub(super) fn shown(&self) -> io::Result<String> {
        Ok(match self {
            Self::Tcp(tcp) => format!("http://{}", tcp.local_addr()?),
            Self::Unix(_, path) => format!("unix:{}", path.display()),
        })
    }
}

/// The file of a bound socket, which is removed at the end unless another server has replaced it.
pub(super) struct SocketFile {
    path: PathBuf,
    id: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_own = fs::symlink_metadata(&self.path).is_ok_and(|found| (found.dev(), found.ino()) == self.id);
        if is_own && let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(%error, file = %self.path.display(), "the socket file stays; the next start replaces it");
        }
    }
}

/// Binds the configured address. A socket file lasts as long as the second value.
pub(super) fn bind(config: &Config) -> Result<(Listener, Option<SocketFile>), RunError> {
    let server = &config.server;
    if let Some(socket) = server.socket() {
        let bound = bind_unix(&socket.path, socket.mode);
        let (unix, file) = bound.map_err(|source| RunError::Listen { address: server.host.clone(), source })?;
        return Ok((Listener::Unix(unix, socket.path), Some(file)));
    }
    let host = server.host.trim_matches(['[', ']']);
    // Brackets separate an IPv6 address from its port.
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let address = format!("{host}:{}", server.port);
    let listener = TcpListener::bind(&address).and_then(|listener| {
        // The second `listen` only widens the queue of connections that wait.
        SockRef::from(&listener).listen(i32::try_from(BACKLOG).unwrap_or(i32::MAX))?;
        // Accepted sockets inherit it.
        SockRef::from(&listener).set_recv_buffer_size(RECEIVE_BUFFER)?;
        Ok(listener)
    });
    let tcp = listener.map_err(|source| RunError::Listen { address, source })?;
    Ok((Listener::Tcp(tcp), None))
}

/// Binds a socket file with this mode. The file of a server that has died is replaced, that of a living one is not.
fn bind_unix(path: &Path, mode: u32) -> io::Result<(UnixListener, SocketFile)> {
    // Servers that start at once take turns, so that none removes what another has just bound.
    let folder = File::open(path.parent().unwrap_or(Path::new("/")))?;
    lock(&folder)?;
    remove_stale(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    let found = fs::symlink_metadata(path)?;
    let file = SocketFile { path: path.to_owned(), id: (found.dev(), found.ino()) };
    // Before `listen` no connection succeeds, whatever the umask has left open.
    fs::set_permissions(path, Permissions::from_mode(mode))?;
    socket.listen(i32::try_from(BACKLOG).unwrap_or(i32::MAX))?;
    Ok((socket.into(), file))
}

/// Waits for the lock, but not for long: any process that may read the folder can hold it.
fn lock(folder: &File) -> io::Result<()> {
    let until = Instant::now() + LOCK_MAX;
    loop {
        match folder.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) if Instant::now() < until => std::thread::sleep(LOCK_PAUSE),
            Err(TryLockError::WouldBlock) => return Err(ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
}

/// Removes a socket file to which no server listens.
fn remove_stale(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(found) if !found.file_type().is_socket() => return Err(ErrorKind::AlreadyExists.into()),
        Ok(_) => {}
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // A server that is frozen with a full queue must not hold up the start.
    probe.set_nonblocking(true)?;
    match probe.connect(&SockAddr::unix(path)?) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Err(error),
        _ => Err(ErrorKind::AddrInUse.into()),
    }
}

/// What to do about an address that cannot be bound.
pub(super) fn hint(address: &str, error: &io::Error) -> &'static str {
    if address.starts_with("unix:") {
        return match error.kind() {
            ErrorKind::AddrInUse => "another server listens there: end it, or set another server.host",
            ErrorKind::AlreadyExists => "a file is there that is no socket: remove it, or set another server.host",
            ErrorKind::NotFound => "its folder does not exist: create it for the server's user",
            ErrorKind::WouldBlock => "another process has locked its folder: use a folder of the server's own",
            _ => "the server's user must be able to read and write its folder, and the path be shorter than 108 bytes",
        };
    }
    match error.kind() {
        ErrorKind::AddrInUse => "another program listens there: end it, or set PORT",
        ErrorKind::PermissionDenied => {
            "ports below 1024 need a permission (CAP_NET_BIND_SERVICE): set PORT to a higher one"
        }
        // The name of a host that does not resolve has no kind of its own.
        _ => "this machine has no such address: set HYPER_CHAT__SERVER__HOST (server.host)",
    }
}
