//! The faults of a run: which ones, in which order, how each is made and ended.

use std::time::Duration;

use super::INSTANCES;
use super::traffic::Traffic;
use crate::support::breakable::Breakable;
use crate::support::dice::Dice;
use crate::support::wait::s;
use crate::support::{postgres, until};

/// How many faults there are with one seed.
const FAULTS: usize = 8;

use Fault::*;

/// One fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    KillInstance(usize),
    TermInstance(usize),
    FreezeInstance(usize),
    CutClients(usize),
    KillRedis,
    FreezeRedis,
    FlushRedis,
    KillSubscribers,
    CutRedis(usize),
    HoleRedis(usize),
    CutDatabase(usize),
    HoleDatabase(usize),
    KillDatabase,
}

impl Fault {
    /// Two faults of the same part are not made at the same time.
    fn part(self) -> u8 {
        match self {
            KillInstance(_) | TermInstance(_) | FreezeInstance(_) => 0,
            CutClients(_) => 1,
            KillRedis | FreezeRedis | FlushRedis | KillSubscribers => 2,
            CutRedis(_) | HoleRedis(_) => 3,
            CutDatabase(_) | HoleDatabase(_) | KillDatabase => 4,
        }
    }
}

/// Begins and ends the faults that the seed decides.
pub struct Director<'a> {
    pub at: &'a mut Breakable,
    pub postgres: &'a postgres::Cluster,
    pub dice: Dice,
}

impl<'a> Director<'a> {
    pub fn new(at: &'a mut Breakable, postgres: &'a postgres::Cluster, seed: u64) -> Self {
        Self { at, postgres, dice: Dice::new(seed, 1) }
    }

    /// Some of all kinds, in the order that the seed decides.
    fn faults(&mut self) -> Vec<Fault> {
        let mut one = || self.dice.below(INSTANCES as u64) as usize;
        let mut all = vec![
            KillInstance(one()),
            KillInstance(one()),
            TermInstance(one()),
            FreezeInstance(one()),
            CutClients(one()),
            KillRedis,
            FreezeRedis,
            FlushRedis,
            KillSubscribers,
            CutRedis(one()),
            HoleRedis(one()),
            CutDatabase(one()),
            HoleDatabase(one()),
            KillDatabase,
        ];
        for at in (1..all.len()).rev() {
            all.swap(at, self.dice.below(at as u64 + 1) as usize);
        }
        all.truncate(FAULTS);
        all
    }

    pub async fn run_faults(&mut self, traffic: &Traffic) -> Vec<Vec<Fault>> {
        let mut faults = self.faults();
        let mut rounds = Vec::new();
        while let Some(first) = faults.pop() {
            let mut round = vec![first];
            // Often a second fault at the same time.
            if self.dice.below(2) == 0
                && let Some(at) = faults.iter().position(|fault| fault.part() != first.part())
            {
                round.push(faults.remove(at));
            }
            eprintln!("  {round:?}");
            for fault in &round {
                self.begin(*fault).await;
            }
            tokio::time::sleep(Duration::from_millis(200 + self.dice.below(1_300))).await;
            // An instance starts only if its database answers.
            round.sort_by_key(|fault| std::cmp::Reverse(fault.part()));
            for fault in &round {
                self.end(*fault).await;
            }
            tokio::time::sleep(Duration::from_millis(self.dice.below(300))).await;
            self.goes_on(traffic).await;
            rounds.push(round);
        }
        rounds
    }

    pub async fn goes_on(&mut self, traffic: &Traffic) {
        let goal = traffic.burst.acked() + 20;
        until("the senders go on", s(20), || traffic.burst.acked() >= goal).await;
        for number in 0..INSTANCES {
            let ended = self.at.cluster.server.instance_mut(number).has_ended();
            assert!(ended.is_none(), "I9: instance {number} ended by itself: {ended:?}");
        }
    }

    async fn begin(&mut self, fault: Fault) {
        let redis = &self.at.cluster.redis;
        match fault {
            KillInstance(number) => self.at.cluster.server.instance_mut(number).kill9(),
            TermInstance(number) => self.at.cluster.server.instance(number).term(),
            FreezeInstance(number) => self.at.cluster.server.instance(number).stop(),
            CutClients(number) => self.at.fronts[number].cut(),
            KillRedis => redis.kill9(),
            FreezeRedis => redis.freeze(),
            FlushRedis => redis.ask::<()>(&["FLUSHALL"]).await,
            KillSubscribers => drop(redis.ask::<usize>(&["CLIENT", "KILL", "TYPE", "pubsub"]).await),
            CutRedis(number) => self.at.cluster.wires[number].cut(),
            HoleRedis(number) => self.at.cluster.wires[number].hole(),
            CutDatabase(number) => self.at.lines[number].cut(),
            HoleDatabase(number) => self.at.lines[number].hole(),
            KillDatabase => self.postgres.kill9(),
        }
    }

    async fn end(&mut self, fault: Fault) {
        match fault {
            KillInstance(number) => self.at.cluster.server.instance_mut(number).restart().await,
            TermInstance(number) => {
                let instance = self.at.cluster.server.instance_mut(number);
                let status = instance.wait_end(s(10)).await;
                assert_eq!(status.code(), Some(0), "{status}");
                instance.restart().await;
            }
            FreezeInstance(number) => self.at.cluster.server.instance(number).cont(),
            CutClients(number) => self.at.fronts[number].heal(),
            KillRedis => self.at.cluster.redis.up(),
            FreezeRedis => self.at.cluster.redis.thaw(),
            FlushRedis | KillSubscribers => {}
            CutRedis(number) | HoleRedis(number) => self.at.cluster.wires[number].heal(),
            CutDatabase(number) | HoleDatabase(number) => self.at.lines[number].heal(),
            KillDatabase => self.postgres.up(),
        }
    }
}
