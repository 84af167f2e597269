//! What other domains write about themselves in the DNS and beside it: nothing of it is read as more than it says.

use mailrook_dns::{
    DnsName,
    sts::{self, MX_PATTERNS_MAX, Policy, StsRecord},
    tlsrpt::{RUA_MAX, ReportUri, TlsrptRecord},
};

use crate::Target;

pub(crate) const DNS_TEXTS: Target = Target {
    name: "dns_texts",
    run: dns_texts,
    seeds: || {
        let policy = "version: STSv1\r\nmode: enforce\r\nmx: mail.example.com\r\nmx: *.example.net\r\nmax_age: 604800\r\n";
        vec![
            policy.as_bytes().to_vec(),
            policy
                .replace("enforce", "testing")
                .replace("\r\n", "\n")
                .into_bytes(),
            b"version: STSv1\nmode: none\nmax_age: 1\n".to_vec(),
            b"v=STSv1; id=20160831085700Z;".to_vec(),
            b"v=TLSRPTv1; rua=mailto:reports@example.com,https://r.example.com/v1/tlsrpt;".to_vec(),
            b"_25._tcp.mx.b\xc3\xbccher.example.".to_vec(),
        ]
    },
    dictionary: &[
        b"version: STSv1\n",
        b"mode: enforce\n",
        b"mx: *.",
        b"max_age: ",
        b"9999999999",
        b"v=STSv1;",
        b"v=TLSRPTv1;",
        b"id=",
        b"rua=",
        b"mailto:",
        b"https://",
        b"%0d%0a",
        b"xn--",
        b".",
        b",",
        b";",
    ],
    len_max: 3_000,
    rounds: 200_000,
};

/// The same bytes as a policy, as both records and as a name.
///
/// # Panics
/// If what was read prints as something else, is not bounded, or could break a line of a header.
pub fn dns_texts(input: &[u8]) {
    if let Ok(policy) = Policy::parse(input) {
        assert!(policy.mx.len() <= MX_PATTERNS_MAX && policy.max_age <= sts::MAX_AGE_MAX);
        let printed = policy.to_string();
        assert_eq!(
            Policy::parse(printed.as_bytes()).as_ref(),
            Ok(&policy),
            "{printed}"
        );
        for pattern in &policy.mx {
            // A pattern names no host outside its domain.
            let domain = pattern.to_string();
            let domain = domain.trim_start_matches("*.");
            let above = DnsName::parse("outside.example.invalid").expect("a name");
            assert!(!pattern.matches(&above) || above.as_str().ends_with(domain));
        }
    }
    if let Some(record) = StsRecord::parse(input) {
        let printed = format!("v=STSv1; id={};", record.id);
        assert_eq!(StsRecord::parse(printed.as_bytes()), Some(record));
    }
    if let Some(record) = TlsrptRecord::parse(input) {
        assert!((1..=RUA_MAX).contains(&record.rua.len()));
        for uri in &record.rua {
            let (ReportUri::Mail(text) | ReportUri::Https(text)) = uri;
            assert!(!text.chars().any(char::is_control), "{text:?}");
        }
    }
    if let Ok(name) = DnsName::parse(&String::from_utf8_lossy(input)) {
        assert!(name.as_str().len() <= 253 && name.as_str().is_ascii());
        assert_eq!(DnsName::parse(name.as_str()), Ok(name));
    }
}
