//! IP networks as an operator writes them: `192.0.2.0/24`, `2001:db8::/32`, `::1`.

use std::{fmt, net::IpAddr, str::FromStr};

use thiserror::Error;

/// A range of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network {
    base: IpAddr,
    prefix_len: u8,
}

/// The text is no network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "a network needs the form 192.0.2.0/24 or 2001:db8::/32, without bits set behind the prefix"
)]
pub struct NetworkError;

impl Network {
    /// 127.0.0.0/8 and ::1.
    pub fn loopback() -> [Network; 2] {
        let v4 = Network {
            base: IpAddr::from([127, 0, 0, 0]),
            prefix_len: 8,
        };
        let v6 = Network {
            base: IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
            prefix_len: 128,
        };
        [v4, v6]
    }

    /// Whether the address lies inside. An IPv4 address mapped into IPv6 counts as the IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        mask(address.to_canonical(), self.prefix_len) == Some(self.base)
            && address.to_canonical().is_ipv4() == self.base.is_ipv4()
    }
}

/// The address with all bits behind the prefix cleared; `None` if the prefix is longer than the address.
pub(crate) fn mask(address: IpAddr, prefix_len: u8) -> Option<IpAddr> {
    let (len, n) = (u32::from(prefix_len), address);
    match n {
        IpAddr::V4(v4) if len <= 32 => {
            let kept = u32::MAX.checked_shl(32 - len).unwrap_or(0);
            Some(IpAddr::from((u32::from(v4) & kept).to_be_bytes()))
        }
        IpAddr::V6(v6) if len <= 128 => {
            let kept = u128::MAX.checked_shl(128 - len).unwrap_or(0);
            Some(IpAddr::from((u128::from(v6) & kept).to_be_bytes()))
        }
        _ => None,
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Network, NetworkError> {
        let (address, prefix_len) = match text.split_once('/') {
            Some((address, len)) => (address, Some(len)),
            None => (text, None),
        };
        let base: IpAddr = address.parse().map_err(|_| NetworkError)?;
        let full = if base.is_ipv4() { 32 } else { 128 };
        let prefix_len = prefix_len
            .map_or(Ok(full), str::parse)
            .map_err(|_| NetworkError)?;
        // Bits behind the prefix mean that the operator had something else in mind.
        if mask(base, prefix_len) == Some(base) {
            Ok(Network { base, prefix_len })
        } else {
            Err(NetworkError)
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.prefix_len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contains_what_it_says() {
        let contains = |network: &str, address: &str| {
            network
                .parse::<Network>()
                .unwrap()
                .contains(address.parse().unwrap())
        };
        assert!(contains("192.0.2.0/24", "192.0.2.255"));
        assert!(!contains("192.0.2.0/24", "192.0.3.0"));
        assert!(contains("192.0.2.0/24", "::ffff:192.0.2.1"));
        assert!(contains("192.0.2.7", "192.0.2.7"));
        assert!(contains("0.0.0.0/0", "203.0.113.1"));
        assert!(!contains("0.0.0.0/0", "2001:db8::1"));
        assert!(contains("2001:db8::/32", "2001:db8:ffff::1"));
        assert!(!contains("::/0", "192.0.2.1"));
        assert!(Network::loopback()[0].contains("127.1.2.3".parse().unwrap()));
    }

    #[test]
    fn refuses_the_rest() {
        for bad in [
            "",
            "192.0.2.0/33",
            "192.0.2.1/24",
            "192.0.2/24",
            "2001:db8::/129",
            "x/8",
            "192.0.2.0/",
            "::1/-1",
        ] {
            assert_eq!(bad.parse::<Network>(), Err(NetworkError), "{bad}");
        }
    }
}
