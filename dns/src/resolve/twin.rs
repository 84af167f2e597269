//! A resolver that knows what a test told it.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use parking_lot::Mutex;

use super::{Answer, Data, Kind, Lookup, LookupError, Resolve, Security};
use crate::DnsName;

/// Answers what it was told. A name that it knows nothing of does not exist; one that it knows otherwise has no such records.
/// Unless it is told otherwise, all is [`Security::Insecure`].
#[derive(Default)]
pub struct TwinResolver {
    answers: Mutex<HashMap<(DnsName, Kind), Lookup>>,
    security: Mutex<HashMap<DnsName, Security>>,
    asked: Mutex<Vec<(DnsName, Kind)>>,
}

/// Aliases that are followed.
const ALIASES_MAX: usize = 8;

impl TwinResolver {
    /// One that knows nothing.
    pub fn new() -> TwinResolver {
        TwinResolver::default()
    }

    /// Adds a record.
    ///
    /// # Panics
    /// If the name is none.
    pub fn add(&self, name: &str, data: Data) -> &TwinResolver {
        let name = DnsName::parse(name).expect("a test's name");
        let kind = match &data {
            Data::A(_) => Kind::A,
            Data::Aaaa(_) => Kind::Aaaa,
            Data::Mx(_) => Kind::Mx,
            Data::Txt(_) => Kind::Txt,
            Data::Tlsa(_) => Kind::Tlsa,
            Data::Ptr(_) => Kind::Ptr,
            Data::Cname(_) => Kind::Cname,
        };
        let mut answers = self.answers.lock();
        let entry = answers.entry((name.clone(), kind));
        let entry = entry.or_insert_with(|| {
            Ok(Arc::new(Answer {
                records: Vec::new(),
                canonical: name,
                security: Security::Insecure,
                ttl: Duration::from_secs(300),
            }))
        });
        if let Ok(answer) = entry {
            Arc::make_mut(answer).records.push(data);
        }
        self
    }

    /// Says this when that is asked.
    ///
    /// # Panics
    /// If the name is none.
    pub fn fail(&self, name: &str, kind: Kind, error: LookupError) -> &TwinResolver {
        let name = DnsName::parse(name).expect("a test's name");
        self.answers.lock().insert((name, kind), Err(error));
        self
    }

    /// Forgets what is at that name.
    ///
    /// # Panics
    /// If the name is none.
    pub fn clear(&self, name: &str, kind: Kind) -> &TwinResolver {
        let name = DnsName::parse(name).expect("a test's name");
        self.answers.lock().remove(&(name, kind));
        self
    }

    /// What DNSSEC says of all that is at that name.
    ///
    /// # Panics
    /// If the name is none.
    pub fn secure(&self, name: &str, security: Security) -> &TwinResolver {
        let name = DnsName::parse(name).expect("a test's name");
        self.security.lock().insert(name, security);
        self
    }

    /// What was asked, in order.
    pub fn asked(&self) -> Vec<(DnsName, Kind)> {
        self.asked.lock().clone()
    }

    fn answer(&self, name: &DnsName, kind: Kind) -> Lookup {
        let answers = self.answers.lock();
        let security_of = |name: &DnsName| {
            let known = self.security.lock();
            known.get(name).copied().unwrap_or(Security::Insecure)
        };
        let mut at = name.clone();
        let mut security = security_of(&at);
        for _ in 0..ALIASES_MAX {
            match answers.get(&(at.clone(), kind)) {
                Some(Ok(answer)) => {
                    let mut answer = Answer::clone(answer);
                    answer.security = security;
                    return Ok(Arc::new(answer));
                }
                Some(Err(error)) => return Err(error.clone()),
                None => {}
            }
            let alias = answers.get(&(at.clone(), Kind::Cname));
            let alias = alias.and_then(|alias| alias.as_ref().ok()?.names().next().cloned());
            let Some(to) = alias else {
                return match answers.keys().any(|(known, _)| *known == at) {
                    true => Err(LookupError::NoRecords { security }),
                    false => Err(LookupError::NoName { security }),
                };
            };
            at = to;
            security = security.min(security_of(&at));
        }
        Err(LookupError::Unavailable("too many aliases".into()))
    }
}

impl Resolve for TwinResolver {
    fn lookup<'a>(&'a self, name: &'a DnsName, kind: Kind) -> BoxFuture<'a, Lookup> {
        self.asked.lock().push((name.clone(), kind));
        Box::pin(std::future::ready(self.answer(name, kind)))
    }
}
