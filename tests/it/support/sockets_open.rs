//! A server process as the kernel sees it: its memory and its open connections.

use std::collections::HashSet;

/// Resident memory in bytes.
pub fn memory_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process lives");
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).expect("Linux tells VmRSS");
    let kib: u64 = line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number of KiB");
    kib * 1024
}

/// How many of these clients' ports the server on `port` still holds a socket for.
///
/// A connection that the process has closed may linger in the kernel; it has no inode then. The kernel's list is read
/// in pieces, and while connections open and close a line may come twice or, seldom, not at all: so tests wait for a
/// number.
pub fn open_sockets(port: u16, clients: &HashSet<u16>) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("Linux lists TCP sockets");
    let open: HashSet<u16> = table.lines().skip(1).filter_map(|line| client_of(line, port)).collect();
    open.intersection(clients).count()
}

/// The client's port where this line is a socket that the server on `port` holds.
fn client_of(line: &str, port: u16) -> Option<u16> {
    let mut fields = line.split_whitespace();
    let local = port_of(fields.nth(1)?)?;
    let remote = port_of(fields.next()?)?;
    let inode = fields.nth(6)?;
    (local == port && inode != "0").then_some(remote)
}

fn port_of(address: &str) -> Option<u16> {
    u16::from_str_radix(address.split_once(':')?.1, 16).ok()
}

#[tokio::test]
async fn a_connection_is_held_until_the_server_closes_it() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let port = listener.local_addr().expect("bound").port();
    let client = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.expect("connects");
    let (server, _) = listener.accept().await.expect("accepts");
    let clients = HashSet::from([client.local_addr().expect("connected").port()]);
    assert_eq!(open_sockets(port, &clients), 1);
    drop(server);
    super::until("the socket is gone", std::time::Duration::from_secs(5), || open_sockets(port, &clients) == 0).await;
    assert!(memory_bytes(std::process::id()) > 1 << 20);
}
