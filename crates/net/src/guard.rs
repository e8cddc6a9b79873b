//! Which addresses a request may be sent to. The guard judges *resolved* addresses at connect time, so that a name
//! that resolves to another place between check and use (DNS rebinding) gains nothing.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
    sync::Arc,
};

/// Where a request may go.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum AddressRule {
    /// Anywhere: for addresses that the operator configured.
    Any,
    /// Public addresses, and what the operator allowed besides: for addresses that somebody else gave us.
    PublicOnly { allow: Arc<[Allowed]> },
}

impl Default for AddressRule {
    /// The strictest rule.
    fn default() -> AddressRule {
        AddressRule::public_only([])
    }
}

impl AddressRule {
    pub fn public_only(allow: impl IntoIterator<Item = Allowed>) -> AddressRule {
        AddressRule::PublicOnly { allow: allow.into_iter().collect() }
    }

    /// Whether a connection to `address`, reached under the name `host`, may be made.
    pub fn permits(&self, host: &str, port: u16, address: IpAddr) -> bool {
        match self {
            AddressRule::Any => true,
            AddressRule::PublicOnly { allow } => {
                is_public(address) || allow.iter().any(|allowed| allowed.permits(host, port, address))
            }
        }
    }
}

/// One exception of the operator's: `host`, `host:port`, `10.0.0.5`, `10.0.0.5:8080`, `[fd00::1]:8080`, `10.0.0.0/8`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Allowed {
    place: Place,
    /// `None`: every port.
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Place {
    /// A name, trusted wherever it resolves to. Lower case.
    Name(String),
    Network {
        address: IpAddr,
        prefix: u8,
    },
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is neither a host, host:port, address nor network (10.0.0.0/8)")]
pub struct NotAllowable(String);

impl Allowed {
    fn permits(&self, host: &str, port: u16, address: IpAddr) -> bool {
        if self.port.is_some_and(|allowed| allowed != port) {
            return false;
        }
        match &self.place {
            Place::Name(name) => host.trim_end_matches('.').eq_ignore_ascii_case(name),
            Place::Network { address: network, prefix } => is_within(canonical(address), *network, *prefix),
        }
    }
}

impl FromStr for Allowed {
    type Err = NotAllowable;

    fn from_str(text: &str) -> Result<Allowed, NotAllowable> {
        let refuse = || NotAllowable(text.to_owned());
        if let Some((address, prefix)) = text.split_once('/') {
            let address: IpAddr = address.parse().map_err(|_| refuse())?;
            let prefix: u8 = prefix.parse().map_err(|_| refuse())?;
            let widest = if address.is_ipv4() { 32 } else { 128 };
            if prefix > widest {
                return Err(refuse());
            }
            return Ok(Allowed { place: Place::Network { address, prefix }, port: None });
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Allowed::address(address, None));
        }
        if let Ok(socket) = text.parse::<std::net::SocketAddr>() {
            return Ok(Allowed::address(socket.ip(), Some(socket.port())));
        }
        let (name, port) = match text.split_once(':') {
            Some((name, port)) => (name, Some(port.parse::<u16>().map_err(|_| refuse())?)),
            None => (text, None),
        };
        if !is_host_name(name) {
            return Err(refuse());
        }
        Ok(Allowed { place: Place::Name(name.trim_end_matches('.').to_ascii_lowercase()), port })
    }
}

impl Allowed {
    fn address(address: IpAddr, port: Option<u16>) -> Allowed {
        let prefix = if address.is_ipv4() { 32 } else { 128 };
        Allowed { place: Place::Network { address, prefix }, port }
    }
}

fn is_host_name(name: &str) -> bool {
    let in_alphabet =
        name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'));
    (1..=253).contains(&name.len()) && in_alphabet
}

/// The address a packet would really go to: an IPv4 address in IPv6 clothes is an IPv4 address.
fn canonical(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(six) => embedded_ipv4(six).map_or(address, IpAddr::V4),
    }
}

/// IPv4-mapped (`::ffff:0:0/96`) and NAT64 (`64:ff9b::/96`) addresses reach the IPv4 address in their last 32 bits.
fn embedded_ipv4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let bits = address.to_bits();
    let carries = matches!(bits >> 32, 0xffff | 0x0064_ff9b_0000_0000_0000_0000);
    carries.then(|| Ipv4Addr::from_bits((bits & 0xffff_ffff) as u32))
}

/// Whether an address belongs to the public internet, so that it cannot be a place of ours.
pub fn is_public(address: IpAddr) -> bool {
    match canonical(address) {
        IpAddr::V4(four) => !is_within_any(IpAddr::V4(four), NOT_PUBLIC_V4),
        IpAddr::V6(six) => {
            let global_unicast =
                is_within(IpAddr::V6(six), IpAddr::V6(Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0)), 3);
            global_unicast && !is_within_any(IpAddr::V6(six), NOT_PUBLIC_V6)
        }
    }
}

const fn v4(a: u8, b: u8, c: u8, d: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}

const fn v6(a: u16, b: u16) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(a, b, 0, 0, 0, 0, 0, 0))
}

/// IANA's special-purpose registry (RFC 6890 and its successors), and one cloud's address that is not in it.
const NOT_PUBLIC_V4: &[(IpAddr, u8)] = &[
    (v4(0, 0, 0, 0), 8),        // this network
    (v4(10, 0, 0, 0), 8),       // private
    (v4(100, 64, 0, 0), 10),    // carrier-grade NAT; Alibaba's metadata service 100.100.100.200
    (v4(127, 0, 0, 0), 8),      // loopback
    (v4(168, 63, 129, 16), 32), // Azure's wire server: routable in form, the platform's own in fact
    (v4(169, 254, 0, 0), 16),   // link-local; metadata services 169.254.169.254, 169.254.170.2
    (v4(172, 16, 0, 0), 12),    // private
    (v4(192, 0, 0, 0), 24),     // protocol assignments; Oracle's metadata service 192.0.0.192
    (v4(192, 0, 2, 0), 24),     // documentation
    (v4(192, 88, 99, 0), 24),   // 6to4 relays
    (v4(192, 168, 0, 0), 16),   // private
    (v4(198, 18, 0, 0), 15),    // benchmarking
    (v4(198, 51, 100, 0), 24),  // documentation
    (v4(203, 0, 113, 0), 24),   // documentation
    (v4(224, 0, 0, 0), 4),      // multicast
    (v4(240, 0, 0, 0), 4),      // reserved, broadcast
];

/// What is not public inside `2000::/3`. Outside it nothing is: loopback, link-local, unique-local (AWS's metadata
/// service `fd00:ec2::254`), multicast, IPv4-compatible, discard and segment-routing addresses all lie there.
const NOT_PUBLIC_V6: &[(IpAddr, u8)] = &[
    (v6(0x2001, 0x0000), 23), // protocol assignments: Teredo, ORCHID, benchmarking
    (v6(0x2001, 0x0db8), 32), // documentation
    (v6(0x2002, 0x0000), 16), // 6to4: carries an IPv4 address through a relay
    (v6(0x3fff, 0x0000), 20), // documentation
];

fn is_within_any(address: IpAddr, networks: &[(IpAddr, u8)]) -> bool {
    networks.iter().any(|(network, prefix)| is_within(address, *network, *prefix))
}

fn is_within(address: IpAddr, network: IpAddr, prefix: u8) -> bool {
    match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) => {
            let shift = 32u32.saturating_sub(u32::from(prefix));
            address.to_bits().checked_shr(shift) == network.to_bits().checked_shr(shift)
        }
        (IpAddr::V6(address), IpAddr::V6(network)) => {
            let shift = 128u32.saturating_sub(u32::from(prefix));
            address.to_bits().checked_shr(shift) == network.to_bits().checked_shr(shift)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The first and the last address of each family, and its neighbours outside.
    const TABLE: &[(&str, bool)] = &[
        ("1.1.1.1", true),
        ("8.8.8.8", true),
        ("0.0.0.0", false),
        ("0.255.255.255", false),
        ("9.255.255.255", true),
        ("10.0.0.0", false),
        ("10.255.255.255", false),
        ("11.0.0.0", true),
        ("100.63.255.255", true),
        ("100.64.0.0", false),
        ("100.100.100.200", false), // Alibaba's metadata service
        ("100.127.255.255", false),
        ("100.128.0.0", true),
        ("126.255.255.255", true),
        ("127.0.0.1", false),
        ("127.255.255.255", false),
        ("128.0.0.0", true),
        ("168.63.129.15", true),
        ("168.63.129.16", false), // Azure's wire server
        ("169.253.255.255", true),
        ("169.254.169.254", false), // metadata services
        ("169.254.170.2", false),   // ECS task credentials
        ("169.255.0.0", true),
        ("172.15.255.255", true),
        ("172.16.0.0", false),
        ("172.31.255.255", false),
        ("172.32.0.0", true),
        ("192.0.0.192", false), // Oracle's metadata service
        ("192.0.1.0", true),
        ("192.0.2.1", false),
        ("192.88.99.1", false),
        ("192.167.255.255", true),
        ("192.168.0.0", false),
        ("192.168.255.255", false),
        ("192.169.0.0", true),
        ("198.17.255.255", true),
        ("198.18.0.0", false),
        ("198.19.255.255", false),
        ("198.20.0.0", true),
        ("198.51.100.7", false),
        ("203.0.113.7", false),
        ("223.255.255.255", true),
        ("224.0.0.1", false),
        ("239.255.255.255", false),
        ("240.0.0.1", false),
        ("255.255.255.255", false),
        ("2606:4700:4700::1111", true),
        ("2001:4860:4860::8888", true),
        ("::", false),
        ("::1", false),
        ("::7f00:1", false),         // IPv4-compatible
        ("::ffff:127.0.0.1", false), // IPv4-mapped
        ("::ffff:10.0.0.1", false),
        ("::ffff:169.254.169.254", false),
        ("::ffff:8.8.8.8", true),
        ("64:ff9b::8.8.8.8", true),   // NAT64 to a public address
        ("64:ff9b::10.0.0.1", false), // NAT64 to a private one
        ("64:ff9b:1::1", false),      // local-use NAT64
        ("100::1", false),            // discard
        ("2001::1", false),           // Teredo
        ("2001:2::1", false),         // benchmarking
        ("2001:20::1", false),        // ORCHIDv2
        ("2001:db8::1", false),       // documentation
        ("2002:7f00:1::", false),     // 6to4 around 127.0.0.1
        ("2002:808:808::", false),    // 6to4 around a public address
        ("3fff::1", false),           // documentation
        ("5f00::1", false),           // segment routing
        ("fc00::1", false),           // unique local
        ("fd00:ec2::254", false),     // AWS's metadata service
        ("fe80::1", false),           // link-local
        ("fec0::1", false),           // site-local, long deprecated
        ("ff02::1", false),           // multicast
    ];

    #[test]
    fn every_family_of_addresses_is_judged() {
        for (address, public) in TABLE {
            assert_eq!(is_public(address.parse().unwrap()), *public, "{address}");
        }
    }

    #[test]
    fn exceptions_open_exactly_what_they_say() {
        let rule = |text: &str| AddressRule::public_only([text.parse::<Allowed>().unwrap()]);
        for (allowed, host, port, address, permitted) in [
            ("10.0.0.5", "crm", 80, "10.0.0.5", true),
            ("10.0.0.5", "crm", 8443, "10.0.0.5", true),
            ("10.0.0.5", "crm", 80, "10.0.0.6", false),
            ("10.0.0.5:8080", "crm", 8080, "10.0.0.5", true),
            ("10.0.0.5:8080", "crm", 80, "10.0.0.5", false),
            ("10.0.0.0/8", "crm", 80, "10.9.9.9", true),
            ("10.0.0.0/8", "crm", 80, "::ffff:10.9.9.9", true),
            ("10.0.0.0/8", "crm", 80, "11.0.0.1", true), // public anyway
            ("10.0.0.0/8", "crm", 80, "192.168.0.1", false),
            ("[fd00::1]:8080", "crm", 8080, "fd00::1", true),
            ("[fd00::1]:8080", "crm", 8080, "fd00::2", false),
            ("fd00::/8", "crm", 80, "fd12::1", true),
            ("crm.internal", "crm.internal", 80, "10.1.1.1", true),
            ("crm.internal", "CRM.internal.", 443, "127.0.0.1", true),
            ("crm.internal:443", "crm.internal", 443, "10.1.1.1", true),
            ("crm.internal:443", "crm.internal", 80, "10.1.1.1", false),
            ("crm.internal", "evil.crm.internal", 80, "10.1.1.1", false),
            ("0.0.0.0/0", "crm", 80, "127.0.0.1", true),
            ("0.0.0.0/0", "crm", 80, "::1", false),
        ] {
            let found = rule(allowed).permits(host, port, address.parse().unwrap());
            assert_eq!(found, permitted, "{allowed}: {host}:{port} at {address}");
        }
    }

    #[test]
    fn what_is_no_place_is_refused_as_an_exception() {
        for bad in [
            "",
            "10.0.0.0/33",
            "10.0.0.0/x",
            "fd00::/129",
            "a b",
            "host:port",
            "host:99999",
            "http://a",
            "a:1:2",
        ] {
            assert!(bad.parse::<Allowed>().is_err(), "{bad}");
        }
    }

    #[test]
    fn any_address_is_permitted_only_by_the_rule_for_configured_ones() {
        let loopback = "127.0.0.1".parse().unwrap();
        assert!(AddressRule::Any.permits("localhost", 80, loopback));
        assert!(!AddressRule::default().permits("localhost", 80, loopback));
    }

    proptest! {
        #[test]
        fn an_ipv4_address_is_judged_the_same_in_ipv6_clothes(bits: u32) {
            let four = Ipv4Addr::from_bits(bits);
            prop_assert_eq!(is_public(IpAddr::V4(four)), is_public(IpAddr::V6(four.to_ipv6_mapped())));
        }

        #[test]
        fn exceptions_of_any_text_are_read_without_panic(text in ".{0,40}") {
            let _ = text.parse::<Allowed>();
        }
    }
}
