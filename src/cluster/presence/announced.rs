//! The presence that was announced, what has to be announced next, and what may have to be announced again. Pure.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::ChatterId;

/// A chatter who reconnects within this time was never offline.
const OFFLINE_AFTER: Duration = Duration::from_secs(2);
/// How long a departure waits for a directory that does not answer, and how often the directory is asked.
const PATIENCE: Duration = Duration::from_secs(10);
const ASK_EVERY: Duration = Duration::from_millis(500);
/// The most chatters that are kept as uncertain. The presence of further ones is corrected by their next change.
const UNCERTAIN_MAX: usize = 65_536;
/// The most announcements that are kept for other instances which may not have received them.
const RECENT_MAX: usize = 10_000;
/// Several instances may ask for a repetition at once.
const GATHER: Duration = Duration::from_millis(500);

/// What happened to a chatter's sockets on this instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// The first socket was opened; the chatter was connected nowhere.
    Connected,
    /// The first socket was opened here; the chatter was connected elsewhere, where that was announced.
    ConnectedToo,
    /// The last socket was closed.
    Disconnected,
}

/// A presence as watchers see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Online,
    Offline,
}

/// Whether the directory answered where the chatters of an announcement are connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Certainty {
    Certain,
    Uncertain,
}

/// The instances on which the watchers could receive an announcement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reach {
    #[default]
    Everywhere,
    /// Only this instance: the broker was away, or the others may not have received the message.
    OnlyHere,
}

/// The state of the announcements, by chatter.
#[derive(Default)]
pub(super) struct Announced {
    /// Announced as online.
    online: HashSet<ChatterId>,
    /// Connected, and not announced yet.
    arrived: HashSet<ChatterId>,
    /// The announcement no longer counts for the watchers.
    forgotten: HashSet<ChatterId>,
    /// Without a socket here any more, which was not announced yet.
    leaving: HashMap<ChatterId, Leaving>,
    /// May have to be announced again, with the reach of what was announced.
    uncertain: HashMap<ChatterId, Reach>,
    /// When the uncertain ones are looked up next.
    recheck_at: Option<Instant>,
    /// The latest announcements.
    recent: VecDeque<(Instant, ChatterId)>,
}

/// A chatter who has no socket here any more.
struct Leaving {
    /// When that is announced.
    due: Instant,
    /// Until when the announcement may be postponed.
    patience: Instant,
}

/// What has to be announced now.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    pub arrived: Vec<ChatterId>,
    pub left: Vec<ChatterId>,
    /// It is time to look up the uncertain ones.
    pub is_recheck_due: bool,
}

impl Announced {
    /// The announcements of these chatters no longer count for their watchers.
    pub(crate) fn forget(&mut self, chatters: &HashSet<ChatterId>) {
        for id in chatters {
            self.online.remove(id);
            self.forgotten.insert(*id);
        }
    }

    /// Takes a change of a chatter's sockets.
    pub(crate) fn changed(&mut self, id: ChatterId, change: Change) {
        let was_forgotten = self.forgotten.remove(&id);
        if change == Change::Disconnected {
            self.arrived.remove(&id);
            self.leaving.entry(id).or_insert_with(|| {
                let due = Instant::now() + OFFLINE_AFTER;
                Leaving { due, patience: due + PATIENCE }
            });
            return;
        }
        self.leaving.remove(&id);
        if change == Change::ConnectedToo && !was_forgotten {
            self.online.insert(id);
        } else if !self.online.contains(&id) {
            self.arrived.insert(id);
        }
    }

    /// These arrived, and could not be announced.
    pub(crate) fn arrived_again(&mut self, chatters: &[ChatterId]) {
        self.arrived.extend(chatters);
    }

    /// Takes the arrivals, and gives the departures that are due.
    pub(crate) fn take_changes(&mut self, now: Instant) -> Changes {
        let left = self.leaving.iter().filter(|(_, leaving)| leaving.due <= now).map(|(id, _)| *id).collect();
        let arrived = self.arrived.drain().collect();
        Changes { arrived, left, is_recheck_due: self.recheck_at.is_some_and(|at| at <= now) }
    }

    /// When something is due even if no chatter connects or disconnects.
    pub(crate) fn next_at(&self) -> Option<Instant> {
        let arrived = (!self.arrived.is_empty()).then(Instant::now);
        self.leaving.values().map(|leaving| leaving.due).chain(self.recheck_at).chain(arrived).min()
    }

    /// Postpones these departures, as the directory does not answer. False if one of them is out of patience.
    pub(crate) fn postpone(&mut self, left: &[ChatterId], now: Instant) -> bool {
        if left.iter().any(|id| self.leaving.get(id).is_some_and(|leaving| leaving.patience <= now)) {
            return false;
        }
        for id in left {
            if let Some(leaving) = self.leaving.get_mut(id) {
                leaving.due = now + ASK_EVERY;
            }
        }
        true
    }

    /// Takes the departures that were not announced yet.
    pub(crate) fn take_leaving(&mut self) -> Vec<ChatterId> {
        self.leaving.drain().map(|(id, _)| id).collect()
    }

    /// Those of these chatters who were announced as online.
    pub(crate) fn online_among(&self, chatters: &[ChatterId]) -> HashSet<ChatterId> {
        chatters.iter().filter(|id| self.online.contains(id)).copied().collect()
    }

    /// These were announced as online.
    pub(crate) fn announced_online(&mut self, chatters: &[ChatterId], reach: Reach) {
        self.online.extend(chatters);
        self.keep(chatters);
        if reach == Reach::OnlyHere {
            self.mark_uncertain(chatters, reach);
        }
    }

    /// The departures of these were announced, or found not to need an announcement.
    pub(crate) fn announced_left(&mut self, chatters: &[ChatterId], certainty: Certainty, reach: Reach) {
        for id in chatters {
            self.online.remove(id);
            self.leaving.remove(id);
        }
        self.keep(chatters);
        if reach == Reach::OnlyHere || certainty == Certainty::Uncertain {
            self.mark_uncertain(chatters, reach);
        }
    }

    fn keep(&mut self, chatters: &[ChatterId]) {
        let now = Instant::now();
        self.recent.extend(chatters.iter().map(|id| (now, *id)));
        let over = self.recent.len().saturating_sub(RECENT_MAX);
        self.recent.drain(..over);
    }

    /// Other instances may not have received the announcements of the last `within`.
    pub(crate) fn may_be_lost(&mut self, within: Duration) {
        let recent = self.recent.iter().filter(|(at, _)| at.elapsed() <= within);
        let recent: Vec<ChatterId> = recent.map(|(_, id)| *id).collect();
        if !recent.is_empty() {
            self.recheck_at = self.recheck_at.or_else(|| Some(Instant::now() + GATHER));
            self.mark_uncertain(&recent, Reach::OnlyHere);
        }
    }

    fn mark_uncertain(&mut self, chatters: &[ChatterId], reach: Reach) {
        for id in chatters {
            if self.uncertain.len() < UNCERTAIN_MAX || self.uncertain.contains_key(id) {
                let known = self.uncertain.entry(*id).or_default();
                *known = reach.max(*known);
            }
        }
        self.recheck_at = self.recheck_at.or_else(|| Some(Instant::now()));
    }

    /// The uncertain chatters, each with the reach of the announcement.
    pub(crate) fn uncertain(&self) -> Vec<(ChatterId, Reach)> {
        self.uncertain.iter().map(|(id, reach)| (*id, *reach)).collect()
    }

    /// These are certain now, unless they have become less certain since they were read.
    pub(crate) fn resolved(&mut self, chatters: &[(ChatterId, Reach)]) {
        for (id, reach) in chatters {
            if self.uncertain.get(id) == Some(reach) {
                self.uncertain.remove(id);
            }
        }
    }

    /// Sets when the chatters who are still uncertain are looked up next.
    pub(crate) fn recheck_at(&mut self, at: Instant) {
        self.recheck_at = (!self.uncertain.is_empty()).then_some(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANN: ChatterId = ChatterId::new(1);
    const BOB: ChatterId = ChatterId::new(2);

    fn after(ms: u64) -> Instant {
        Instant::now() + Duration::from_millis(ms)
    }

    fn sorted(announced: &Announced) -> Vec<(ChatterId, Reach)> {
        let mut uncertain = announced.uncertain();
        uncertain.sort_unstable();
        uncertain
    }

    #[test]
    fn a_chatter_who_reconnects_within_two_seconds_was_never_offline() {
        let mut announced = Announced::default();
        announced.changed(ANN, Change::Connected);
        assert_eq!(announced.take_changes(after(0)).arrived, [ANN]);
        announced.announced_online(&[ANN], Reach::Everywhere);
        announced.changed(ANN, Change::Disconnected);
        assert_eq!(announced.take_changes(after(1_900)), Changes::default());
        announced.changed(ANN, Change::Connected);
        assert_eq!(announced.take_changes(after(2_100)), Changes::default());
        announced.changed(ANN, Change::Disconnected);
        assert_eq!(announced.take_changes(after(2_100)).left, [ANN]);
    }

    #[test]
    fn a_second_instance_announces_a_chatter_only_if_the_announcement_was_forgotten() {
        let mut announced = Announced::default();
        announced.changed(ANN, Change::ConnectedToo);
        assert_eq!(announced.take_changes(after(0)), Changes::default());
        assert!(announced.online_among(&[ANN, BOB]).contains(&ANN));
        announced.forget(&HashSet::from([ANN]));
        announced.changed(ANN, Change::ConnectedToo);
        assert_eq!(announced.take_changes(after(0)).arrived, [ANN]);
        assert!(announced.online_among(&[ANN]).is_empty());
    }

    #[test]
    fn a_departure_waits_ten_seconds_for_a_silent_directory() {
        let mut announced = Announced::default();
        announced.changed(ANN, Change::Disconnected);
        assert!(announced.postpone(&[ANN], after(2_100)));
        assert_eq!(announced.take_changes(after(2_200)), Changes::default());
        assert_eq!(announced.take_changes(after(3_000)).left, [ANN]);
        assert!(!announced.postpone(&[ANN], after(12_100)), "its patience has ended");
    }

    #[test]
    fn an_announcement_during_an_outage_is_uncertain_until_it_is_resolved() {
        let mut announced = Announced::default();
        announced.announced_left(&[ANN], Certainty::Certain, Reach::Everywhere);
        assert!(!announced.take_changes(after(0)).is_recheck_due, "certain and received");
        announced.announced_left(&[ANN], Certainty::Uncertain, Reach::Everywhere);
        announced.announced_online(&[ANN, BOB], Reach::OnlyHere);
        assert!(announced.take_changes(after(0)).is_recheck_due);
        assert_eq!(sorted(&announced), [(ANN, Reach::OnlyHere), (BOB, Reach::OnlyHere)]);
        announced.resolved(&[(ANN, Reach::Everywhere)]);
        assert_eq!(announced.uncertain().len(), 2, "resolved as what it was before");
        announced.resolved(&[(ANN, Reach::OnlyHere), (BOB, Reach::OnlyHere)]);
        announced.recheck_at(after(0));
        assert_eq!(announced.next_at(), None);
    }

    #[test]
    fn lost_announcements_are_uncertain_as_far_back_as_asked_for_and_kept() {
        let mut announced = Announced::default();
        announced.may_be_lost(Duration::from_secs(60));
        assert_eq!(announced.next_at(), None, "nothing was announced");
        announced.announced_online(&[ANN], Reach::Everywhere);
        announced.announced_left(&[BOB], Certainty::Certain, Reach::Everywhere);
        announced.may_be_lost(Duration::ZERO);
        assert_eq!(announced.next_at(), None, "nothing was announced that lately");
        announced.may_be_lost(Duration::from_secs(60));
        assert_eq!(sorted(&announced), [(ANN, Reach::OnlyHere), (BOB, Reach::OnlyHere)]);
        announced.announced_online(&vec![ChatterId::new(3); 2 * RECENT_MAX], Reach::Everywhere);
        assert_eq!(announced.recent.len(), RECENT_MAX);
    }
}
