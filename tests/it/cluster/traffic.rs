//! Traffic on two instances, and how soon chats have to cross between them in each state of Redis.

use std::time::Duration;

use crate::support::burst::{Burst, Pace};
use crate::support::cluster::Cluster;
use crate::support::wait::{SLACK, s};
use crate::support::{ChatroomSocket, Checker, Person, until};

/// How soon a chat crosses between instances while Redis is away.
pub const WITHOUT_REDIS: Duration = Duration::from_secs(2);
/// How soon all is as before once Redis answers.
pub const HEALED_WITHIN: Duration = Duration::from_secs(3);
/// How soon a chat crosses between instances with Redis.
pub const WITH_REDIS: Duration = Duration::from_secs(1);
/// Slow enough to leave the machine time for what is measured beside it.
const PACED: Pace = Pace { pause: Duration::from_millis(10), patience: Duration::from_secs(30) };

/// Senders at any instance, and sockets of both people of each room on both instances.
pub struct Traffic {
    pub burst: Burst,
    pub open: Vec<(i64, ChatroomSocket)>,
}

impl Traffic {
    pub async fn start(cluster: &Cluster) -> Self {
        let burst = Burst::with(PACED, &cluster.server.api(), 2, 2).await;
        let mut open = Vec::new();
        for (room, (left, right)) in burst.rooms.iter().zip(&burst.people) {
            for (instance, person) in [(0, left), (1, left), (0, right), (1, right)] {
                open.push((*room, cluster.at(instance, person).joins(*room).await));
            }
        }
        let traffic = Self { burst, open };
        traffic.goes_on().await;
        traffic
    }

    pub async fn goes_on(&self) {
        let goal = self.burst.acked() + 40;
        until("the traffic goes on", s(30), || self.burst.acked() >= goal).await;
    }

    /// Every socket, open all the time, received every chat; stored are the acknowledged chats and so many more.
    pub async fn ends(self, cluster: &Cluster, more: usize) {
        let pairs = self.burst.rooms.iter().zip(&self.burst.people);
        let with_views = |checker: Checker, (room, (left, right)): (&i64, &(Person, Person))| {
            checker.compare_views(*room, left, right)
        };
        let mut checker = pairs.fold(Checker::default(), with_views);
        let acked = self.burst.finish().await;
        let dump = cluster.server.dump().await;
        for (room, mut socket) in self.open {
            let head = dump.room(room).await.expect("the room is there").last_seq;
            socket.read_until_seq(head, WITHOUT_REDIS + SLACK + s(5)).await;
            checker.saw(room, &socket);
        }
        let count = acked.len();
        assert_eq!(checker.acked(acked).verify(&cluster.server).await, count + more);
    }
}
