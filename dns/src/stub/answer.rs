//! What the server answers, and its signatures.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use hickory_proto::{
    dnssec::{
        Algorithm, DnssecSigner, PublicKeyBuf, SigningKey, TBS,
        crypto::Ed25519SigningKey,
        rdata::{DNSKEY, DNSSECRData, NSEC, RRSIG, SigInput},
    },
    op::{Edns, Message, ResponseCode},
    rr::{
        DNSClass, Name, RData, Record, RecordType, SerialNumber,
        rdata::{A, AAAA, CNAME, MX, NS, PTR, SOA, TLSA, TXT},
    },
};

use super::{Fault, TTL, Zone};
use crate::{
    DnsName,
    dane::{Matching, Selector, Usage},
    resolve::Data,
};

/// How long signatures are good, before and after now.
const SIGNED_FOR: Duration = Duration::from_secs(86_400);

/// How long what does not exist does not.
const NEGATIVE_TTL: u32 = 60;

/// Aliases that are followed within an answer.
const ALIASES_MAX: usize = 8;

/// The most of one of a text's strings (RFC 1035 §3.3).
const STRING_BYTES_MAX: usize = 255;

/// The root's key.
pub(super) struct Signer {
    signer: DnssecSigner,
    public_key: PublicKeyBuf,
}

impl Signer {
    pub(super) fn new() -> Signer {
        let key = Ed25519SigningKey::generate_pkcs8().expect("random bytes");
        let key = Ed25519SigningKey::from_pkcs8(&key).expect("what was made can be read");
        let public_key = key.to_public_key().expect("a key pair has a public key");
        let dnskey = DNSKEY::from_key(&public_key);
        Signer {
            signer: DnssecSigner::new(dnskey, Box::new(key), Name::root(), SIGNED_FOR),
            public_key,
        }
    }

    pub(super) fn public_key(&self) -> &PublicKeyBuf {
        &self.public_key
    }

    pub(super) fn anchor_text(&self) -> String {
        format!(". {TTL} IN DNSKEY {}\n", self.signer.dnskey())
    }

    /// The signature of a record set.
    fn sign(&self, set: &[Record], is_bogus: bool) -> Option<Record> {
        let first = set.first()?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
        let at = |time: Duration| Some(SerialNumber::new(u32::try_from(time.as_secs()).ok()?));
        let input = SigInput {
            type_covered: first.record_type(),
            algorithm: Algorithm::ED25519,
            num_labels: first.name.num_labels(),
            original_ttl: first.ttl,
            sig_expiration: at(now + SIGNED_FOR)?,
            sig_inception: at(now - SIGNED_FOR)?,
            key_tag: self.signer.calculate_key_tag().ok()?,
            signer_name: Name::root(),
        };
        let signed = TBS::from_input(&first.name, DNSClass::IN, &input, set.iter()).ok()?;
        let mut signature = self.signer.sign(&signed).ok()?;
        if is_bogus {
            signature[0] ^= 1;
        }
        let rrsig = DNSSECRData::RRSIG(RRSIG::from_sig(input, signature));
        Some(Record::from_rdata(
            first.name.clone(),
            first.ttl,
            RData::DNSSEC(rrsig),
        ))
    }
}

pub(super) fn own_name(name: &Name) -> Option<DnsName> {
    match name.is_root() {
        true => Some(DnsName::root()),
        false => DnsName::parse(&name.to_ascii()).ok(),
    }
}

fn wire_name(name: &DnsName) -> Name {
    Name::from_ascii(format!("{}.", name.as_str())).expect("a name of ours is one on the wire")
}

/// The answer to a question.
pub(super) fn answer(
    zone: &Zone,
    signer: &Signer,
    query: &Message,
    fault: Option<Fault>,
) -> Option<Message> {
    let asked = query.queries.first()?;
    let mut id = query.id;
    if fault == Some(Fault::WrongId) {
        id = id.wrapping_add(1);
    }
    let mut reply = Message::response(id, query.op_code);
    reply.add_query(asked.clone());
    reply.metadata.recursion_desired = query.recursion_desired;
    reply.metadata.recursion_available = true;
    match fault {
        Some(Fault::ServFail) => reply.metadata.response_code = ResponseCode::ServFail,
        Some(Fault::Refused) => reply.metadata.response_code = ResponseCode::Refused,
        _ => {
            let writer = Writer {
                zone,
                signer: query
                    .edns
                    .as_ref()
                    .is_some_and(|edns| edns.flags().dnssec_ok)
                    .then_some(signer),
                is_bogus: fault == Some(Fault::Bogus),
            };
            writer.write(
                &mut reply,
                own_name(asked.name())?,
                asked.query_type(),
                signer,
            );
        }
    }
    if query.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(1_232)
            .set_dnssec_ok(true)
            .set_version(0);
        reply.set_edns(edns);
    }
    Some(reply)
}

struct Writer<'a> {
    zone: &'a Zone,
    /// If signatures are wanted.
    signer: Option<&'a Signer>,
    is_bogus: bool,
}

impl Writer<'_> {
    fn write(&self, reply: &mut Message, mut name: DnsName, kind: RecordType, key: &Signer) {
        for _ in 0..ALIASES_MAX {
            let found = self.records(&name, kind, key);
            if !found.is_empty() {
                reply.add_answers(self.signed(&name, found));
                return;
            }
            let alias = self.records(&name, RecordType::CNAME, key);
            let to = alias.first().and_then(|record| match &record.data {
                RData::CNAME(to) => own_name(&to.0),
                _ => None,
            });
            let Some(to) = to else { break };
            reply.add_answers(self.signed(&name, alias));
            name = to;
        }
        let cut = self.cut(&name);
        let soa = |zone: &DnsName| {
            let soa = SOA::new(
                wire_name(zone),
                wire_name(zone),
                1,
                60,
                60,
                60,
                NEGATIVE_TTL,
            );
            Record::from_rdata(wire_name(zone), NEGATIVE_TTL, RData::SOA(soa))
        };
        let exists = self.exists(&name);
        if !exists {
            reply.metadata.response_code = ResponseCode::NXDomain;
        }
        // Of a cut's DS the zone above speaks (RFC 4035 §3.1.4.1).
        if let Some(cut) = cut.filter(|cut| !(kind == RecordType::DS && *cut == name)) {
            reply.add_authority(soa(&cut));
            return;
        }
        let root = DnsName::root();
        reply.add_authorities(self.signed(&root, vec![soa(&root)]));
        if self.signer.is_some() {
            for nsec in self.denial(&name, exists) {
                reply.add_authorities(self.signed(&root, vec![nsec]));
            }
        }
    }

    fn records(&self, name: &DnsName, kind: RecordType, key: &Signer) -> Vec<Record> {
        let owner = wire_name(name);
        if kind == RecordType::DNSKEY && name.is_root() {
            let key = DNSSECRData::DNSKEY(key.signer.dnskey().clone());
            return vec![Record::from_rdata(owner, TTL, RData::DNSSEC(key))];
        }
        if kind == RecordType::NS && (name.is_root() || self.zone.unsigned.contains(name)) {
            let ns = NS(Name::from_ascii("ns.test.").expect("a name"));
            return vec![Record::from_rdata(owner, TTL, RData::NS(ns))];
        }
        let here = self
            .zone
            .records
            .get(name)
            .map(Vec::as_slice)
            .unwrap_or_default();
        let records = here
            .iter()
            .map(|(data, ttl)| Record::from_rdata(owner.clone(), *ttl, wire_data(data)));
        records
            .filter(|record| record.record_type() == kind)
            .collect()
    }

    /// Where what is not signed begins, at or above a name.
    fn cut(&self, name: &DnsName) -> Option<DnsName> {
        let mut at = Some(name.clone());
        while let Some(name) = at {
            if self.zone.unsigned.contains(&name) {
                return Some(name);
            }
            at = name.parent();
        }
        None
    }

    fn exists(&self, name: &DnsName) -> bool {
        let below = format!(".{name}");
        let is_there = |known: &DnsName| known == name || known.as_str().ends_with(&below);
        let mut all = self.zone.records.keys().chain(&self.zone.unsigned);
        name.is_root() || all.any(is_there)
    }

    fn signed(&self, name: &DnsName, mut set: Vec<Record>) -> Vec<Record> {
        if let (Some(signer), None) = (self.signer, self.cut(name)) {
            set.extend(signer.sign(&set, self.is_bogus));
        }
        set
    }

    /// What proves that there is no such name, or nothing of that kind (RFC 4035 §3.1.3).
    fn denial(&self, name: &DnsName, exists: bool) -> Vec<Record> {
        let chain = self.chain();
        let covering = |name: &Name| {
            chain
                .range(..=name)
                .next_back()
                .map(|(owner, _)| owner.clone())
        };
        let mut owners: Vec<Name> = covering(&wire_name(name)).into_iter().collect();
        if !exists {
            let mut encloser = name.parent();
            while let Some(above) = encloser.as_ref().filter(|above| !self.exists(above)) {
                encloser = above.parent();
            }
            let encloser = wire_name(&encloser.unwrap_or(DnsName::root()));
            let wildcard = encloser.prepend_label("*").ok();
            let owner = wildcard.and_then(|name| covering(&name));
            owners.extend(owner.filter(|owner| !owners.contains(owner)));
        }
        let nsec = |owner: Name| {
            let after = (
                std::ops::Bound::Excluded(&owner),
                std::ops::Bound::Unbounded,
            );
            let next = chain.range::<Name, _>(after).next();
            let next = next.map_or(Name::root(), |(next, _)| next.clone());
            let types = chain.get(&owner).cloned().unwrap_or_default();
            let nsec = NSEC::new_cover_self(next, types);
            Record::from_rdata(owner, NEGATIVE_TTL, RData::DNSSEC(DNSSECRData::NSEC(nsec)))
        };
        owners.into_iter().map(nsec).collect()
    }

    /// All names that are signed, in their canonical order, with what is there. Names that only have some below them are in
    /// it, too: that is more than needed, and as true.
    fn chain(&self) -> BTreeMap<Name, Vec<RecordType>> {
        let mut chain = BTreeMap::new();
        let root = vec![RecordType::SOA, RecordType::NS, RecordType::DNSKEY];
        chain.insert(Name::root(), root);
        for name in &self.zone.unsigned {
            chain.insert(wire_name(name), vec![RecordType::NS]);
        }
        for (name, records) in &self.zone.records {
            if self.cut(name).is_none() {
                let types = records
                    .iter()
                    .map(|(data, _)| wire_data(data).record_type());
                chain.entry(wire_name(name)).or_default().extend(types);
            }
        }
        let names: Vec<Name> = chain.keys().cloned().collect();
        for name in names {
            let mut above = name.base_name();
            while !above.is_root() {
                chain.entry(above.clone()).or_default();
                above = above.base_name();
            }
        }
        chain
    }
}

fn wire_data(data: &Data) -> RData {
    match data {
        Data::A(ip) => RData::A(A(*ip)),
        Data::Aaaa(ip) => RData::AAAA(AAAA(*ip)),
        Data::Mx(mx) => RData::MX(MX::new(mx.preference, wire_name(&mx.exchange))),
        Data::Txt(text) => RData::TXT(TXT::from_bytes(text.chunks(STRING_BYTES_MAX).collect())),
        Data::Ptr(name) => RData::PTR(PTR(wire_name(name))),
        Data::Cname(name) => RData::CNAME(CNAME(wire_name(name))),
        Data::Tlsa(record) => {
            let usage = match record.usage {
                Usage::DaneTa => 2,
                Usage::DaneEe => 3,
                Usage::Other(number) => number,
            };
            let selector = match record.selector {
                Selector::Certificate => 0,
                Selector::PublicKey => 1,
                Selector::Other(number) => number,
            };
            let matching = match record.matching {
                Matching::Exact => 0,
                Matching::Sha256 => 1,
                Matching::Sha512 => 2,
                Matching::Other(number) => number,
            };
            let data = record.data.to_vec();
            RData::TLSA(TLSA::new(
                usage.into(),
                selector.into(),
                matching.into(),
                data,
            ))
        }
    }
}
