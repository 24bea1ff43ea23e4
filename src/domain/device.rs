//! What a session shows of the device that signed in: the name that the client gave it, and its network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Broken;

/// Checks the name of a device: 1 to 100 characters, not all blank, none that controls the terminal. An empty name is
/// none.
pub fn device_name(text: &str) -> Result<Option<&str>, Broken> {
    if text.is_empty() {
        return Ok(None);
    }
    if text.chars().count() > 100 || text.trim().is_empty() {
        return Err(Broken::new("device_name", "must have 1 to 100 characters, at least one not blank"));
    }
    if text.chars().any(char::is_control) {
        return Err(Broken::new("device_name", "must not have control characters"));
    }
    Ok(Some(text))
}

/// The network of an address, as its owner may recognise it: the first 24 bits of an IPv4 address, the first 48 of an
/// IPv6 address. The address itself is not kept.
#[must_use]
pub fn address_class(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(v4) => format!("{}/24", Ipv4Addr::from_bits(v4.to_bits() & !0xff)),
        IpAddr::V6(v6) => format!("{}/48", Ipv6Addr::from_bits(v6.to_bits() & !((1 << 80) - 1))),
    }
}

/// The part of an address that is limited: an IPv4 address, or the 64-bit network of an IPv6 address, since one
/// customer has all of it.
#[must_use]
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_class_of_an_address_is_its_network() {
        for (address, class) in [
            ("203.0.113.77", "203.0.113.0/24"),
            ("::ffff:203.0.113.77", "203.0.113.0/24"),
            ("2001:db8:1:2::77", "2001:db8:1::/48"),
            ("::1", "::/48"),
        ] {
            assert_eq!(address_class(address.parse().unwrap()), class);
        }
    }

    #[test]
    fn a_device_name_is_short_and_can_be_seen() {
        assert_eq!(device_name(""), Ok(None));
        assert_eq!(device_name("Firefox on Linux"), Ok(Some("Firefox on Linux")));
        for bad in [" ", "a\u{0}b", "a\nb", &"x".repeat(101)] {
            assert!(device_name(bad).is_err(), "{bad:?}");
        }
    }
}
