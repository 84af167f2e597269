//! The configuration file: what is accepted prints as a file that says the same, and each complaint has its place.

use std::path::Path;

use mailrook_config::{Config, EXAMPLE};

use crate::Target;

pub(crate) const CONFIGURATION: Target = Target {
    name: "configuration",
    run: configuration,
    seeds: || {
        let uncommented = |line: &str| match line.strip_prefix('#') {
            Some(code) if !code.starts_with(' ') => format!("{code}\n"),
            _ => format!("{line}\n"),
        };
        let least =
            "hostname = \"m.test\"\n[[tls.certificate]]\nchain = \"a.pem\"\nkey = \"/b.key\"\n";
        let some = "[smtp]\nmessage_size_max = \"70MB\"\nmemory_max = \"64MB\"\n[connections]\nmax = 50\nproxies = \
                    [\"10.0.0.0/8\", \"2001:db8::/32\"]\nlogin_timeout = \"1m30s\"\n[listen]\nlmtp = \
                    [\"unix:/run/lmtp.sock\"]\nsmtp = [\"systemd:mx\", \"[::1]:2525\", \"192.0.2.1:25\"]\n";
        vec![
            EXAMPLE.lines().map(uncommented).collect::<String>().into(),
            least.into(),
            format!("{least}{some}").into(),
            b"hostname = \"m.test\"\nlisten.imaps = []\nlisten.submissions = []\nlisten.pop3s = []\nlogin.plaintext = true\n".to_vec(),
        ]
    },
    dictionary: &[
        b"[smtp]\n",
        b"[[tls.certificate]]\n",
        b"hostname = ",
        b" = [\"*:25\"]\n",
        b" = []\n",
        b"\"50MB\"",
        b"\"1KiB\"",
        b"\"1h30m\"",
        b"\"500ms\"",
        b"\"0s\"",
        b"1_000",
        b"0x10",
        b"18446744073709551616",
        b"true",
        b"1979-05-27T07:32:00Z",
        b"\"\"\"",
        b"'''",
        b"\\u0000",
        b"\xef\xbb\xbf",
        b"a.b.c = ",
        b"{ a = 1 }",
        b"127.0.0.0/8",
        b"unix:/",
        b"systemd:",
    ],
    len_max: 6_000,
    rounds: 12_000,
};

/// Reads a file.
///
/// # Panics
/// If what is accepted prints as something else, or a complaint names a line that there is not.
pub fn configuration(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let path = Path::new("/etc/mailrook/mailrook.toml");
    match Config::parse(&text, path) {
        Ok(config) => {
            let printed = toml::to_string(&config).expect("a configuration can be written as TOML");
            match Config::parse(&printed, path) {
                Ok(again) => assert_eq!(again, config, "{printed}"),
                Err(problems) => panic!("it does not take what it prints: {problems}\n{printed}"),
            }
        }
        Err(problems) => {
            assert!(!problems.problems.is_empty());
            let lines = 1 + text.matches('\n').count();
            let places = problems.problems.iter().filter_map(|problem| problem.line);
            assert!(places.clone().all(|line| (1..=lines).contains(&line)));
            assert!(places.is_sorted());
            // A problem is a line for the operator, however long the value that it is about.
            assert!(problems.to_string().lines().count() <= 31, "{problems}");
        }
    }
}
