//! A TCP wire that can be cut, healed, turned into a black hole, or clogged.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::instance_ports::InstancePorts;

/// What the wire does to its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wire {
    Whole,
    /// Connections break, new ones are closed at once.
    Cut,
    /// Bytes vanish in both directions; nothing is closed.
    Hole,
    /// Nothing is read any more, so that the senders' buffers fill.
    Clogged,
    /// Every piece is delayed by this, each way.
    Slow(Duration),
}

pub struct Proxy {
    pub port: u16,
    wire: watch::Sender<Wire>,
    target: Arc<Mutex<InstancePorts>>,
    accepted: Arc<Mutex<usize>>,
    behind: Arc<Mutex<HashSet<u16>>>,
}

impl Proxy {
    /// Forwards a port of its own to this one, or each connection to one of several.
    pub async fn before(target: impl Into<InstancePorts>) -> Self {
        let target = Arc::new(Mutex::new(target.into()));
        let current = target.clone();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let port = listener.local_addr().expect("bound").port();
        let (wire, state) = watch::channel(Wire::Whole);
        let accepted = Arc::new(Mutex::new(0));
        let count = accepted.clone();
        let behind = Arc::new(Mutex::new(HashSet::new()));
        let ports = behind.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                *count.lock().unwrap_or_else(std::sync::PoisonError::into_inner) += 1;
                let to = current.lock().unwrap_or_else(std::sync::PoisonError::into_inner).pick();
                tokio::spawn(carry(client, to, state.clone(), ports.clone()));
            }
        });
        Self { port, wire, target, accepted, behind }
    }

    /// Leads new connections to another port, as a moved address does.
    pub fn lead_to(&self, port: u16) {
        *self.target.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = port.into();
    }

    pub fn cut(&self) {
        self.wire.send_replace(Wire::Cut);
    }

    pub fn hole(&self) {
        self.wire.send_replace(Wire::Hole);
    }

    /// Delays each piece by this.
    pub fn slow(&self, by: Duration) {
        self.wire.send_replace(Wire::Slow(by));
    }

    pub fn clog(&self) {
        self.wire.send_replace(Wire::Clogged);
    }

    /// Carries again, on the remaining and on new connections.
    pub fn heal(&self) {
        self.wire.send_replace(Wire::Whole);
    }

    /// The ports from which it connected to the target.
    pub fn ports_behind(&self) -> HashSet<u16> {
        self.behind.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// How many connections it accepted so far.
    pub fn accepted(&self) -> usize {
        *self.accepted.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

async fn carry(client: TcpStream, target: u16, state: watch::Receiver<Wire>, ports: Arc<Mutex<HashSet<u16>>>) {
    if *state.borrow() == Wire::Cut {
        return;
    }
    // A connection that is opened in a hole waits until the wire carries again.
    let mut waiting = state.clone();
    if waiting.wait_for(|w| matches!(w, Wire::Whole | Wire::Slow(_) | Wire::Cut)).await.is_err()
        || *state.borrow() == Wire::Cut
    {
        return;
    }
    let Ok(server) = TcpStream::connect(("127.0.0.1", target)).await else { return };
    if let Ok(address) = server.local_addr() {
        ports.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(address.port());
    }
    client.set_nodelay(true).ok();
    server.set_nodelay(true).ok();
    let (client_read, client_write) = client.into_split();
    let (server_read, server_write) = server.into_split();
    let mut cut = state.clone();
    tokio::select! {
        () = pipe(client_read, server_write, state.clone()) => {}
        () = pipe(server_read, client_write, state) => {}
        _ = cut.wait_for(|w| *w == Wire::Cut) => {}
    }
}

async fn pipe(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut state: watch::Receiver<Wire>) {
    let mut chunk = vec![0; 16_384];
    loop {
        if state.wait_for(|w| *w != Wire::Clogged).await.is_err() {
            return;
        }
        let read = tokio::select! {
            read = from.read(&mut chunk) => read,
            _ = state.changed() => continue,
        };
        let wire = *state.borrow();
        if let Wire::Slow(by) = wire {
            tokio::time::sleep(by).await;
        }
        let lost = wire == Wire::Hole;
        match read {
            Ok(n) if n > 0 && lost => {}
            Ok(n) if n > 0 => {
                if to.write_all(&chunk[..n]).await.is_err() {
                    return;
                }
            }
            // In a hole the end of a connection is lost as well: the other side does not see it.
            _ if lost => {
                if state.wait_for(|w| *w != Wire::Hole).await.is_err() {
                    return;
                }
                return;
            }
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn echo() -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let port = listener.local_addr().expect("bound").port();
        tokio::spawn(async move {
            while let Ok((mut tcp, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = tcp.split();
                    tokio::io::copy(&mut read, &mut write).await.ok();
                });
            }
        });
        port
    }

    async fn round_trip(tcp: &mut TcpStream) -> Option<u8> {
        tcp.write_all(&[7]).await.ok()?;
        let mut byte = [0];
        match tokio::time::timeout(Duration::from_millis(300), tcp.read_exact(&mut byte)).await {
            Ok(Ok(_)) => Some(byte[0]),
            _ => None,
        }
    }

    #[tokio::test]
    async fn a_whole_wire_carries_and_a_cut_one_breaks_and_heals() {
        let proxy = Proxy::before(echo().await).await;
        let mut tcp = TcpStream::connect(("127.0.0.1", proxy.port)).await.expect("connects");
        assert_eq!(round_trip(&mut tcp).await, Some(7));
        proxy.cut();
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(5), tcp.read_to_end(&mut rest)).await;
        assert!(ended.is_ok() && rest.is_empty(), "the connection breaks");
        let mut refused = TcpStream::connect(("127.0.0.1", proxy.port)).await.expect("the kernel accepts");
        assert_eq!(round_trip(&mut refused).await, None);
        proxy.heal();
        let mut healed = TcpStream::connect(("127.0.0.1", proxy.port)).await.expect("connects");
        assert_eq!(round_trip(&mut healed).await, Some(7));
        assert_eq!(proxy.accepted(), 3);
    }

    #[tokio::test]
    async fn in_a_hole_bytes_vanish_and_nothing_closes() {
        let proxy = Proxy::before(echo().await).await;
        let mut tcp = TcpStream::connect(("127.0.0.1", proxy.port)).await.expect("connects");
        assert_eq!(round_trip(&mut tcp).await, Some(7));
        proxy.hole();
        assert_eq!(round_trip(&mut tcp).await, None);
        proxy.heal();
        assert_eq!(round_trip(&mut tcp).await, Some(7), "the connection lives; what was lost stays lost");
    }

    #[tokio::test]
    async fn a_slow_wire_carries_everything_late() {
        let proxy = Proxy::before(echo().await).await;
        let mut tcp = TcpStream::connect(("127.0.0.1", proxy.port)).await.expect("connects");
        proxy.slow(Duration::from_millis(60));
        let start = std::time::Instant::now();
        assert_eq!(round_trip(&mut tcp).await, Some(7));
        assert!(start.elapsed() >= Duration::from_millis(120), "{:?}", start.elapsed());
    }

    #[tokio::test]
    async fn a_clogged_wire_keeps_the_bytes_for_later() {
        let proxy = Proxy::before(echo().await).await;
        let mut tcp = TcpStream::connect(("127.0.0.1", proxy.port)).await.expect("connects");
        assert_eq!(round_trip(&mut tcp).await, Some(7));
        proxy.clog();
        assert_eq!(round_trip(&mut tcp).await, None);
        proxy.heal();
        let mut late = [0];
        tcp.read_exact(&mut late).await.expect("what was held comes");
        assert_eq!(late, [7]);
    }
}
