//! P8: bad input gets a clear error or a closed connection, costs a bounded amount, and harms nobody else.
//!
//! Processor time and memory are read from `/proc`, so the tests of this file run one after the other.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

use std::io;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use mailrook_tests::client::{Conn, Imap, Pop3, Smtp, dot_stuffed};
use mailrook_tests::harness::{Fixture, Ports, Shared, mail, raise_file_limit};

/// The plan's bounds.
const CPU_MS_MAX: u64 = 1_000;
const KIB_PER_CONNECTION_MAX: u64 = 1_024;

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Watches the server while something bad is done to it.
struct Watch {
    _turn: MutexGuard<'static, ()>,
    fixture: Fixture,
    cpu_ms: u64,
    pss_kib: u64,
}

impl Watch {
    fn begin() -> Self {
        let turn = ONE_AT_A_TIME
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let fixture = Shared::get().fixture();
        // Once before, so that what a first login costs is not counted.
        fixture.client().unwrap().logout().unwrap();
        let processes = fixture.server.processes();
        Self {
            _turn: turn,
            fixture,
            cpu_ms: processes.usage().cpu_ms,
            pss_kib: processes.pss_kib(),
        }
    }

    fn ports(&self) -> Ports {
        self.fixture.server.ports()
    }

    fn used_cpu_ms(&self) -> u64 {
        self.fixture.server.processes().usage().cpu_ms - self.cpu_ms
    }

    fn grown_kib(&self) -> u64 {
        self.fixture
            .server
            .processes()
            .pss_kib()
            .saturating_sub(self.pss_kib)
    }

    fn cheap(&self, what: &str, cpu_ms_max: u64, kib_max: u64) {
        let (cpu, kib) = (self.used_cpu_ms(), self.grown_kib());
        println!("{what}: {cpu} ms, {kib} KiB");
        assert!(
            cpu <= cpu_ms_max,
            "{what} cost {cpu} ms of processor time, allowed are {cpu_ms_max}"
        );
        assert!(
            kib <= kib_max,
            "{what} cost {kib} KiB of memory, allowed are {kib_max}"
        );
    }

    /// Other clients are served, and soon.
    fn others_unharmed(&self) {
        let begin = Instant::now();
        let account = &self.fixture.account;
        let mut imap = self.fixture.client().unwrap();
        imap.ok("SELECT INBOX").unwrap();
        imap.logout().unwrap();
        Pop3::login(self.ports().pop3, &account.user, &account.password)
            .unwrap()
            .quit()
            .unwrap();
        let mut smtp = Smtp::connect(self.ports().smtp).unwrap();
        smtp.send_stuffed(
            "a@x.example",
            &[&account.user],
            &dot_stuffed(mail(1).as_bytes()),
        )
        .unwrap();
        assert!(
            begin.elapsed() < Duration::from_secs(5),
            "others waited {:?}",
            begin.elapsed()
        );
    }
}

/// Sends what the server will take, and gives what it says until it closes or says nothing for four seconds (a refused login may wait two).
fn throw(port: u16, bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut conn = Conn::connect(port)?;
    conn.set_read_timeout(Duration::from_secs(4))?;
    conn.set_write_timeout(Duration::from_secs(5))?;
    // The server may close or stop reading in the middle: that is one of the right answers.
    let _ = conn.send(bytes);
    let mut said = Vec::new();
    while let Ok(Some(line)) = conn.line_or_end() {
        said.extend_from_slice(&line);
        said.push(b'\n');
    }
    Ok(said)
}

fn text_ports(ports: Ports) -> [(&'static str, u16); 5] {
    [
        ("smtp", ports.smtp),
        ("submission", ports.submission),
        ("lmtp", ports.lmtp),
        ("imap", ports.imap),
        ("pop3", ports.pop3),
    ]
}

#[test]
fn overlong_lines_before_login() {
    for (name, port) in text_ports(Shared::get().ports())
        .into_iter()
        .filter(|(_, port)| *port != 0)
    {
        let watch = Watch::begin();
        let said =
            String::from_utf8_lossy(&throw(port, &vec![b'A'; 10 << 20]).unwrap()).into_owned();
        let answered = said.lines().count() <= 4;
        assert!(
            answered,
            "{name}: a line of 10 MiB got many answers: {said:.500}"
        );
        watch.cheap(
            &format!("{name}: a line of 10 MiB"),
            CPU_MS_MAX,
            2 * KIB_PER_CONNECTION_MAX,
        );
        watch.others_unharmed();
    }
}

#[test]
fn overlong_line_then_a_good_command() {
    // A line that ends is refused, and the connection goes on or is closed: both are clear.
    let watch = Watch::begin();
    let line = [vec![b'A'; 100_000], b"\r\n".to_vec()].concat();
    let imap = throw(
        watch.ports().imap,
        &[b"a1 ".to_vec(), line.clone(), b"a2 LOGOUT\r\n".to_vec()].concat(),
    )
    .unwrap();
    let imap = String::from_utf8_lossy(&imap).into_owned();
    assert!(imap.contains("BAD") || imap.contains("BYE"), "{imap}");
    let smtp = throw(
        watch.ports().smtp,
        &[line.clone(), b"QUIT\r\n".to_vec()].concat(),
    )
    .unwrap();
    assert!(
        String::from_utf8_lossy(&smtp).contains("\n500 ")
            || String::from_utf8_lossy(&smtp).contains("\n421 ")
    );
    let pop3 = throw(watch.ports().pop3, &[line, b"QUIT\r\n".to_vec()].concat()).unwrap();
    assert!(
        String::from_utf8_lossy(&pop3).contains("-ERR")
            || pop3.iter().filter(|b| **b == b'\n').count() == 1
    );
    watch.cheap(
        "lines of 100,000 octets",
        CPU_MS_MAX,
        2 * KIB_PER_CONNECTION_MAX,
    );
}

#[test]
fn huge_literals() {
    let watch = Watch::begin();
    for command in [
        "a1 LOGIN {1073741824}\r\n",
        "a1 LOGIN {1073741824+}\r\n",
        "a1 LOGIN {99999999999999999999}\r\n",
        "a1 LOGIN {-1}\r\n",
    ] {
        let said = throw(watch.ports().imap, command.as_bytes()).unwrap();
        let said = String::from_utf8_lossy(&said).into_owned();
        assert!(
            said.contains("BAD") || said.contains("NO") || said.contains("BYE"),
            "{command}: {said}"
        );
        assert!(
            !said.lines().any(|l| l.starts_with('+')),
            "{command} was invited: {said}"
        );
    }
    // A non-synchronising literal that keeps coming.
    let flood = [b"a1 LOGIN {1073741824+}\r\n".to_vec(), vec![b'x'; 16 << 20]].concat();
    throw(watch.ports().imap, &flood).unwrap();
    watch.cheap(
        "literals of 1 GiB before login",
        CPU_MS_MAX,
        4 * KIB_PER_CONNECTION_MAX,
    );
    let mut imap = watch.fixture.client().unwrap();
    for command in [
        "SELECT {1073741824}",
        "SEARCH TEXT {1073741824}",
        "APPEND INBOX {1099511627776}",
    ] {
        let reply = imap.command(command);
        assert!(reply.map_or(true, |r| !r.is_ok()), "{command}");
        imap = watch.fixture.client().unwrap();
    }
    watch.others_unharmed();
}

#[test]
fn bad_utf8_nul_and_base64() {
    let watch = Watch::begin();
    let ports = watch.ports();
    for bytes in [
        &b"a1 LOGIN \xff\xfe \x80\r\na2 LOGOUT\r\n"[..],
        b"a1 LOGIN \"\xc3\x28\" \"\xf0\x28\x8c\x28\"\r\na2 LOGOUT\r\n",
        b"a1 AUTHENTICATE PLAIN ====\r\na2 LOGOUT\r\n",
        b"a1 AUTHENTICATE PLAIN AGEAYg\r\na2 LOGOUT\r\n",
        b"a1 LOGIN a\0b c\r\na2 LOGOUT\r\n",
        b"\0\0\0\0\r\na2 LOGOUT\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\na2 LOGOUT\r\n",
    ] {
        let said = throw(ports.imap, bytes).unwrap();
        let text = String::from_utf8_lossy(&said).into_owned();
        assert!(
            !text.contains("a1 OK")
                && (text.contains("BAD") || text.contains("NO") || text.contains("BYE")),
            "{text}"
        );
    }
    for bytes in [
        &b"EHLO x\r\nAUTH PLAIN \xff\xff\r\nQUIT\r\n"[..],
        b"EHLO \xff\xff\r\nMAIL FROM:<\xff@x>\r\nQUIT\r\n",
        b"\0\r\nQUIT\r\n",
    ] {
        let said = throw(ports.smtp, bytes).unwrap();
        let text = String::from_utf8_lossy(&said).into_owned();
        assert!(text.contains("\n5") || text.contains("\n4"), "{text}");
    }
    for bytes in [
        &b"USER \xff\r\nPASS \xff\r\nQUIT\r\n"[..],
        b"AUTH PLAIN \xff\r\nQUIT\r\n",
        b"\0\0\r\nQUIT\r\n",
    ] {
        assert!(String::from_utf8_lossy(&throw(ports.pop3, bytes).unwrap()).contains("-ERR"));
    }
    watch.others_unharmed();
}

#[test]
fn nested_and_repeated_search_syntax() {
    let watch = Watch::begin();
    let mut imap = watch.fixture.client().unwrap();
    imap.ok("SELECT INBOX").unwrap();
    let many = 100_000;
    let commands = [
        format!("SEARCH {}ALL{}", "(".repeat(many), ")".repeat(many)),
        format!("SEARCH {}ALL", "NOT ".repeat(many)),
        format!("SEARCH {}ALL", "OR ALL ".repeat(many)),
        format!("FETCH 1:* {}FLAGS{}", "(".repeat(many), ")".repeat(many)),
        format!("UID FETCH {}1 FLAGS", "1:4294967295,".repeat(5_000)),
        format!("LIST \"\" {}x", "*%".repeat(500)),
        format!("LIST {} \"\" x", "(".repeat(many)),
    ];
    for command in commands {
        // Refused or answered; a connection that was closed for it is replaced.
        let before = watch.used_cpu_ms();
        if imap.command(&command).is_err() {
            imap = watch.fixture.client().unwrap();
            imap.ok("SELECT INBOX").unwrap();
        }
        let cost = watch.used_cpu_ms() - before;
        assert!(cost < CPU_MS_MAX, "{:.40} cost {cost} ms", command);
    }
    watch.others_unharmed();
}

#[test]
fn a_list_pattern_does_not_backtrack_forever() {
    let watch = Watch::begin();
    let mut imap = watch.fixture.client().unwrap();
    imap.ok(&format!("CREATE {}", "a".repeat(200))).unwrap();
    let before = watch.used_cpu_ms();
    imap.command(&format!("LIST \"\" {}b", "*a".repeat(100)))
        .unwrap();
    assert!(watch.used_cpu_ms() - before < CPU_MS_MAX);
}

/// Messages that are built to cost: taken or refused, then listed, in bounded time.
#[test]
fn bombs_in_mail() {
    let head = "From: a@x.example\r\nMIME-Version: 1.0\r\n";
    let parts = format!(
        "{head}Content-Type: multipart/mixed; boundary=b\r\n\r\n{}--b--\r\n",
        "--b\r\n\r\nx\r\n".repeat(100_000)
    );
    let addresses = format!(
        "{head}To: {}z@x.example\r\n\r\ntext\r\n",
        "a@x.example,\r\n ".repeat(100_000)
    );
    let headers = format!(
        "{head}{}\r\ntext\r\n",
        "To: a@x.example\r\n".repeat(100_000)
    );
    let nested = format!(
        "{}\r\ntext\r\n",
        "Content-Type: message/rfc822\r\n\r\n".repeat(10_000)
    );
    let multipart: String = (0..5_000)
        .map(|n| format!("Content-Type: multipart/mixed; boundary=b{n}\r\n\r\n--b{n}\r\n"))
        .collect();
    let parameters: String = (0..10_000)
        .map(|n| format!(";\r\n name*{n}*=utf-8''%41"))
        .collect();
    let parameters = format!("{head}Content-Type: text/plain{parameters}\r\n\r\ntext\r\n");
    let comments = format!(
        "{head}To: {}a@x.example{}\r\n\r\ntext\r\n",
        "(".repeat(50_000),
        ")".repeat(50_000)
    );
    let encoded = format!(
        "{head}Subject: {}\r\n\r\ntext\r\n",
        "=?utf-8?q?=41?=\r\n ".repeat(100_000)
    );
    let references = format!(
        "{head}References: {}\r\n\r\ntext\r\n",
        "<a@x.example>\r\n ".repeat(100_000)
    );
    let bombs = [
        ("100,000 parts", parts),
        ("100,000 addresses", addresses),
        ("100,000 header lines", headers),
        ("10,000 nested messages", nested),
        ("5,000 nested multiparts", multipart),
        ("10,000 parameters", parameters),
        ("50,000 nested comments", comments),
        ("100,000 encoded words", encoded),
        ("100,000 references", references),
    ];
    for (name, bomb) in bombs {
        let watch = Watch::begin();
        let mut lmtp = Smtp::connect_lmtp(watch.ports().lmtp).unwrap();
        let reply = lmtp.lmtp_stuffed(
            "a@x.example",
            &[&watch.fixture.account.user],
            &dot_stuffed(bomb.as_bytes()),
        );
        let taken = reply.map(|r| r[0].is_positive()).unwrap_or(false);
        watch.cheap(&format!("{name}, delivered"), CPU_MS_MAX, 64 << 10);
        if taken {
            let mut imap = watch.fixture.client().unwrap();
            imap.ok("SELECT INBOX").unwrap();
            imap.ok("FETCH 1:* (ENVELOPE BODYSTRUCTURE BODY.PEEK[1.1.1] BODY.PEEK[HEADER.FIELDS (TO SUBJECT)])").unwrap();
            imap.ok("SEARCH TEXT nowhere SUBJECT x TO y BODY z")
                .unwrap();
            watch.cheap(&format!("{name}, listed"), 2 * CPU_MS_MAX, 128 << 10);
        }
        watch.others_unharmed();
    }
}

#[test]
fn a_client_that_stops_reading() {
    let watch = Watch::begin();
    let big = format!(
        "{}{}",
        mail(1),
        "0123456789abcdef0123456789abcdef\r\n".repeat(150_000)
    );
    let mut imap = watch.fixture.client().unwrap();
    for _ in 0..4 {
        imap.append("INBOX", "", big.as_bytes()).unwrap();
    }
    let (before, mut deaf) = (watch.grown_kib(), Vec::new());
    for _ in 0..20 {
        let mut imap = watch.fixture.client().unwrap();
        imap.ok("SELECT INBOX").unwrap();
        // 20 × 20 × 20 MB would be answered; nothing is read.
        for _ in 0..20 {
            imap.begin("FETCH 1:* BODY.PEEK[]").unwrap();
        }
        deaf.push(imap);
    }
    std::thread::sleep(Duration::from_secs(3));
    let grown = watch.grown_kib().saturating_sub(before);
    println!("20 clients that do not read: {grown} KiB");
    assert!(
        grown < 20 * 8 * 1_024,
        "20 clients that do not read cost {grown} KiB"
    );
    watch.others_unharmed();
}

#[test]
fn a_thousand_bad_connections_at_once() {
    raise_file_limit().unwrap();
    let watch = Watch::begin();
    let ports = text_ports(watch.ports());
    let ports: Vec<_> = ports.into_iter().filter(|(_, port)| *port != 0).collect();
    let kinds: [&[u8]; 5] = [
        b"",
        b"a1 LOGIN {1000000000+}\r\nxxxx",
        &[b'A'; 60_000],
        b"a1 AUTHENTICATE PLAIN\r\n",
        b"\xff\xfe\0\r\n",
    ];
    let mut open = Vec::new();
    for number in 0..1_000 {
        let mut conn = Conn::connect(ports[number % ports.len()].1).unwrap();
        conn.set_write_timeout(Duration::from_millis(500)).unwrap();
        let _ = conn.send(kinds[number % kinds.len()]);
        open.push(conn);
    }
    std::thread::sleep(Duration::from_secs(1));
    watch.cheap(
        "1,000 bad connections",
        3 * CPU_MS_MAX,
        1_000 * KIB_PER_CONNECTION_MAX,
    );
    watch.others_unharmed();
    drop(open);
    std::thread::sleep(Duration::from_secs(2));
    watch.others_unharmed();
}

#[test]
fn pipelined_garbage_ends_in_time() {
    // A client that errs and errs is cut off: RFC 5321 §3.8 allows 421, IMAP a BYE.
    let watch = Watch::begin();
    for (name, port) in text_ports(watch.ports())
        .into_iter()
        .filter(|(_, port)| *port != 0)
    {
        let said = throw(port, &b"NONSENSE HERE\r\n".repeat(100_000)).unwrap();
        let lines = said.iter().filter(|b| **b == b'\n').count();
        assert!(lines < 100_000, "{name} answered {lines} errors");
    }
    watch.cheap("100,000 bad commands on each port", 5 * CPU_MS_MAX, 8 << 10);
    watch.others_unharmed();
}

#[test]
fn a_connection_that_ends_in_the_middle_of_anything() {
    let watch = Watch::begin();
    let ports = watch.ports();
    let imap = b"a1 LOGIN {5}\r\nab";
    let smtp = b"EHLO x\r\nMAIL FROM:<a@x.example>\r\nRCPT";
    for (port, bytes) in [
        (ports.imap, &imap[..]),
        (ports.smtp, &smtp[..]),
        (ports.pop3, b"USER a\r\nPA"),
    ] {
        for end in 0..bytes.len() {
            let mut conn = Conn::connect(port).unwrap();
            conn.send(&bytes[..end]).unwrap();
            conn.shutdown_write().unwrap();
            conn.set_read_timeout(Duration::from_secs(10)).unwrap();
            // The end of the input must be the end of the connection.
            conn.read_to_end().unwrap();
        }
    }
    watch.others_unharmed();
    let _ = Imap::connect(ports.imap).unwrap();
}
