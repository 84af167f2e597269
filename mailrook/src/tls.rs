//! Certificates: loaded from files, and for `mailrook dev` made up with an authority of their own.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use mailrook_net::{CertificateError, Certificates, TlsAcceptor, TlsSettings};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType,
};

use crate::config::Config;

/// The certificates of the configuration, checked.
pub fn load(config: &Config) -> Result<Certificates, CertificateError> {
    Certificates::from_files(&config.certificate_files())
}

/// What does TLS handshakes; `None` without certificates.
pub fn acceptor(config: &Config) -> Result<Option<TlsAcceptor>, CertificateError> {
    if config.tls.certificate.is_empty() {
        return Ok(None);
    }
    TlsAcceptor::new(load(config)?, TlsSettings::default()).map(Some)
}

/// Where the files of a made-up authority lie.
#[derive(Clone, Debug)]
pub struct DevCertificates {
    /// What a client must trust.
    pub ca: PathBuf,
    /// The server's chain.
    pub chain: PathBuf,
    /// The server's key.
    pub key: PathBuf,
}

impl DevCertificates {
    /// Those in `folder`, made if they are not there. The authority's key is forgotten at once: whoever trusts the
    /// authority trusts this one server.
    pub fn obtain(folder: &Path, names: &[&str]) -> io::Result<DevCertificates> {
        let files = DevCertificates {
            ca: folder.join("ca.pem"),
            chain: folder.join("server.pem"),
            key: folder.join("server.key"),
        };
        // The key comes last, so that a start that was broken off is made up for.
        if !files.key.exists() {
            make(&files, names).map_err(|error| io::Error::other(error.to_string()))?;
        }
        Ok(files)
    }
}

fn make(files: &DevCertificates, names: &[&str]) -> Result<(), Box<dyn std::error::Error>> {
    let name = |common: &str| {
        let mut name = DistinguishedName::new();
        name.push(DnType::CommonName, common);
        name
    };
    let (not_before, not_after) = (
        rcgen::date_time_ymd(2020, 1, 1),
        rcgen::date_time_ymd(2049, 12, 31),
    );
    let mut authority = CertificateParams::new(Vec::new())?;
    authority.distinguished_name = name("Mailrook throwaway authority");
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (authority.not_before, authority.not_after) = (not_before, not_after);
    let authority_key = KeyPair::generate()?;
    let authority_certificate = authority.self_signed(&authority_key)?;

    let mut server = CertificateParams::new(
        names
            .iter()
            .map(|name| (*name).to_owned())
            .collect::<Vec<_>>(),
    )?;
    let loopback = [
        IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(Ipv6Addr::LOCALHOST),
    ];
    server
        .subject_alt_names
        .extend(loopback.map(SanType::IpAddress));
    server.distinguished_name = name(names.first().copied().unwrap_or("localhost"));
    server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    server.use_authority_key_identifier_extension = true;
    (server.not_before, server.not_after) = (not_before, not_after);
    let server_key = KeyPair::generate()?;
    let issuer = Issuer::new(authority, authority_key);
    let server_certificate = server.signed_by(&server_key, &issuer)?;

    fs::write(&files.ca, authority_certificate.pem())?;
    fs::write(&files.chain, server_certificate.pem())?;
    write_secret(&files.key, server_key.serialize_pem().as_bytes())?;
    Ok(())
}

/// Writes a file that only this user can read, and that is there as a whole or not at all.
pub fn write_secret(path: &Path, content: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)?;
    io::Write::write_all(&mut file, content)?;
    file.sync_all()?;
    fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn made_up_certificates_can_be_used_and_stay() {
        let folder = tempfile::tempdir().unwrap();
        let made =
            DevCertificates::obtain(folder.path(), &["localhost", "mail.example.test"]).unwrap();
        let files = mailrook_net::CertificateFiles {
            chain: made.chain.clone(),
            key: made.key.clone(),
        };
        assert!(Certificates::from_files(&[files]).is_ok());
        assert_eq!(
            fs::metadata(&made.key).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let before = fs::read(&made.chain).unwrap();
        DevCertificates::obtain(folder.path(), &["localhost"]).unwrap();
        assert_eq!(fs::read(&made.chain).unwrap(), before);
    }
}
