//! What a token is valid by: a sign-in, or the time at which it was issued.

use super::SignInId;
use super::clock::Micros;

/// What ends the validity of a token before its `exp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Grant {
    /// The token names this sign-in (`sid`), and ends with it.
    SignIn(SignInId),
    /// The token names no sign-in: one of a team's own backend or of its identity provider. It ends once its chatter has
    /// ended all tokens that were issued up to some time. Such a token may not say when it was issued.
    Issued(Option<Micros>),
}

impl Grant {
    /// The sign-in that the token names.
    #[must_use]
    pub fn sign_in_id(self) -> Option<SignInId> {
        match self {
            Self::SignIn(id) => Some(id),
            Self::Issued(_) => None,
        }
    }

    /// From when on tokens without a sign-in stay valid where all tokens of the chatter but this one end. Those that were
    /// issued together with this one stay too; one that does not say when it was issued ends with the others.
    #[must_use]
    pub fn ends_all_but_own_before(self, now: Micros) -> Micros {
        match self {
            Self::Issued(Some(at)) => at,
            Self::SignIn(_) | Self::Issued(None) => second_of(now),
        }
    }

    /// From when on tokens without a sign-in stay valid where this one ends, and with it all that are older.
    #[must_use]
    pub fn ends_before(self, now: Micros) -> Option<Micros> {
        match self {
            Self::SignIn(_) => None,
            Self::Issued(at) => Some(second_of(now).max(at.map_or(now, |at| Micros(at.0.saturating_add(1))))),
        }
    }

    /// Whether the token is void where all tokens without a sign-in are that were issued before this time. A token that
    /// does not say when it was issued counts as older.
    #[must_use]
    pub fn is_void(self, before: Option<Micros>) -> bool {
        match (self, before) {
            (Self::Issued(issued_at), Some(before)) => issued_at.is_none_or(|at| at < before),
            (Self::SignIn(_), _) | (_, None) => false,
        }
    }
}

/// The beginning of the second: times of issue have whole seconds, and a token that is issued right behind an end has to
/// count.
fn second_of(now: Micros) -> Micros {
    Micros(now.0 / 1_000_000 * 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tokens_without_a_sign_in_are_void_and_only_older_ones() {
        let before = Some(Micros(5));
        assert!(Grant::Issued(Some(Micros(4))).is_void(before) && Grant::Issued(None).is_void(before));
        assert!(!Grant::Issued(Some(Micros(5))).is_void(before) && !Grant::Issued(None).is_void(None));
        assert!(!Grant::SignIn(SignInId::new(1)).is_void(before));
    }

    #[test]
    fn a_token_ends_itself_and_spares_itself_whatever_the_clock_of_its_issuer() {
        let now = Micros(100);
        for at in [50, 99, 100, 130] {
            let own = Grant::Issued(Some(Micros(at)));
            assert!(own.is_void(own.ends_before(now)), "{at}");
            assert!(!own.is_void(Some(own.ends_all_but_own_before(now))), "{at}");
        }
        let undated = Grant::Issued(None);
        assert!(undated.is_void(undated.ends_before(now)));
        assert!(undated.is_void(Some(undated.ends_all_but_own_before(now))), "it may be of anybody");
    }

    #[test]
    fn a_token_counts_that_is_issued_in_the_second_in_which_older_ones_ended() {
        let (older, now) = (Grant::Issued(Some(Micros(3_000_000))), Micros(7_600_000));
        let next = Grant::Issued(Some(Micros(7_000_000)));
        assert!(!next.is_void(older.ends_before(now)));
        for asking in [Grant::SignIn(SignInId::new(1)), Grant::Issued(None)] {
            let before = Some(asking.ends_all_but_own_before(now));
            assert!(older.is_void(before) && !next.is_void(before));
        }
    }
}
