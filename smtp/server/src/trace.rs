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
            rfc5322_date(self.at),
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

/// RFC 5322 §3.3, in UTC.
pub(crate) fn rfc5322_date(at: Timestamp) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let (days, seconds) = (
        at.as_secs().div_euclid(86_400),
        at.as_secs().rem_euclid(86_400),
    );
    // Counted from 0000-03-01, a year's leap day is its last, and months have a regular pattern.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12;
    let year = era * 400 + year_of_era + i64::from(month < 2);
    format!(
        "{}, {day} {} {year} {:02}:{:02}:{:02} +0000",
        DAYS[days.rem_euclid(7) as usize],
        MONTHS[month as usize],
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right() {
        for (seconds, date) in [
            (0, "Thu, 1 Jan 1970 00:00:00 +0000"),
            (951_782_399, "Mon, 28 Feb 2000 23:59:59 +0000"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 +0000"),
            (1_000_000_000, "Sun, 9 Sep 2001 01:46:40 +0000"),
            (1_795_364_625, "Sun, 22 Nov 2026 16:23:45 +0000"),
            (4_107_542_400, "Mon, 1 Mar 2100 00:00:00 +0000"),
        ] {
            assert_eq!(rfc5322_date(Timestamp::from_secs(seconds)), date);
        }
    }

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
