//! Names of things, each noun a type of its own so that no two are mixed up.
//!
//! All are ULIDs: unguessable enough not to invite counting, ordered by creation so that lists are
//! pages of keys. Nothing relies on them being secret.

use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use ulid::{Generator, Ulid};

use crate::store::Key;

/// The text is not an id: 26 letters and digits of Crockford's base 32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadId;

impl fmt::Display for BadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("id is not a ULID of 26 letters and digits")
    }
}

impl std::error::Error for BadId {}

/// The last one given out: those of one millisecond are ordered by creation too.
static LAST: Mutex<Generator> = Mutex::new(Generator::new());

fn next() -> Ulid {
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    // It fails when a millisecond began with the highest of 2⁸⁰ numbers.
    last.generate().unwrap_or_else(|_| Ulid::new())
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, utoipa::ToSchema)]
        #[schema(value_type = String, example = "01JD4Z7Q8R5S6T7V8W9X0Y1Z2A")]
        pub struct $name(pub Ulid);

        impl $name {
            /// A new one, never given out before, behind all that this process gave out.
            #[allow(clippy::new_without_default)] // each call gives another
            pub fn new() -> $name {
                $name(next())
            }

            /// The sixteen octets whose order is the order of creation.
            pub fn octets(self) -> [u8; 16] {
                self.0.to_bytes()
            }

            /// The id with these octets.
            pub fn from_octets(octets: [u8; 16]) -> $name {
                $name(Ulid::from_bytes(octets))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = BadId;

            fn from_str(text: &str) -> Result<$name, BadId> {
                Ulid::from_string(text).map($name).map_err(|_| BadId)
            }
        }

        impl Key for $name {
            fn write(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.octets());
            }

            fn read(input: &mut &[u8]) -> Option<$name> {
                <[u8; 16]>::read(input).map($name::from_octets)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                match serializer.is_human_readable() {
                    true => serializer.collect_str(self),
                    false => self.octets().serialize(serializer),
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<$name, D::Error> {
                match deserializer.is_human_readable() {
                    true => String::deserialize(deserializer)?
                        .parse()
                        .map_err(serde::de::Error::custom),
                    false => <[u8; 16]>::deserialize(deserializer).map($name::from_octets),
                }
            }
        }
    )*};
}

ids! {
    /// An organisation: the operator, a reseller or a customer.
    OrgId
    /// A person who belongs to one organisation.
    UserId
    /// A secret that acts for a user.
    TokenId
    /// One thing asked for in a basket or an order.
    ItemId
    /// What was placed from a basket.
    OrderId
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_survive_the_round_trip_through_text_and_store() {
        let id = OrgId::new();
        assert_eq!(id.to_string().parse(), Ok(id));
        let octets = postcard::to_stdvec(&id).unwrap();
        assert_eq!(octets.len(), 16);
        assert_eq!(postcard::from_bytes::<OrgId>(&octets), Ok(id));
        let json = serde_json::to_string(&id).unwrap();
        assert_eq!(serde_json::from_str::<OrgId>(&json).unwrap(), id);
    }

    #[test]
    fn ids_of_one_millisecond_are_in_the_order_of_their_creation() {
        let ids: Vec<OrderId> = (0..10_000).map(|_| OrderId::new()).collect();
        assert!(ids.is_sorted_by(|one, next| one < next));
    }

    #[test]
    fn what_is_no_ulid_is_refused() {
        for text in ["", "1", "01JD4Z7Q8R5S6T7V8W9X0Y1Z2", "01JD4Z7Q8R5S6T7V8W9X0Y1Z2U2"] {
            assert_eq!(text.parse::<OrgId>(), Err(BadId), "{text}");
        }
    }
}
