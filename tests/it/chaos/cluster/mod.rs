//! Chaos on a cluster (row E23 in short): three instances on PostgreSQL and Redis under traffic, while random faults
//! hit the instances, their connections, Redis and PostgreSQL. Afterwards the invariants I1 to I10 of the checker hold.
//!
//! The traffic: senders over REST that retry at another instance, chatroom sockets of both people on each instance,
//! devices that send, edit, delete and read at any instance, readers of `changes`, and a chatter who only gets pushes.

mod device_life;
mod director;
mod follower;
mod listener;
mod traffic;

use std::time::Instant;

use self::director::Director;
use self::traffic::Traffic;
use crate::support::breakable::Breakable;
use crate::support::dice::given_seed;
use crate::support::fcm::FcmStandIn;
use crate::support::sockets_open::open_sockets;
use crate::support::wait::{SLACK, s};
use crate::support::{heavy, long, postgres, until};

const INSTANCES: usize = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_faults_in_a_cluster_break_no_promise() {
    let _turn = heavy().await;
    let postgres = tokio::task::spawn_blocking(postgres::Cluster::start).await.expect("a cluster of its own");
    let seeds = match given_seed() {
        Some(seed) => vec![seed],
        None => (0..if long() { 30 } else { 3 }).map(|_| rand::random()).collect(),
    };
    for seed in seeds {
        let start = Instant::now();
        eprintln!("HYPER_CHAT_TEST_SEED={seed}");
        let stats = run(&postgres, seed).await;
        eprintln!("HYPER_CHAT_TEST_SEED={seed}: {stats} in {:?}", start.elapsed());
    }
}

async fn run(postgres: &postgres::Cluster, seed: u64) -> String {
    let fcm = FcmStandIn::start();
    // The instance that claimed a push may die.
    let pushing =
        |builder: crate::support::server_builder::ServerBuilder| builder.pushes_to(&fcm).set("PUSH__LEASE_MS", 2_000);
    let mut cluster = Breakable::start(postgres, INSTANCES, seed, pushing).await;
    let traffic = Traffic::start(&cluster, seed).await;
    let mut director = Director::new(&mut cluster, postgres, seed);
    director.goes_on(&traffic).await;
    let faults = director.run_faults(&traffic).await;
    cluster.cluster.all_ready_within(s(3) + SLACK).await;
    let stats = traffic.ends(&cluster, &fcm).await;
    closes_all_sockets(&cluster).await;
    format!("{faults:?}: {stats}")
}

/// I10: the server closes the sockets of its clients.
async fn closes_all_sockets(cluster: &Breakable) {
    cluster.fronts.iter().for_each(|front| front.cut());
    for (number, front) in cluster.fronts.iter().enumerate() {
        let port = cluster.cluster.server.instance(number).port;
        until("I10: no socket of a client is left", s(15), || open_sockets(port, &front.ports_behind()) == 0).await;
    }
}
