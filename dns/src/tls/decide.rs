//! The decision, as a function without a side effect.

use thiserror::Error;

use crate::{
    DnsName,
    dane::{DaneStatus, TlsaRecord},
    resolve::{LookupError, Security},
    route::RouteTls,
};

/// What is known about a host before the connection.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// The host's name, if it has one.
    pub host: Option<&'a DnsName>,
    /// The domain whose MX it is.
    pub next_hop: Option<&'a DnsName>,
    /// How sure it is that this is the domain's host.
    pub mx: Security,
    /// What DANE says.
    pub dane: &'a DaneStatus,
    /// What MTA-STS says of this host.
    pub sts: StsStatus,
    /// What the message asks for.
    pub message: MessageTls,
    /// What the operator asks for.
    pub route: &'a RouteTls,
}

/// What a domain's MTA-STS policy says of a host (RFC 8461 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StsStatus {
    /// There is no policy, or it is of mode `none`.
    NoPolicy,
    /// A policy that is only tried out: failures are reported, and the mail is sent.
    Testing {
        /// Whether the host is one of the policy's.
        matches: bool,
    },
    /// A policy that holds.
    Enforce {
        /// Whether the host is one of the policy's.
        matches: bool,
    },
}

/// What a message asks for (RFC 8689).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MessageTls {
    /// Nothing.
    #[default]
    Unsaid,
    /// REQUIRETLS: rather not at all than over a connection that is not protected.
    Required,
    /// `TLS-Required: No`: rather unprotected than not at all.
    NotRequired,
}

/// What TLS must do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsNeed {
    /// STARTTLS is not asked for.
    Never,
    /// If it is offered; whose certificate it is does not matter, and where it fails the mail goes in the clear.
    Opportunistic,
    /// It must be, by whatever certificate.
    Encrypted,
    /// It must be, by a certificate that the system's CAs vouch for, with one of these names.
    Pkix {
        /// At least one.
        names: Vec<DnsName>,
    },
    /// It must be, by a certificate that one of these records speaks of.
    Dane {
        /// At least one.
        records: Vec<TlsaRecord>,
        /// What certificates under a CA of theirs must have one of (RFC 7672 §3.2.2).
        names: Vec<DnsName>,
    },
}

impl TlsNeed {
    /// Whether the mail may go in the clear.
    pub fn may_be_clear(&self) -> bool {
        matches!(self, TlsNeed::Never | TlsNeed::Opportunistic)
    }
}

/// How to go on with a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What TLS must do.
    pub tls: TlsNeed,
    /// Whether the host must offer REQUIRETLS, and be told (RFC 8689 §4.2.1).
    pub requiretls: bool,
}

/// The host must not be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{reason}")]
pub struct Refusal {
    /// Why.
    pub reason: RefusalReason,
    /// Whether to try again later; if every host is refused for good, the message has failed.
    pub is_temporary: bool,
}

/// Why a host must not be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RefusalReason {
    /// RFC 7672 §2.1
    #[error("its DANE records cannot be known now: {0}")]
    DaneUnknown(LookupError),
    /// RFC 8461 §4.1
    #[error("the domain's MTA-STS policy does not name it")]
    NotInStsPolicy,
    /// RFC 8689 §4.2.1: neither DNSSEC nor MTA-STS says that it is the domain's host.
    #[error("the message requires TLS, and nothing proves that this is the domain's mail server")]
    HostUnproven,
    /// RFC 8689 §4.2.1: it has no name that a certificate could have, or its DANE records cannot be gone by.
    #[error("the message requires TLS, and no certificate of it could be verified")]
    NothingToVerify,
    /// The operator's route says that there is to be no TLS.
    #[error("the message requires TLS, and the route to it is configured without")]
    RouteWithoutTls,
    /// The route wants a name verified, and there is none.
    #[error("the route to it wants its certificate verified, and there is no name to verify")]
    NoName,
}

impl Refusal {
    fn later(reason: RefusalReason) -> Refusal {
        Refusal {
            reason,
            is_temporary: true,
        }
    }

    fn never(reason: RefusalReason) -> Refusal {
        Refusal {
            reason,
            is_temporary: false,
        }
    }

    /// The enhanced status code for a report (RFC 3463; RFC 7672 and RFC 8461 as in RFC 8460's registry; RFC 8689 §5).
    pub fn status(&self) -> &'static str {
        match (&self.reason, self.is_temporary) {
            (RefusalReason::DaneUnknown(_), _) => "4.7.5",
            (RefusalReason::NotInStsPolicy, _) => "4.7.5",
            (RefusalReason::NoName, _) => "5.3.5",
            // RFC 8689 §5: "REQUIRETLS support required".
            (_, true) => "4.7.30",
            (_, false) => "5.7.30",
        }
    }
}

/// What TLS must do with this host, or that it must not be used.
pub fn decide(facts: &Facts<'_>) -> Result<Decision, Refusal> {
    if facts.message == MessageTls::Required {
        return require(facts);
    }
    let tls = match facts.route {
        RouteTls::Never => TlsNeed::Never,
        // RFC 8689 §3: policies of the recipient's domain do not count; what the operator wants of the route does.
        RouteTls::ByPolicy if facts.message == MessageTls::NotRequired => TlsNeed::Opportunistic,
        RouteTls::ByPolicy => by_policy(facts)?,
        // At least that: what DANE and MTA-STS say may be more.
        RouteTls::Encrypted if facts.message == MessageTls::NotRequired => TlsNeed::Encrypted,
        RouteTls::Encrypted => match by_policy(facts)? {
            TlsNeed::Never | TlsNeed::Opportunistic => TlsNeed::Encrypted,
            more => more,
        },
        RouteTls::Verified { names } => verified(facts, names)?,
    };
    Ok(Decision {
        tls,
        requiretls: false,
    })
}

/// RFC 8461 §2: where DANE applies, it decides, and a policy cannot talk a failure of it away.
fn by_policy(facts: &Facts<'_>) -> Result<TlsNeed, Refusal> {
    match facts.dane {
        DaneStatus::Unknown(error) => {
            Err(Refusal::later(RefusalReason::DaneUnknown(error.clone())))
        }
        DaneStatus::Records { records, base } => Ok(dane(facts, records, base)),
        // RFC 7672 §2.2: encrypted, and by whom the policy may say.
        DaneStatus::Unusable => Ok(match by_sts(facts)? {
            TlsNeed::Opportunistic => TlsNeed::Encrypted,
            more => more,
        }),
        DaneStatus::Inapplicable => by_sts(facts),
    }
}

fn by_sts(facts: &Facts<'_>) -> Result<TlsNeed, Refusal> {
    match (facts.sts, facts.host) {
        (StsStatus::Enforce { matches: true }, Some(host)) => Ok(TlsNeed::Pkix {
            names: vec![host.clone()],
        }),
        // RFC 8461 §5: the policy or the records may be wrong now, so the mail waits.
        (StsStatus::Enforce { .. }, _) => Err(Refusal::later(RefusalReason::NotInStsPolicy)),
        (StsStatus::NoPolicy | StsStatus::Testing { .. }, _) => Ok(TlsNeed::Opportunistic),
    }
}

fn dane(facts: &Facts<'_>, records: &[TlsaRecord], base: &DnsName) -> TlsNeed {
    // RFC 7672 §3.2.2 and §3.2.3: where the records are, the host's name before aliases, and the domain itself.
    let mut names = vec![base.clone()];
    for name in [facts.host, facts.next_hop].into_iter().flatten() {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    TlsNeed::Dane {
        records: records.to_vec(),
        names,
    }
}

fn verified(facts: &Facts<'_>, names: &[DnsName]) -> Result<TlsNeed, Refusal> {
    match facts.dane {
        DaneStatus::Unknown(error) => {
            return Err(Refusal::later(RefusalReason::DaneUnknown(error.clone())));
        }
        // The operator's names are more than the host's.
        DaneStatus::Records { records, base } if names.is_empty() => {
            return Ok(dane(facts, records, base));
        }
        _ => {}
    }
    let names: Vec<DnsName> = match names.is_empty() {
        true => facts.host.into_iter().cloned().collect(),
        false => names.to_vec(),
    };
    match names.is_empty() {
        true => Err(Refusal::never(RefusalReason::NoName)),
        false => Ok(TlsNeed::Pkix { names }),
    }
}

/// RFC 8689 §4.2.1: the host must be proven, its certificate verified, and it must take REQUIRETLS over.
fn require(facts: &Facts<'_>) -> Result<Decision, Refusal> {
    let tls = match facts.route {
        RouteTls::Never => return Err(Refusal::never(RefusalReason::RouteWithoutTls)),
        RouteTls::Verified { names } => verified(facts, names)?,
        RouteTls::ByPolicy | RouteTls::Encrypted => match by_policy(facts)? {
            TlsNeed::Opportunistic | TlsNeed::Encrypted | TlsNeed::Never => {
                let host = facts
                    .host
                    .ok_or(Refusal::never(RefusalReason::NothingToVerify))?;
                TlsNeed::Pkix {
                    names: vec![host.clone()],
                }
            }
            enough => enough,
        },
    };
    // A policy proves the host also while it is tried out: what counts here is who named it.
    let is_in_policy = matches!(
        facts.sts,
        StsStatus::Enforce { matches: true } | StsStatus::Testing { matches: true }
    );
    let is_named_by_operator =
        matches!(facts.route, RouteTls::Verified { names } if !names.is_empty());
    if !(facts.mx.is_secure() || is_in_policy || is_named_by_operator) {
        return Err(Refusal::never(RefusalReason::HostUnproven));
    }
    Ok(Decision {
        tls,
        requiretls: true,
    })
}

#[cfg(test)]
mod tests;
