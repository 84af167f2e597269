//! Handshakes with hosts whose certificates are of all sorts.

use std::time::{Duration, SystemTime};

use ::ring::digest;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, PublicKeyData as _,
};
use rustls::{
    ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;
use crate::dane::Matching;

const DAY: Duration = Duration::from_secs(86_400);

/// A CA, and a host's certificate by it.
struct Host {
    ca: CertificateDer<'static>,
    end: CertificateDer<'static>,
    end_key: Vec<u8>,
    end_public_key: Vec<u8>,
}

fn host(name: &str, until: SystemTime) -> Host {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, "Test CA");
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.not_before = (SystemTime::now() - 20 * DAY).into();
    params.not_after = until.into();
    let end = params.signed_by(&key, &issuer).unwrap();
    Host {
        ca: issuer.der().clone(),
        end: end.der().clone(),
        end_public_key: key.subject_public_key_info(),
        end_key: key.serialize_der(),
    }
}

fn good(name: &str) -> Host {
    host(name, SystemTime::now() + DAY)
}

fn need_dane(records: &[TlsaRecord]) -> TlsNeed {
    TlsNeed::Dane {
        records: records.to_vec(),
        names: ["mx.test", "example.test", "a.mail.test"]
            .map(|name| DnsName::parse(name).unwrap())
            .to_vec(),
    }
}

fn record(usage: Usage, selector: Selector, matching: Matching, of: &[u8]) -> TlsaRecord {
    let data = match matching {
        Matching::Sha256 => digest::digest(&digest::SHA256, of).as_ref().to_vec(),
        Matching::Sha512 => digest::digest(&digest::SHA512, of).as_ref().to_vec(),
        _ => of.to_vec(),
    };
    TlsaRecord {
        usage,
        selector,
        matching,
        data: data.into(),
    }
}

/// What comes of a handshake with a host that shows its certificate and, if `with_ca`, its CA's.
async fn shake(
    host: &Host,
    with_ca: bool,
    need: &TlsNeed,
    roots: RootCertStore,
) -> Result<(), TlsFault> {
    let mut chain = vec![host.end.clone()];
    chain.extend(with_ca.then(|| host.ca.clone()));
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(host.end_key.clone()));
    let server = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let (theirs, ours) = tokio::io::duplex(64 << 10);
    let acceptor = TlsAcceptor::from(Arc::new(server));
    let config = client_config(need, &Arc::new(roots))
        .unwrap()
        .expect("TLS is to be spoken");
    let connector = TlsConnector::from(config);
    let name = ServerName::try_from("mx.test").unwrap();
    let (_, connected) = tokio::join!(acceptor.accept(theirs), connector.connect(name, ours));
    let Err(error) = connected else { return Ok(()) };
    let error = error.into_inner().expect("rustls says why");
    let error = error.downcast::<Error>().expect("rustls says why");
    Err(tls_fault(&error).expect("the certificate is why"))
}

async fn shake_dane(host: &Host, with_ca: bool, record: TlsaRecord) -> Result<(), TlsFault> {
    shake(host, with_ca, &need_dane(&[record]), RootCertStore::empty()).await
}

#[tokio::test]
async fn a_key_that_a_record_speaks_of_needs_no_name_and_no_date() {
    let host = host("other.test", SystemTime::now() - DAY);
    for (selector, of) in [
        (Selector::Certificate, host.end.as_ref()),
        (Selector::PublicKey, &host.end_public_key),
    ] {
        for matching in [Matching::Exact, Matching::Sha256, Matching::Sha512] {
            let matching_one = record(Usage::DaneEe, selector, matching, of);
            assert_eq!(shake_dane(&host, false, matching_one.clone()).await, Ok(()));
            let mut wrong = matching_one;
            wrong.data[5] ^= 1;
            assert_eq!(
                shake_dane(&host, false, wrong).await,
                Err(TlsFault::DaneMismatch)
            );
        }
    }
}

#[tokio::test]
async fn under_a_ca_that_a_record_speaks_of_names_and_dates_count() {
    let ta = |host: &Host| {
        record(
            Usage::DaneTa,
            Selector::Certificate,
            Matching::Sha256,
            &host.ca,
        )
    };
    for name in ["mx.test", "example.test", "*.mail.test"] {
        let host = good(name);
        assert_eq!(shake_dane(&host, true, ta(&host)).await, Ok(()), "{name}");
        // Whose CA is not shown cannot be known by a digest of it.
        assert_eq!(
            shake_dane(&host, false, ta(&host)).await,
            Err(TlsFault::DaneMismatch)
        );
    }
    let other = good("other.test");
    assert_eq!(
        shake_dane(&other, true, ta(&other)).await,
        Err(TlsFault::WrongName)
    );
    let old = host("mx.test", SystemTime::now() - DAY);
    assert_eq!(
        shake_dane(&old, true, ta(&old)).await,
        Err(TlsFault::Expired)
    );
    // A CA that is shown and has signed nothing here.
    let (host, mut forged) = (good("mx.test"), good("mx.test"));
    forged.ca = host.ca.clone();
    assert_eq!(
        shake_dane(&forged, true, ta(&host)).await,
        Err(TlsFault::DaneMismatch)
    );
}

#[tokio::test]
async fn a_ca_that_the_record_holds_need_not_be_shown() {
    let host = good("mx.test");
    let whole = record(
        Usage::DaneTa,
        Selector::Certificate,
        Matching::Exact,
        &host.ca,
    );
    assert_eq!(shake_dane(&host, false, whole).await, Ok(()));
}

#[tokio::test]
async fn a_host_key_is_no_ca_and_a_ca_no_host_key() {
    let host = good("mx.test");
    let key_as_ca = record(
        Usage::DaneTa,
        Selector::PublicKey,
        Matching::Sha256,
        &host.end_public_key,
    );
    assert_eq!(
        shake_dane(&host, true, key_as_ca).await,
        Err(TlsFault::DaneMismatch)
    );
    let ca_as_key = record(
        Usage::DaneEe,
        Selector::Certificate,
        Matching::Sha256,
        &host.ca,
    );
    assert_eq!(
        shake_dane(&host, true, ca_as_key).await,
        Err(TlsFault::DaneMismatch)
    );
}

#[tokio::test]
async fn by_the_systems_cas_names_and_dates_count() {
    let need = TlsNeed::Pkix {
        names: vec![DnsName::parse("mx.test").unwrap()],
    };
    let trusting = |host: &Host| {
        let mut roots = RootCertStore::empty();
        roots.add(host.ca.clone()).unwrap();
        roots
    };
    let fine = good("mx.test");
    assert_eq!(shake(&fine, false, &need, trusting(&fine)).await, Ok(()));
    let nobody = shake(&fine, true, &need, RootCertStore::empty()).await;
    assert_eq!(nobody, Err(TlsFault::NotTrusted));
    let other = good("example.test");
    let outcome = shake(&other, true, &need, trusting(&other)).await;
    assert_eq!(outcome, Err(TlsFault::WrongName));
    let old = host("mx.test", SystemTime::now() - DAY);
    assert_eq!(
        shake(&old, true, &need, trusting(&old)).await,
        Err(TlsFault::Expired)
    );
}

#[tokio::test]
async fn whoever_it_is_is_good_enough_where_nothing_is_known() {
    let host = host("other.test", SystemTime::now() - DAY);
    for need in [TlsNeed::Opportunistic, TlsNeed::Encrypted] {
        assert_eq!(
            shake(&host, false, &need, RootCertStore::empty()).await,
            Ok(())
        );
    }
    let none = client_config(&TlsNeed::Never, &Arc::new(RootCertStore::empty()));
    assert!(none.unwrap().is_none());
}
