//! What processes cost, read from `/proc`.

use std::collections::HashMap;
use std::fs;

/// Clock ticks of `/proc` per second: `USER_HZ`, 100 on every Linux that we run on.
const TICKS_PER_S: u64 = 100;

/// CPU time used so far, in microseconds.
#[derive(Clone, Copy)]
pub struct CpuTime {
    /// The process trees that are measured.
    pub measured: u64,
    /// This process, the load generator.
    pub own: u64,
    /// Everything on the machine.
    pub machine: u64,
}

/// The CPU time of these processes with all their descendants, of this one, and of the machine.
pub fn cpu_time(roots: &[u32]) -> CpuTime {
    let us = |ticks: u64| ticks * (1_000_000 / TICKS_PER_S);
    let own = stat(std::process::id()).map_or(0, |stat| stat.ticks);
    CpuTime { measured: us(tree(roots).values().sum()), own: us(own), machine: us(machine_ticks()) }
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

/// The ticks of every process that descends from these.
fn tree(roots: &[u32]) -> HashMap<u32, u64> {
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let stats: HashMap<u32, Stat> = pids.filter_map(|pid| Some((pid, stat(pid)?))).collect();
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
