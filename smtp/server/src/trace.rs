//! The header fields that a copy gets here: `Return-Path` and `Received` (RFC 5321 §4.4).

use std::net::IpAddr;

use mailrook_net::TlsInfo;
use mailrook_smtp_proto::Service;
use mailrook_types::{Address, Domain, ReversePath, Timestamp};

/// What `Received` tells of a message's arrival; the same for all its recipients.
#[derive(Debug)]
pub(crate) struct Arrival<'a> {
    pub(crate) hostname: &'a Domain,
    pub(crate) service: Service,
    /// The name that the client gave itself.
    pub(crate) hello: &'a str,
    /// None on a unix socket.
    pub(crate) ip: Option<IpAddr>,
    pub(crate) tls: Option<&'a TlsInfo>,
    pub(crate) authenticated: bool,
    /// EHLO or LHLO, not HELO.
    pub(crate) extended: bool,
    pub(crate) smtputf8: bool,
    pub(crate) id: &'a str,
    pub(crate) at: Timestamp,
}

impl Arrival<'_> {
    /// The fields for one recipient. `Received` names that recipient alone, so that nobody learns of the others.
    pub(crate) fn fields(&self, reverse_path: &ReversePath, recipient: &Address) -> Vec<u8> {
        let from = match self.ip {
            Some(IpAddr::V4(v4)) => format!("{} ([{v4}])", self.hello),
            Some(IpAddr::V6(v6)) => format!("{} ([IPv6:{v6}])", self.hello),
            None => format!("{} (local)", self.hello),
        };
        // RFC 8314 §4.3; rustls names the suites of TLS 1.3 with its number.
        let tls = self.tls.map_or(String::new(), |tls| {
            format!(
                "\r\n\ttls {} ({})",
                tls.cipher.replace("TLS13_", "TLS_"),
                tls.version
            )
        });
        format!(
            "Return-Path: {reverse_path}\r\nReceived: from {from}\r\n\tby {} with {} id {}\r\n\tfor <{recipient}>{tls};\r\n\t{}\r\n",
            self.hostname,
            self.protocol(),
            self.id,
            self.at.rfc5322_date(),
        )
        .into_bytes()
    }

    /// RFC 3848, and RFC 6531 §4.3 for those with UTF-8.
    fn protocol(&self) -> String {
        let base = match (self.service, self.smtputf8, self.extended) {
            (Service::Lmtp, true, _) => "UTF8LMTP",
            (Service::Lmtp, false, _) => "LMTP",
            (_, true, _) => "UTF8SMTP",
            (_, false, true) => "ESMTP",
            (_, false, false) => "SMTP",
        };
        let secure = if self.tls.is_some() && base != "SMTP" {
            "S"
        } else {
            ""
        };
        let authenticated = if self.authenticated && base != "SMTP" {
            "A"
        } else {
            ""
        };
        format!("{base}{secure}{authenticated}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn received_tells_how_it_came() {
        let hostname = Domain::parse("mx.example.test").unwrap();
        let tls = TlsInfo {
            version: "TLSv1.3",
            cipher: "TLS13_AES_256_GCM_SHA384",
            server_name: None,
        };
        let arrival = Arrival {
            hostname: &hostname,
            service: Service::Submission,
            hello: "client.test",
            ip: Some("192.0.2.1".parse().unwrap()),
            tls: Some(&tls),
            authenticated: true,
            extended: true,
            smtputf8: false,
            id: "abc.1",
            at: Timestamp::from_secs(0),
        };
        let fields = arrival.fields(
            &ReversePath::Null,
            &Address::parse("u@example.test").unwrap(),
        );
        assert_eq!(
            String::from_utf8(fields).unwrap(),
            "Return-Path: <>\r\nReceived: from client.test ([192.0.2.1])\r\n\tby mx.example.test with ESMTPSA id abc.1\r\n\
             \tfor <u@example.test>\r\n\ttls TLS_AES_256_GCM_SHA384 (TLSv1.3);\r\n\tThu, 1 Jan 1970 00:00:00 +0000\r\n"
        );
        let protocol = |service, tls: bool, authenticated, extended, smtputf8| {
            let tls = tls.then_some(arrival.tls).flatten();
            Arrival {
                service,
                tls,
                authenticated,
                extended,
                smtputf8,
                ..arrival
            }
            .protocol()
        };
        assert_eq!(protocol(Service::Mx, false, false, false, false), "SMTP");
        assert_eq!(protocol(Service::Mx, false, false, true, false), "ESMTP");
        assert_eq!(protocol(Service::Mx, true, false, true, true), "UTF8SMTPS");
        assert_eq!(protocol(Service::Lmtp, false, false, true, false), "LMTP");
    }
}
