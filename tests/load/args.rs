//! The workloads and options of the command line.

use std::time::Duration;

/// `cargo bench --bench load -- …`
pub const USAGE: &str = "usage: [saturate] [hot] [steady] [idle] [cluster] [net] [--postgres] [--secs N] [--rounds N]";

/// One workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// 50 pairs, both send, 4 chats in flight per sender.
    Saturate,
    /// One pair, both send, 64 chats in flight per sender.
    Hot,
    /// 1,000 chats a second over 100 pairs.
    Steady,
    /// 10,000 sockets that only wait.
    Idle,
}

impl Workload {
    pub const ALL: [Self; 4] = [Self::Saturate, Self::Hot, Self::Steady, Self::Idle];

    /// As it is called on the command line and in the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Saturate => "saturate",
            Self::Hot => "hot",
            Self::Steady => "steady",
            Self::Idle => "idle",
        }
    }
}

/// The parsed command line.
#[derive(Debug)]
pub struct Args {
    pub workloads: Vec<Workload>,
    /// Several instances, on PostgreSQL and Redis; one round.
    pub cluster: bool,
    /// The cost of polling the database for what Redis did not deliver; one round.
    pub net: bool,
    pub postgres: bool,
    /// How long chats are counted, after the warm-up.
    pub measured: Duration,
    pub rounds: u32,
}

impl Args {
    /// Reads the arguments after the program's name.
    pub fn parse(given: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let measured = Duration::from_secs(10);
        let mut args = Self { workloads: Vec::new(), cluster: false, net: false, postgres: false, measured, rounds: 1 };
        let mut given = given.into_iter();
        while let Some(word) = given.next() {
            match word.as_str() {
                // `cargo bench` itself adds this.
                "--bench" => {}
                "--postgres" => args.postgres = true,
                "cluster" => args.cluster = true,
                "net" => args.net = true,
                "--secs" => args.measured = Duration::from_secs(number(&word, given.next(), 600)?.into()),
                "--rounds" => args.rounds = number(&word, given.next(), 100)?,
                name => match Workload::ALL.into_iter().find(|workload| workload.name() == name) {
                    Some(workload) => args.workloads.push(workload),
                    None => return Err(format!("{name:?} is not known\n{USAGE}")),
                },
            }
        }
        if args.workloads.is_empty() && !args.cluster && !args.net {
            args.workloads = Workload::ALL.to_vec();
        }
        Ok(args)
    }
}

fn number(option: &str, value: Option<String>, max: u32) -> Result<u32, String> {
    let number = value.and_then(|value| value.parse().ok()).filter(|number| (1..=max).contains(number));
    number.ok_or_else(|| format!("{option} takes a number from 1 to {max}\n{USAGE}"))
}
