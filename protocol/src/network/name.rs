//! The names of an allow-list.

use std::{fmt, net::Ipv4Addr, str::FromStr};

use idna::{
    AsciiDenyList,
    uts46::{DnsLength, Hyphens, Uts46},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A name in an allow-list: a host, or `*.` and a domain, which covers the hosts that are exactly one
/// label below it. In lower case, with international labels in Punycode.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, example = "*.example.com")]
pub struct AllowedName(String);

/// Why a text is not an [`AllowedName`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AllowedNameError {
    /// A wildcard anywhere but as the whole first label.
    #[error("Cannot allow `{0}`: a wildcard is the whole first label, as in *.example.com")]
    Wildcard(String),
    /// A wildcard that covers a top-level domain or everything, or a name with one label.
    #[error("Cannot allow `{0}`: it is too broad. Name a domain, as in example.com or *.example.com")]
    TooBroad(String),
    /// An address.
    #[error("Cannot allow `{0}`: it is an address. Name a host")]
    Address(String),
    /// Not a host name.
    #[error("Cannot allow `{0}`: it is not a host name")]
    Invalid(String),
}

impl AllowedName {
    /// Whether a host is meant. Its name is compared without regard to case, and may end with a dot.
    pub fn covers(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host);
        let Some(parent) = self.parent() else { return host.eq_ignore_ascii_case(&self.0) };
        host.split_once('.')
            .is_some_and(|(label, domain)| !label.is_empty() && domain.eq_ignore_ascii_case(parent))
    }

    /// The name as a text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The domain below which a wildcard is.
    fn parent(&self) -> Option<&str> {
        self.0.strip_prefix("*.")
    }

    /// The name that covers what both cover, if any.
    pub(super) fn intersect(&self, other: &Self) -> Option<Self> {
        let is_within = |narrow: &Self, wide: &Self| narrow.parent().is_none() && wide.covers(&narrow.0);
        if self == other || is_within(self, other) {
            Some(self.clone())
        } else {
            is_within(other, self).then(|| other.clone())
        }
    }
}

impl FromStr for AllowedName {
    type Err = AllowedNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (prefix, domain) = match text.strip_prefix("*.") {
            Some(domain) => ("*.", domain),
            None => ("", text),
        };
        let name = || text.chars().take(80).collect::<String>();
        if text == "*" {
            return Err(AllowedNameError::TooBroad(name()));
        }
        if domain.contains('*') {
            return Err(AllowedNameError::Wildcard(name()));
        }
        if domain.contains(':') {
            return Err(AllowedNameError::Address(name()));
        }
        let ascii = Uts46::new()
            .to_ascii(domain.as_bytes(), AsciiDenyList::STD3, Hyphens::Allow, DnsLength::Verify)
            .map_err(|_| AllowedNameError::Invalid(name()))?;
        let mut labels = ascii.split('.');
        let last = labels.next_back().unwrap_or_default();
        if is_number(last) || ascii.parse::<Ipv4Addr>().is_ok() {
            return Err(AllowedNameError::Address(name()));
        }
        if labels.next().is_none() {
            return Err(AllowedNameError::TooBroad(name()));
        }
        Ok(Self(format!("{prefix}{ascii}")))
    }
}

/// Whether resolvers take a name with this last label as an IPv4 address.
fn is_number(label: &str) -> bool {
    let is_hexadecimal =
        label.strip_prefix("0x").is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_hexdigit()));
    is_hexadecimal || label.bytes().all(|byte| byte.is_ascii_digit())
}

impl TryFrom<String> for AllowedName {
    type Error = AllowedNameError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<AllowedName> for String {
    fn from(name: AllowedName) -> Self {
        name.0
    }
}

impl fmt::Display for AllowedName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0)
    }
}
