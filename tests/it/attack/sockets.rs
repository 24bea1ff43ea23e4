//! Ways to attack over sockets.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::json;

use super::attackers::Attacker;
use crate::support::RawSocket;
use crate::support::device_socket::cursors;
use crate::support::dice::Dice;
use crate::support::raw_socket::{CONTINUATION, PING, TEXT, frame};

const FLOODERS: usize = 4;
const SLOW_SOCKETS: usize = 10;
const STORM: usize = 30;

impl Attacker {
    async fn socket(&self, row: &'static str) -> Option<RawSocket> {
        let path = format!("/ws?jwt={}", self.person.token);
        let opened = RawSocket::open(self.person.api.ports.pick(), &path, &self.header()).await;
        self.counts.count(row, opened.as_ref().map_or_else(|refused| refused.status, |_| 101));
        opened.ok()
    }

    /// Pings without reading, empty fragments, frames that are not valid, or requests whose answers nobody reads.
    pub async fn floods(&self, until: Instant, dice: &mut Dice) {
        let masked = |first: u8, payload: &[u8]| frame(first, Some([1, 2, 3, 4]), payload);
        let resume = json!({"type": "resume", "chatrooms": cursors(&[(self.notes, 0)])}).to_string();
        let (first, again, sockets) = match dice.below(4) {
            0 => (Vec::new(), masked(0x80 | PING, b"").repeat(10_000), FLOODERS),
            1 => (masked(TEXT, b"{"), masked(CONTINUATION, b"").repeat(10_000), FLOODERS),
            2 => (Vec::new(), masked(0x80 | TEXT, br#"{"type":"dance"}"#).repeat(1_000), FLOODERS),
            _ => (masked(0x80 | TEXT, resume.as_bytes()).repeat(20), Vec::new(), SLOW_SOCKETS),
        };
        let one = async || {
            while Instant::now() < until {
                let Some(mut socket) = self.socket("a4").await else { break };
                let mut is_open = socket.write(&first).await;
                while is_open && Instant::now() < until {
                    is_open = socket.write(&again).await;
                    if again.is_empty() {
                        tokio::time::sleep(Duration::from_millis(200)).await;
                    }
                }
            }
        };
        join_all((0..sockets).map(|_| async { tokio::time::timeout_at(until.into(), one()).await.ok() })).await;
    }

    /// Many sockets at once, which are dropped before all their rooms are listed.
    pub async fn opens_many_sockets(&self, until: Instant) {
        let storm = async || {
            while Instant::now() < until {
                let opened = join_all((0..STORM).map(|_| self.socket("a5"))).await;
                tokio::time::sleep(Duration::from_millis(200)).await;
                drop(opened);
            }
        };
        tokio::time::timeout_at(until.into(), storm()).await.ok();
    }
}
