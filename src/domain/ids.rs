//! Ids and the two counters of a room: whole numbers on the wire and in the database, one type each in between.

#[cfg(test)]
use std::borrow::Cow;
use std::fmt;
use std::num::ParseIntError;
use std::ops::{Add, Sub};
use std::str::FromStr;

use sea_orm::DeriveValueType;
use serde::{Deserialize, Serialize};
#[cfg(test)]
use utoipa::openapi::{RefOr, Schema};
#[cfg(test)]
use utoipa::{PartialSchema, ToSchema};

macro_rules! numbers {
    ($($(#[$doc:meta])* $name:ident;)+) => {$(
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, DeriveValueType,
        )]
        #[serde(transparent)]
        pub struct $name(i64);

        impl $name {
            /// Wraps the number.
            #[must_use]
            pub const fn new(number: i64) -> Self {
                Self(number)
            }

            /// The bare number, for SQL, keys and logs.
            #[must_use]
            pub const fn get(self) -> i64 {
                self.0
            }
        }

        impl From<i64> for $name {
            fn from(number: i64) -> Self {
                Self(number)
            }
        }

        impl FromStr for $name {
            type Err = ParseIntError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        #[cfg(test)]
        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                i64::schema()
            }
        }

        /// The documents show the number, not the type.
        #[cfg(test)]
        impl ToSchema for $name {
            fn name() -> Cow<'static, str> {
                <i64 as ToSchema>::name()
            }
        }
    )+};
}

macro_rules! counters {
    ($($name:ident)+) => {$(
        impl $name {
            /// Before the first.
            pub const ZERO: Self = Self(0);
            /// The first.
            pub const FIRST: Self = Self(1);
            /// Beyond any.
            pub const MAX: Self = Self(i64::MAX);

            /// The one that follows.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }
        }

        /// Before the first.
        impl Default for $name {
            fn default() -> Self {
                Self::ZERO
            }
        }

        /// So many further on.
        impl Add<i64> for $name {
            type Output = Self;

            fn add(self, count: i64) -> Self {
                Self(self.0.saturating_add(count))
            }
        }

        /// So many further back.
        impl Sub<i64> for $name {
            type Output = Self;

            fn sub(self, count: i64) -> Self {
                Self(self.0.saturating_sub(count))
            }
        }

        /// How far it is from the other to this one.
        impl Sub for $name {
            type Output = i64;

            fn sub(self, other: Self) -> i64 {
                self.0.saturating_sub(other.0)
            }
        }
    )+};
}

numbers! {
    /// A chatter's id, below 2^53.
    ChatterId;
    /// A chatroom's id, below 2^53.
    ChatroomId;
    /// A chat's id, below 2^53.
    ChatId;
    /// A sign-in's id, below 2^53.
    SignInId;
    /// A chat's place in its room: 1, 2, 3 …
    Seq;
    /// The number of a change in a room: 1, 2, 3 …
    Version;
}

counters! { Seq Version }

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn an_id_is_a_number_in_json_and_the_text_of_it_as_a_key() {
        let json = r#"{"7":41}"#;
        let cursors: BTreeMap<ChatroomId, Version> = serde_json::from_str(json).unwrap();
        assert_eq!(cursors, BTreeMap::from([(7.into(), 41.into())]));
        assert_eq!(serde_json::to_string(&cursors).unwrap(), json);
    }

    #[test]
    fn the_schema_of_an_id_is_that_of_its_number() {
        assert_eq!(ChatId::name(), <i64 as ToSchema>::name());
        assert!(ChatId::schema() == i64::schema());
    }

    #[test]
    fn counters_count_and_keep_the_distance() {
        assert_eq!(Seq::ZERO.next(), Seq::FIRST);
        assert_eq!(Seq::MAX.next(), Seq::MAX);
        assert_eq!((Seq::new(9) - Seq::new(4), Seq::new(9) - 4), (5, Seq::new(5)));
    }
}
