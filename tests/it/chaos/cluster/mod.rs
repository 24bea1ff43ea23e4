//! Chaos on a cluster (row E23 in short): three instances on PostgreSQL and Redis, under traffic through each of them, while
//! at random everything breaks that can. Afterwards the checker's I1 to I10 hold, which failures name.
//!
//! Who takes part: senders over REST who try again elsewhere, seed sockets of both people on each instance, devices that
//! write, edit, delete and read at any instance, readers of `changes`, and somebody who is never there and is pushed to.

mod device_life;
mod director;
mod follower;
mod listener;
mod traffic;

use std::time::Instant;

use self::director::Director;
use self::traffic::Traffic;
use crate::support::breakable::Breakable;
use crate::support::cluster::SLACK;
use crate::support::dice::given_seed;
use crate::support::fcm::FcmStandIn;
use crate::support::sockets_open::held;
use crate::support::wait::s;
use crate::support::{heavy, long, postgres, until};

const INSTANCES: usize = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_breaks_in_a_cluster_no_promise_does() {
    let _turn = heavy().await;
    let postgres = tokio::task::spawn_blocking(postgres::Cluster::start).await.expect("a cluster of its own");
    let seeds = match given_seed() {
        Some(seed) => vec![seed],
        None => (0..if long() { 30 } else { 3 }).map(|_| rand::random()).collect(),
    };
    for seed in seeds {
        let start = Instant::now();
        eprintln!("HYPER_CHAT_TEST_SEED={seed}");
        let tally = run(&postgres, seed).await;
        eprintln!("HYPER_CHAT_TEST_SEED={seed}: {tally} in {:?}", start.elapsed());
    }
}

async fn run(postgres: &postgres::Cluster, seed: u64) -> String {
    let fcm = FcmStandIn::start();
    // Who claims a push may die.
    let pushing =
        |builder: crate::support::server_builder::ServerBuilder| builder.pushes_to(&fcm).set("PUSH__LEASE_MS", 2_000);
    let mut cluster = Breakable::start(postgres, INSTANCES, seed, pushing).await;
    let traffic = Traffic::start(&cluster, seed).await;
    let mut director = Director::new(&mut cluster, postgres, seed);
    director.goes_on(&traffic).await;
    let faults = director.breaks_it_all(&traffic).await;
    cluster.cluster.is_whole_within(s(3) + SLACK).await;
    let tally = traffic.ends(&cluster, &fcm).await;
    holds_nothing(&cluster).await;
    format!("{faults:?}: {tally}")
}

/// I10: what clients had is given back.
async fn holds_nothing(cluster: &Breakable) {
    cluster.fronts.iter().for_each(|front| front.cut());
    for (number, front) in cluster.fronts.iter().enumerate() {
        let port = cluster.cluster.server.instance(number).port;
        until("I10: no socket of a client is left", s(15), || held(port, &front.ports_behind()) == 0).await;
    }
}
