//! Many sockets of one chatter that sign in at once: others are ready as if they were not there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::{Db, Person, RawSocket, TestServer, alone, on_both};

on_both![a5_many_sockets_of_one_chatter_with_many_rooms_do_not_delay_the_ready_of_others];

const ROOMS: i64 = 1_000;
const SOCKETS: usize = 60;
/// How often the other chatter signs in.
const SIGN_INS: usize = 12;

/// How long the `ready` of a new socket takes, at the median.
async fn ready_takes(person: &Person) -> Duration {
    let mut waits = Vec::new();
    for _ in 0..SIGN_INS {
        let start = Instant::now();
        let mut device = person.device().await;
        waits.push(start.elapsed());
        device.drain();
    }
    waits.sort_unstable();
    waits[SIGN_INS / 2]
}

async fn a5_many_sockets_of_one_chatter_with_many_rooms_do_not_delay_the_ready_of_others(db: Db) {
    let _turn = alone().await;
    let server = TestServer::spawn(db).await;
    let (ann, bob, _) = server.api().pair().await;
    server.dump().await.add_rooms(ann.id, 1_000..1_000 + ROOMS).await;
    let calm = ready_takes(&bob).await;

    let stop = Arc::new(AtomicBool::new(false));
    let (path, port, stopped) = (format!("/ws?jwt={}", ann.token), server.port, stop.clone());
    let attack = tokio::spawn(async move {
        let mut rounds = 0;
        while !stopped.load(Ordering::Relaxed) {
            // They are closed before all their rooms are listed, so turns must also end where nobody waits any more.
            let sockets = (0..SOCKETS).map(|_| RawSocket::open(port, &path, ""));
            let opened = futures_util::future::join_all(sockets).await;
            tokio::time::sleep(Duration::from_millis(200)).await;
            rounds += opened.iter().filter(|socket| socket.is_ok()).count();
        }
        rounds
    });
    let beside = ready_takes(&bob).await;
    stop.store(true, Ordering::Relaxed);
    assert!(attack.await.expect("no panic") > 0);
    let calm = calm.max(ready_takes(&bob).await);
    assert!(beside < 5 * calm + Duration::from_millis(250), "{beside:?} beside the sockets, {calm:?} without");
}
