//! CPU time and memory of processes, read from `/proc`.

use std::collections::HashMap;
use std::fs;
use std::time::{Duration, Instant};

/// Clock ticks of `/proc` per second: `USER_HZ`, 100 on every Linux that we run on.
const TICKS_PER_S: u64 = 100;

/// The processes that are measured, each with all its descendants.
#[derive(Clone, Default)]
pub struct Roots {
    pub instances: Vec<u32>,
    pub postgres: Option<u32>,
    pub redis: Option<u32>,
}

/// CPU time in microseconds: so far, or in a while.
#[derive(Clone, Copy, Debug, Default)]
pub struct CpuTime {
    pub instances: u64,
    pub postgres: u64,
    pub redis: u64,
    /// This process, the load generator.
    own: u64,
    /// Everything on the machine.
    machine: u64,
}

impl CpuTime {
    fn now(roots: &Roots) -> Self {
        let us = |ticks: u64| ticks * (1_000_000 / TICKS_PER_S);
        let stats = stats();
        let tree = |roots: &[u32]| us(tree(&stats, roots).values().sum());
        Self {
            instances: tree(&roots.instances),
            postgres: tree(roots.postgres.as_slice()),
            redis: tree(roots.redis.as_slice()),
            own: us(stat(std::process::id()).map_or(0, |stat| stat.ticks)),
            machine: us(machine_ticks()),
        }
    }

    /// All that is measured.
    pub fn measured(&self) -> u64 {
        self.instances + self.postgres + self.redis
    }

    /// Processes that are neither measured nor measuring.
    pub fn others(&self) -> u64 {
        self.machine.saturating_sub(self.measured() + self.own)
    }

    fn since(&self, before: &Self) -> Self {
        Self {
            instances: self.instances.saturating_sub(before.instances),
            postgres: self.postgres.saturating_sub(before.postgres),
            redis: self.redis.saturating_sub(before.redis),
            own: self.own.saturating_sub(before.own),
            machine: self.machine.saturating_sub(before.machine),
        }
    }
}

/// The CPU time of processes since a start.
pub struct Meter {
    roots: Roots,
    before: CpuTime,
    from: Instant,
}

/// The CPU time that was spent in an interval.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spent {
    pub took: Duration,
    pub cpu: CpuTime,
}

impl Meter {
    pub fn start(roots: Roots) -> Self {
        Self { before: CpuTime::now(&roots), roots, from: Instant::now() }
    }

    pub fn read(&self) -> Spent {
        Spent { took: self.from.elapsed(), cpu: CpuTime::now(&self.roots).since(&self.before) }
    }
}

impl Spent {
    /// The load of other programs, in cores; where it is high, only CPU time per chat can be compared.
    pub fn other_cores(&self) -> f64 {
        self.cpu.others() as f64 / self.took.as_micros() as f64
    }
}

/// Resident memory of one process, in KiB.
pub fn resident_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()).and_then(|kib| kib.parse().ok()).unwrap_or(0)
}

struct Stat {
    parent: u32,
    /// User and system time, that of children that ended included.
    ticks: u64,
}

fn stat(pid: u32) -> Option<Stat> {
    let line = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is a name in brackets, which may hold anything; the third is the first after it.
    let fields: Vec<&str> = line.get(line.rfind(')')? + 1..)?.split_whitespace().collect();
    let number = |at: usize| fields.get(at - 3).and_then(|field| field.parse::<u64>().ok());
    let ticks = (14..=17).filter_map(number).sum();
    Some(Stat { parent: u32::try_from(number(4)?).ok()?, ticks })
}

fn stats() -> HashMap<u32, Stat> {
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter_map(|pid| Some((pid, stat(pid)?))).collect()
}

/// The ticks of every process that descends from these.
fn tree(stats: &HashMap<u32, Stat>, roots: &[u32]) -> HashMap<u32, u64> {
    let mut members = HashMap::new();
    let mut open: Vec<u32> = roots.to_vec();
    while let Some(pid) = open.pop() {
        let Some(found) = stats.get(&pid) else { continue };
        if members.insert(pid, found.ticks).is_none() {
            open.extend(stats.iter().filter(|(_, stat)| stat.parent == pid).map(|(child, _)| *child));
        }
    }
    members
}

/// All but idle and waiting for disks.
fn machine_ticks() -> u64 {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let fields = text.lines().next().unwrap_or_default().split_whitespace().skip(1).take(8);
    fields.enumerate().filter(|(at, _)| !matches!(at, 3 | 4)).filter_map(|(_, ticks)| ticks.parse::<u64>().ok()).sum()
}
