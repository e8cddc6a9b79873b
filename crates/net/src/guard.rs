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
