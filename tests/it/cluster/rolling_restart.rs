//! A rolling restart of a cluster under load (row E22).

use std::time::Duration;

use crate::support::balancer::Balancer;
use crate::support::burst::{Burst, Pace};
use crate::support::cluster::Cluster;
use crate::support::wait::s;
use crate::support::{Api, Checker, heavy, long, until};

/// Row E22.
#[tokio::test]
async fn a_rolling_restart_behind_a_balancer_fails_no_request() {
    let _turn = heavy().await;
    let mut cluster = Cluster::start(3).await;
    let balancer = Balancer::before((0..3).map(|number| cluster.server.instance(number).port));
    let api = Api::new(balancer.port, cluster.server.api().secrets);
    let pace = Pace { pause: Duration::from_millis(5), patience: s(30) };
    let burst = Burst::with(pace, &api, 3, 2).await;
    let pairs: Vec<_> = burst.rooms.iter().copied().zip(burst.people.clone()).collect();
    let mut checker = pairs
        .iter()
        .fold(Checker::default(), |checker, (room, (left, right))| checker.compare_views(*room, left, right));
    for number in (0..3).cycle().take(if long() { 12 } else { 3 }) {
        let mut open = Vec::new();
        for (room, (left, right)) in &pairs {
            open.push((*room, cluster.at(number, left).joins(*room).await));
            open.push((*room, cluster.at(number, right).joins(*room).await));
        }
        let goal = burst.acked() + 50;
        until("the burst goes on", s(30), || burst.acked() >= goal).await;
        cluster.server.instance(number).term();
        for (room, socket) in &mut open {
            assert_eq!(socket.expect_close(s(10)).await, 1001);
            checker.saw(*room, socket);
        }
        let status = cluster.server.instance_mut(number).wait_end(s(10)).await;
        assert_eq!(status.code(), Some(0), "{status}");
        cluster.server.instance_mut(number).restart().await;
        until("the balancer uses it again", s(5), || balancer.uses(number)).await;
    }
    let (refused, unanswered) = (burst.refused(), burst.unanswered());
    let acked = burst.finish().await;
    assert_eq!((refused, unanswered), (0, 0), "of {} requests", acked.len());
    let count = acked.len();
    assert_eq!(checker.acked(acked).verify(&cluster.server).await, count);
}
