//! Addresses of an issuer: `https://…` anywhere, `http://…` on this machine alone.

use std::{fmt, net::IpAddr};

use hyper::Uri;
use rustls::pki_types::ServerName;
use serde::{Serialize, Serializer};

/// Far above what issuers have. It bounds what is repeated to clients.
const URL_LEN_MAX: usize = 2_048;

/// Where an issuer is asked. Tokens and keys cross the network under TLS, or not at all.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpUrl {
    text: String,
    tls: bool,
    host: String,
    port: u16,
    path: String,
}

impl HttpUrl {
    /// Reads a URL. The error says what would be right.
    pub fn parse(text: &str) -> Result<HttpUrl, String> {
        let wrong = |why: &str| {
            format!("{text:?} {why}; write a URL as in \"https://id.example.org/realms/mail\"")
        };
        let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b'#');
        if text.len() > URL_LEN_MAX || !text.bytes().all(plain) {
            return Err(wrong("has characters that no URL has here, or too many"));
        }
        let uri: Uri = text.parse().map_err(|_| wrong("is no URL"))?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(wrong("is neither https nor http")),
        };
        let authority = uri.authority().ok_or_else(|| wrong("names no host"))?;
        if authority.as_str().contains('@') {
            return Err(wrong("has a user name"));
        }
        let host = authority.host();
        let host = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host);
        if ServerName::try_from(host).is_err() {
            return Err(wrong("names no host"));
        }
        let on_this_machine = host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        if !tls && !on_this_machine {
            return Err(format!(
                "{text:?} would be asked without TLS; write https, or http with a loopback address, as in \
                 \"http://127.0.0.1:8080/\""
            ));
        }
        // A port that is there and is none.
        let port = match authority.port() {
            Some(port) => port.as_u16(),
            None if authority.as_str().len() > authority.host().len() => {
                return Err(wrong("has no right port"));
            }
            None if tls => 443,
            None => 80,
        };
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(HttpUrl {
            text: text.to_owned(),
            tls,
            host: host.to_owned(),
            port,
            path: path.to_owned(),
        })
    }

    /// As it was written: issuers are compared so (RFC 8414 §3.3).
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether there is something behind `?`, which an issuer's name must not have (RFC 8414 §2).
    pub fn has_query(&self) -> bool {
        self.text.contains('?')
    }

    pub(crate) fn is_tls(&self) -> bool {
        self.tls
    }

    /// A name, or an address without brackets.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// With the query.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// What stands in a request's `Host`.
    pub(crate) fn host_header(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.text)
    }
}

impl Serialize for HttpUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tls_anywhere_and_without_it_here_alone() {
        let parts = |text: &str| {
            let url = HttpUrl::parse(text).unwrap();
            assert_eq!(url.to_string(), text);
            (url.is_tls(), url.host_header(), url.path().to_owned())
        };
        let (tls, host, path) = parts("https://id.test/realms/mail?x=1");
        assert_eq!(
            (tls, &*host, &*path),
            (true, "id.test:443", "/realms/mail?x=1")
        );
        let (tls, host, path) = parts("http://127.0.0.1:8080");
        assert_eq!((tls, &*host, &*path), (false, "127.0.0.1:8080", "/"));
        let (_, host, _) = parts("http://[::1]/keys");
        assert_eq!(host, "[::1]:80");
        for text in [
            "",
            "id.test",
            "/keys",
            "ftp://id.test/",
            "http://id.test/",
            "http://10.0.0.1/",
            "http://localhost/",
            "https://",
            "https:///keys",
            "https://user:secret@id.test/",
            "https://id.test:99999/",
            "https://id.test:/",
            "https://id.test/#part",
            "https://id.test/a b",
            "https://id.test/\"",
            "https://exämple.test/",
            "https://-/",
            &format!("https://id.test/{}", "x".repeat(URL_LEN_MAX)),
        ] {
            assert!(HttpUrl::parse(text).is_err(), "{text}");
        }
    }
}
