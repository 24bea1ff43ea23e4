//! What was told of whom, and what of that may be wrong elsewhere. Pure.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::ChatterId;

/// Who is back by then was never gone.
const GONE_AFTER: Duration = Duration::from_secs(2);
/// How long somebody is waited for who would say whether they are connected elsewhere, and how often they are asked.
const PATIENCE: Duration = Duration::from_secs(10);
const ASK_EVERY: Duration = Duration::from_millis(500);
/// Those of whom is remembered that they may have to be told of again; of more it is left to the next news of them.
const DOUBTFUL_MAX: usize = 65_536;
/// What was told last, for other instances that did not hear it.
const LATELY_MAX: usize = 10_000;
/// Several of them may say so at once.
const GATHER: Duration = Duration::from_millis(500);

/// See the module.
#[derive(Default)]
pub(super) struct Announced {
    /// Those whom others were told to be online.
    online: HashSet<ChatterId>,
    came: HashSet<ChatterId>,
    /// Those of whom others know nothing any more, whatever they were told.
    untold: HashSet<ChatterId>,
    /// Those who have no socket here any more and have not been told of.
    leaving: HashMap<ChatterId, Leaving>,
    /// Those who may have to be told of again, and whether others could not hear of them at all.
    doubtful: HashMap<ChatterId, bool>,
    doubt_at: Option<Instant>,
    /// Of whom others were told, and when.
    lately: VecDeque<(Instant, ChatterId)>,
}

/// Somebody who has no socket here any more.
struct Leaving {
    /// When that is told.
    due: Instant,
    /// Until when it may be put off.
    patience: Instant,
}

/// What has to be told now.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct News {
    pub came: Vec<ChatterId>,
    pub gone: Vec<ChatterId>,
    /// Whether it is time to look at those in doubt.
    pub doubt: bool,
}

impl Announced {
    /// Others know nothing of these any more.
    pub fn forget(&mut self, untold: &HashSet<ChatterId>) {
        for id in untold {
            self.online.remove(id);
            self.untold.insert(*id);
        }
    }

    /// Somebody came or went; `joined`: they were connected elsewhere when they came, so others know already.
    pub fn changed(&mut self, id: ChatterId, is_here: bool, joined: bool) {
        let untold = self.untold.remove(&id);
        if !is_here {
            self.came.remove(&id);
            self.leaving.entry(id).or_insert_with(|| {
                let due = Instant::now() + GONE_AFTER;
                Leaving { due, patience: due + PATIENCE }
            });
            return;
        }
        self.leaving.remove(&id);
        if joined && !untold {
            self.online.insert(id);
        } else if !self.online.contains(&id) {
            self.came.insert(id);
        }
    }

    /// These came and could not be told of.
    pub fn came_again(&mut self, chatters: &[ChatterId]) {
        self.came.extend(chatters);
    }

    /// Who has come, and who has been gone for long enough.
    pub fn news(&mut self, now: Instant) -> News {
        let gone = self.leaving.iter().filter(|(_, leaving)| leaving.due <= now).map(|(id, _)| *id).collect();
        let came = self.came.drain().collect();
        News { came, gone, doubt: self.doubt_at.is_some_and(|at| at <= now) }
    }

    /// When there is something to be told without anybody coming.
    pub fn next_at(&self) -> Option<Instant> {
        let came = (!self.came.is_empty()).then(Instant::now);
        self.leaving.values().map(|leaving| leaving.due).chain(self.doubt_at).chain(came).min()
    }

    /// Puts these off, as it is not known whether they are connected elsewhere; false if one of them has to be told of now.
    pub fn put_off(&mut self, gone: &[ChatterId], now: Instant) -> bool {
        if gone.iter().any(|id| self.leaving.get(id).is_some_and(|leaving| leaving.patience <= now)) {
            return false;
        }
        for id in gone {
            if let Some(leaving) = self.leaving.get_mut(id) {
                leaving.due = now + ASK_EVERY;
            }
        }
        true
    }

    /// Those who left and have not been told of; they need not be any more.
    pub fn take_leaving(&mut self) -> Vec<ChatterId> {
        self.leaving.drain().map(|(id, _)| id).collect()
    }

    /// Those of these whom others were told to be online.
    pub fn told(&self, of: &[ChatterId]) -> HashSet<ChatterId> {
        of.iter().filter(|id| self.online.contains(id)).copied().collect()
    }

    pub fn told_online(&mut self, chatters: &[ChatterId], unheard: bool) {
        self.online.extend(chatters);
        self.note(chatters);
        if unheard {
            self.doubt(chatters, true);
        }
    }

    /// `certain`: whether they are connected elsewhere was known.
    pub fn told_gone(&mut self, chatters: &[ChatterId], certain: bool, unheard: bool) {
        for id in chatters {
            self.online.remove(id);
            self.leaving.remove(id);
        }
        self.note(chatters);
        if unheard || !certain {
            self.doubt(chatters, unheard);
        }
    }

    fn note(&mut self, chatters: &[ChatterId]) {
        let now = Instant::now();
        self.lately.extend(chatters.iter().map(|id| (now, *id)));
        let over = self.lately.len().saturating_sub(LATELY_MAX);
        self.lately.drain(..over);
    }

    /// Some others heard nothing of what was told within this time.
    pub fn was_unheard(&mut self, within: Duration) {
        let lately = self.lately.iter().filter(|(at, _)| at.elapsed() <= within);
        let lately: Vec<ChatterId> = lately.map(|(_, id)| *id).collect();
        if !lately.is_empty() {
            self.doubt_at = self.doubt_at.or_else(|| Some(Instant::now() + GATHER));
            self.doubt(&lately, true);
        }
    }

    fn doubt(&mut self, chatters: &[ChatterId], unheard: bool) {
        for id in chatters {
            if self.doubtful.len() < DOUBTFUL_MAX || self.doubtful.contains_key(id) {
                *self.doubtful.entry(*id).or_default() |= unheard;
            }
        }
        self.doubt_at = self.doubt_at.or_else(|| Some(Instant::now()));
    }

    /// Those in doubt, each with whether others could not hear of them.
    pub fn doubtful(&self) -> Vec<(ChatterId, bool)> {
        self.doubtful.iter().map(|(id, unheard)| (*id, *unheard)).collect()
    }

    /// These are settled, unless something was added to their doubt since.
    pub fn no_longer_doubtful(&mut self, chatters: &[(ChatterId, bool)]) {
        for (id, unheard) in chatters {
            if self.doubtful.get(id) == Some(unheard) {
                self.doubtful.remove(id);
            }
        }
    }

    /// When to look again at those who are still in doubt.
    pub fn doubt_again_at(&mut self, at: Instant) {
        self.doubt_at = (!self.doubtful.is_empty()).then_some(at);
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

    #[test]
    fn who_is_back_soon_was_never_gone() {
        let mut known = Announced::default();
        known.changed(ANN, true, false);
        assert_eq!(known.news(after(0)).came, [ANN]);
        known.told_online(&[ANN], false);
        known.changed(ANN, false, false);
        assert_eq!(known.news(after(1_900)), News::default());
        known.changed(ANN, true, false);
        assert_eq!(known.news(after(2_100)), News::default());
        known.changed(ANN, false, false);
        assert_eq!(known.news(after(2_100)).gone, [ANN]);
    }

    #[test]
    fn who_was_elsewhere_when_they_came_is_no_news_unless_nobody_knows_of_them() {
        let mut known = Announced::default();
        known.changed(ANN, true, true);
        assert_eq!(known.news(after(0)), News::default());
        assert!(known.told(&[ANN, BOB]).contains(&ANN));
        known.forget(&HashSet::from([ANN]));
        known.changed(ANN, true, true);
        assert_eq!(known.news(after(0)).came, [ANN]);
        assert!(known.told(&[ANN]).is_empty());
    }

    #[test]
    fn who_went_is_put_off_for_a_while_where_nobody_knows() {
        let mut known = Announced::default();
        known.changed(ANN, false, false);
        assert!(known.put_off(&[ANN], after(2_100)));
        assert_eq!(known.news(after(2_200)), News::default());
        assert_eq!(known.news(after(3_000)).gone, [ANN]);
        assert!(!known.put_off(&[ANN], after(12_100)), "not for ever");
    }

    #[test]
    fn what_was_told_in_the_dark_is_doubted_until_it_is_settled() {
        let mut known = Announced::default();
        known.told_gone(&[ANN], true, false);
        assert!(!known.news(after(0)).doubt, "certain and heard");
        known.told_gone(&[ANN], false, false);
        known.told_online(&[ANN, BOB], true);
        assert!(known.news(after(0)).doubt);
        let mut doubtful = known.doubtful();
        doubtful.sort_unstable();
        assert_eq!(doubtful, [(ANN, true), (BOB, true)]);
        known.no_longer_doubtful(&[(ANN, false)]);
        assert_eq!(known.doubtful().len(), 2, "settled as what it was before");
        known.no_longer_doubtful(&[(ANN, true), (BOB, true)]);
        known.doubt_again_at(after(0));
        assert_eq!(known.next_at(), None);
    }

    #[test]
    fn what_others_have_not_heard_is_doubted_as_far_back_as_they_say_and_as_it_is_kept() {
        let mut known = Announced::default();
        known.was_unheard(Duration::from_secs(60));
        assert_eq!(known.next_at(), None, "nothing was told");
        known.told_online(&[ANN], false);
        known.told_gone(&[BOB], true, false);
        known.was_unheard(Duration::ZERO);
        assert_eq!(known.next_at(), None, "nothing so lately");
        known.was_unheard(Duration::from_secs(60));
        let mut doubtful = known.doubtful();
        doubtful.sort_unstable();
        assert_eq!(doubtful, [(ANN, true), (BOB, true)]);
        known.told_online(&vec![ChatterId::new(3); 2 * LATELY_MAX], false);
        assert_eq!(known.lately.len(), LATELY_MAX);
    }
}
