//! The last good set of an issuer's keys, and when the next fetch may begin. It has no clock: callers say what time it is.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jsonwebtoken::{Algorithm, DecodingKey};

use super::fetch::Failure;
use super::keys::KeySet;

/// From one fetch to the next, at least, whatever key ids tokens name.
pub(super) const PAUSE: Duration = Duration::from_secs(10);
/// From one good fetch to the next where no token requests one: a key that the issuer withdraws ends by then.
const REFRESH: Duration = Duration::from_secs(300);
/// For how long a set serves while the issuer is away.
const SERVES: Duration = Duration::from_secs(24 * 3_600);

/// What is known of an issuer's keys.
#[derive(Default)]
pub(super) struct Cache {
    /// The last good set, and when its fetch ended.
    set: Option<(KeySet, Instant)>,
    /// When the last fetch began.
    began: Option<Instant>,
    is_running: bool,
    /// Since when fetches fail, and why the last one did.
    failing: Option<(Instant, Failure)>,
}

/// What a token's key id leads to.
pub(super) enum Lookup {
    Found(Arc<DecodingKey>),
    /// The issuer has no such key.
    Unknown,
    /// Not known, since the issuer's keys could not be fetched.
    Away,
    /// A fetch is due that may find it, or under way.
    Fetch,
}

impl Cache {
    /// Looks for a key, without a fetch.
    pub(super) fn find(&self, kid: Option<&str>, algorithm: Algorithm, now: Instant) -> Lookup {
        match self.after_fetch(kid, algorithm, now) {
            Lookup::Found(key) => Lookup::Found(key),
            _ if self.is_running || self.earliest().is_none_or(|at| at <= now) => Lookup::Fetch,
            without => without,
        }
    }

    /// The same where no further fetch is waited for.
    pub(super) fn after_fetch(&self, kid: Option<&str>, algorithm: Algorithm, now: Instant) -> Lookup {
        let serving = self.set.as_ref().filter(|(_, fetched)| now.duration_since(*fetched) < SERVES);
        match serving.and_then(|(set, _)| set.find(kid, algorithm)) {
            Some(key) => Lookup::Found(key),
            None if self.is_running || self.failing.is_some() || serving.is_none() => Lookup::Away,
            None => Lookup::Unknown,
        }
    }

    /// When the next fetch may begin; none = at once.
    pub(super) fn earliest(&self) -> Option<Instant> {
        self.began.map(|began| began + PAUSE)
    }

    /// When the next fetch begins by itself; none = at once.
    pub(super) fn due(&self) -> Option<Instant> {
        let wait = if self.failing.is_some() { PAUSE } else { REFRESH };
        self.began.map(|began| began + wait)
    }

    pub(super) fn is_running(&self) -> bool {
        self.is_running
    }

    pub(super) fn begin(&mut self, now: Instant) {
        (self.began, self.is_running) = (Some(now), true);
    }

    /// Takes the result of a fetch; a failure leaves the last good set as it is.
    pub(super) fn end(&mut self, fetched: Result<KeySet, Failure>, now: Instant) {
        self.is_running = false;
        match fetched {
            Ok(set) => (self.set, self.failing) = (Some((set, now)), None),
            Err(failure) => self.failing = Some((self.failing.map_or(now, |(since, _)| since), failure)),
        }
    }

    /// Whether fetches fail: for how long, why, and for how much longer the last good set serves.
    pub(super) fn trouble(&self, now: Instant) -> Option<(Duration, Failure, Duration)> {
        let (since, failure) = self.failing?;
        let serves = self.set.as_ref().map_or(Duration::ZERO, |(_, at)| SERVES.saturating_sub(now.duration_since(*at)));
        Some((now.duration_since(since), failure, serves))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::auth::issuers::keys::tests::ed25519;

    const SECOND: Duration = Duration::from_secs(1);

    fn set(kid: &str) -> KeySet {
        KeySet::parse(json!({"keys": [ed25519(kid)]}).to_string().as_bytes()).unwrap()
    }

    fn fetched(cache: &mut Cache, kid: &str, now: Instant) {
        cache.begin(now);
        cache.end(Ok(set(kid)), now);
    }

    fn failed(cache: &mut Cache, now: Instant) {
        cache.begin(now);
        cache.end(Err(Failure::Unreachable), now);
    }

    fn found(cache: &Cache, kid: &str, now: Instant) -> &'static str {
        match cache.find(Some(kid), Algorithm::EdDSA, now) {
            Lookup::Found(_) => "found",
            Lookup::Unknown => "unknown",
            Lookup::Away => "away",
            Lookup::Fetch => "fetch",
        }
    }

    #[test]
    fn p5_the_last_good_set_serves_for_24_hours_while_the_issuer_is_away() {
        let (mut cache, start) = (Cache::default(), Instant::now());
        fetched(&mut cache, "a", start);
        let mut now = start;
        while now < start + SERVES - PAUSE {
            now += PAUSE;
            failed(&mut cache, now);
            assert_eq!(found(&cache, "a", now), "found", "{:?}", now - start);
            assert_eq!(found(&cache, "b", now), "away", "nobody knows whether it exists by now");
        }
        assert_eq!(found(&cache, "a", start + SERVES - SECOND), "found");
        assert_eq!(cache.trouble(now).unwrap().2, start + SERVES - now);
        failed(&mut cache, start + SERVES);
        assert_eq!(found(&cache, "a", start + SERVES), "away");
        assert_eq!(cache.trouble(start + SERVES).unwrap().2, Duration::ZERO);
        fetched(&mut cache, "a", start + SERVES + PAUSE);
        assert_eq!(found(&cache, "a", start + SERVES + PAUSE), "found");
        assert!(cache.trouble(start + SERVES + PAUSE).is_none());
    }

    #[test]
    fn p5_an_unknown_key_is_fetched_at_most_every_ten_seconds() {
        let (mut cache, start) = (Cache::default(), Instant::now());
        assert_eq!(found(&cache, "a", start), "fetch");
        cache.begin(start);
        assert_eq!(found(&cache, "a", start + PAUSE * 2), "fetch", "one is under way, however long it takes");
        cache.end(Ok(set("a")), start + SECOND);
        assert_eq!(found(&cache, "a", start + SECOND), "found");
        assert_eq!(found(&cache, "b", start + PAUSE - SECOND), "unknown");
        assert_eq!(found(&cache, "b", start + PAUSE), "fetch");
        fetched(&mut cache, "b", start + PAUSE);
        assert_eq!(found(&cache, "a", start + PAUSE), "unknown", "the issuer has withdrawn it");
    }

    #[test]
    fn p5_a_set_is_fetched_anew_after_five_minutes_and_after_a_failure_sooner() {
        let (mut cache, start) = (Cache::default(), Instant::now());
        assert_eq!(cache.due(), None);
        fetched(&mut cache, "a", start);
        assert_eq!(cache.due(), Some(start + REFRESH));
        failed(&mut cache, start + REFRESH);
        assert_eq!(cache.due(), Some(start + REFRESH + PAUSE));
    }
}
