//! SEARCH and UID SEARCH.

use proptest::{
    prelude::*,
    strategy::{Strategy, ValueTree},
    test_runner::TestRunner,
};

use super::rig::{Rig, play};

const ALICE: &str = "From: Alice Jones <alice@example.test>
To: \"Smith, Bob\" <bob@example.test>, carol@example.test
Cc: =?utf-8?q?J=C3=BCrgen?= <j@example.test>
Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?= from the sea
Date: Wed, 1 Jan 2020 00:30:00 +0200
Message-ID: <one@example.test>
X-Color: deep blue

The quick brown fox.
";

const PARTS: &str = "From: dave@example.test
Subject: report
Date: Thu, 2 Jan 2020 12:00:00 +0000
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=b

preamble word
--b
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: base64

w4RwZmVsIHVuZCBCaXJuZW4=
--b
Content-Type: application/octet-stream; name=secretname.bin

attachmentword
--b
Content-Type: message/rfc822

Subject: inner subject

inner body text
--b--
";

const BARE: &str = "Subject: nothing

lazy dog
";

async fn rig() -> Rig {
    let rig = Rig::new().await;
    rig.add_mail(&[ALICE, PARTS, BARE]).await;
    rig
}

/// Each search with what it finds.
async fn finds(rig: &Rig, searches: &[(&str, &str)]) {
    let mut client = rig.selected().await;
    for (index, (search, found)) in searches.iter().enumerate() {
        let space = if found.is_empty() { "" } else { " " };
        client
            .play(&format!(
                "C: s{index} {search}\nS: * SEARCH{space}{found}\nS: s{index} OK ..."
            ))
            .await;
    }
}

#[tokio::test]
async fn by_text() {
    let searches = [
        ("SEARCH SUBJECT \"GRÜSSE\"", "1"),
        ("SEARCH SUBJECT \"the SEA\"", "1"),
        ("SEARCH FROM alice", "1"),
        ("SEARCH FROM \"Jones <alice@\"", "1"),
        ("SEARCH TO \"Smith, Bob\"", "1"),
        ("SEARCH TO \"smith\"", "1"),
        ("SEARCH TO carol@example", "1"),
        ("SEARCH CC \"jürgen\"", "1"),
        ("SEARCH BCC x", ""),
        ("SEARCH FROM \"\"", "1 2"),
        ("SEARCH HEADER x-color BLUE", "1"),
        ("SEARCH HEADER x-color \"\"", "1"),
        ("SEARCH HEADER Date \"\"", "1 2"),
        ("SEARCH HEADER Message-ID <one@", "1"),
        ("SEARCH BODY \"quick brown\"", "1"),
        ("SEARCH BODY blue", ""),
        ("SEARCH TEXT blue", "1"),
        ("SEARCH TEXT \"x-color: deep\"", "1"),
        ("SEARCH BODY \"Äpfel\"", "2"),
        ("SEARCH BODY \"inner body\"", "2"),
        ("SEARCH TEXT \"inner subject\"", "2"),
        ("SEARCH TEXT secretname", "2"),
        ("SEARCH BODY attachmentword", ""),
        ("SEARCH SUBJECT inner", ""),
        ("SEARCH BODY \"\"", "1 2 3"),
        ("SEARCH TEXT \"\"", "1 2 3"),
        ("SEARCH NOT TEXT fox", "2 3"),
        ("SEARCH OR BODY fox BODY dog", "1 3"),
        (
            "SEARCH OR (BODY fox SUBJECT nothing) (BODY dog SUBJECT nothing)",
            "3",
        ),
        ("SEARCH NOT (OR BODY fox FROM dave)", "3"),
        ("SEARCH BODY fox UID 2:3", ""),
        ("UID SEARCH NOT 1 NOT (BODY lazy)", "2"),
    ];
    finds(&rig().await, &searches).await;
}

#[tokio::test]
async fn by_index_and_dates() {
    let rig = rig().await;
    let mut client = rig.selected().await;
    client
        .play(
            "C: a1 STORE 1 +FLAGS.SILENT (\\Seen $Junk)
             S~ a1 OK ...
             C: a2 STORE 2 +FLAGS.SILENT (\\Flagged)
             S: a2 OK ...",
        )
        .await;
    let searches = [
        ("SEARCH ALL", "1 2 3"),
        ("SEARCH SEEN", "1"),
        ("SEARCH UNSEEN", "2 3"),
        ("SEARCH KEYWORD $junk", "1"),
        ("SEARCH UNKEYWORD $Junk", "2 3"),
        ("SEARCH FLAGGED UNSEEN", "2"),
        ("SEARCH RECENT", ""),
        ("SEARCH NEW", ""),
        ("SEARCH OLD", "1 2 3"),
        ("SEARCH SENTON 1-Jan-2020", "1"),
        ("SEARCH SENTBEFORE 2-Jan-2020", "1"),
        ("SEARCH SENTSINCE 2-Jan-2020", "2"),
        ("SEARCH NOT SENTSINCE 2-Jan-2020", "1 3"),
        ("SEARCH ON 9-Sep-2001", "1 2 3"),
        ("SEARCH BEFORE 9-Sep-2001", ""),
        ("SEARCH SINCE 9-Sep-2001", "1 2 3"),
        ("SEARCH YOUNGER 3600", ""),
        ("SEARCH OLDER 3600", "1 2 3"),
        ("SEARCH LARGER 100", "1 2"),
        ("SEARCH SMALLER 100", "3"),
        ("SEARCH THREADID t1", ""),
        ("SEARCH NOT EMAILID nonsense", "1 2 3"),
        ("SEARCH 2:*", "2 3"),
        ("SEARCH NOT 2:*", "1"),
        ("SEARCH OR 1 UID 3", "1 3"),
        ("SEARCH UID 1:100", "1 2 3"),
        ("SEARCH 1:3 2:3 2 2:* UID 1:* 1:2", "2"),
    ];
    finds(&rig, &searches).await;
    client
        .play(
            "C: b1 SEARCH 4
             S: b1 BAD ...
             C: b2 SEARCH OR SEEN 1:4
             S: b2 BAD ...
             C: b3 UNSELECT
             S: b3 OK ...
             C: b4 SEARCH ALL
             S: b4 BAD ...",
        )
        .await;
}

#[tokio::test]
async fn an_empty_mailbox_has_nothing() {
    let rig = Rig::new().await;
    let searches = [
        ("SEARCH ALL", ""),
        ("SEARCH 1:*", ""),
        ("SEARCH NOT 1:* TEXT x", ""),
    ];
    finds(&rig, &searches).await;
}

#[tokio::test]
async fn extended_results() {
    let rig = rig().await;
    let mut client = rig.selected().await;
    client
        .play(
            "C: a1 SEARCH RETURN (MIN MAX COUNT ALL) NOT 2
             S: * ESEARCH (TAG \"a1\") MIN 1 MAX 3 COUNT 2 ALL 1,3
             S: a1 OK ...
             C: a2 SEARCH RETURN () SUBJECT nothing
             S: * ESEARCH (TAG \"a2\") ALL 3
             S: a2 OK ...
             C: a3 UID SEARCH RETURN (MIN) ALL
             S: * ESEARCH (TAG \"a3\") UID MIN 1
             S: a3 OK ...
             C: a4 SEARCH RETURN (MIN ALL COUNT) DELETED
             S: * ESEARCH (TAG \"a4\") COUNT 0
             S: a4 OK ...
             C: a5 ENABLE IMAP4rev2
             S~ a5 OK ...
             C: a6 SEARCH UID 2:3
             S: * ESEARCH (TAG \"a6\") ALL 2:3
             S: a6 OK ...
             C: a7 SEARCH DELETED
             S: * ESEARCH (TAG \"a7\")
             S: a7 OK ...",
        )
        .await;
}

#[tokio::test]
async fn saved_results() {
    let rig = rig().await;
    let mut client = rig.selected().await;
    client
        .play(
            "C: a1 SEARCH RETURN (SAVE) OR BODY fox BODY dog
             S: a1 OK ...
             C: a2 SEARCH $
             S: * SEARCH 1 3
             S: a2 OK ...
             C: a3 SEARCH NOT $
             S: * SEARCH 2
             S: a3 OK ...
             C: a4 UID SEARCH UID $ SUBJECT nothing
             S: * SEARCH 3
             S: a4 OK ...
             C: a5 SEARCH RETURN (SAVE MIN) ALL
             S: * ESEARCH (TAG \"a5\") MIN 1
             S: a5 OK ...
             C: a6 SEARCH $
             S: * SEARCH 1
             S: a6 OK ...
             C: a7 SEARCH RETURN (SAVE MIN MAX) ALL
             S: * ESEARCH (TAG \"a7\") MIN 1 MAX 3
             S: a7 OK ...
             C: a8 SEARCH $
             S: * SEARCH 1 3
             S: a8 OK ...
             C: a9 SEARCH RETURN (SAVE MIN COUNT) ALL
             S: * ESEARCH (TAG \"a9\") MIN 1 COUNT 3
             S: a9 OK ...
             C: b1 SEARCH OR $ $
             S: * SEARCH 1 2 3
             S: b1 OK ...
             C: b2 SEARCH RETURN (SAVE) 9
             S: b2 BAD ...
             C: b3 SEARCH $
             S: * SEARCH 1 2 3
             S: b3 OK ...",
        )
        .await;
    // RFC 5182 §2.1: after a NO, nothing is saved.
    rig.twin.set_reachable(false);
    client
        .play("C: c1 SEARCH RETURN (SAVE) BODY fox\nS: c1 NO [UNAVAILABLE] ...")
        .await;
    rig.twin.set_reachable(true);
    client
        .play("C: c2 SEARCH $\nS: * SEARCH\nS: c2 OK ...")
        .await;
}

#[tokio::test]
async fn mod_seqs_of_what_was_found() {
    let rig = rig().await;
    let mut client = rig.selected().await;
    client
        .play(
            "C: a1 SEARCH MODSEQ 1
             S: * SEARCH 1 2 3 (MODSEQ ...)
             S~ a1 OK ...
             C: a2 STORE 2 +FLAGS (\\Seen)
             S~ a2 OK ...
             C: a3 STORE 1 +FLAGS (\\Seen)
             S~ a3 OK ...
             C: a4 SEARCH RETURN (MIN) MODSEQ 1
             S: * ESEARCH (TAG \"a4\") MIN 1 MODSEQ ...
             S: a4 OK ...
             C: a5 SEARCH MODSEQ \"/flags/\\\\draft\" all 9000000000
             S: * SEARCH
             S: a5 OK ...",
        )
        .await;
    let mut mod_seq = async |tag: &str, returns: &str| -> u64 {
        let search = format!("{tag} SEARCH RETURN ({returns}) MODSEQ 1\r\n");
        client.send(search.as_bytes()).await;
        let lines = client.lines_until(tag).await;
        lines[0].rsplit(' ').next().unwrap().parse().unwrap()
    };
    let (min, max) = (mod_seq("b1", "MIN").await, mod_seq("b2", "MAX").await);
    assert!(max < min);
    assert_eq!(mod_seq("b3", "MIN MAX").await, min);
    assert_eq!(mod_seq("b4", "COUNT").await, min);
    assert_eq!(mod_seq("b5", "MAX ALL").await, min);
}

#[tokio::test]
async fn numbers_are_the_sessions_own() {
    let rig = rig().await;
    let (mut one, mut two) = (rig.selected().await, rig.selected().await);
    play(
        &mut [&mut one, &mut two],
        "C1: a1 STORE 1 +FLAGS.SILENT (\\Deleted)
         S1~ a1 OK ...
         C1: a2 EXPUNGE
         S1~ a2 OK ...
         C2: b1 SEARCH SUBJECT nothing
         S2: * SEARCH 3
         S2: b1 OK ...
         C2: b2 NOOP
         S2~ * 1 EXPUNGE
         S2~ b2 OK ...
         C2: b3 SEARCH SUBJECT nothing
         S2: * SEARCH 2
         S2: b3 OK ...
         C2: b4 UID SEARCH ALL
         S2: * SEARCH 2 3
         S2: b4 OK ...",
    )
    .await;
}

#[tokio::test]
async fn an_unreachable_store_is_not_an_empty_mailbox() {
    let rig = rig().await;
    let mut client = rig.selected().await;
    rig.twin.set_reachable(false);
    client
        .play("C: a1 SEARCH UNSEEN\nS: a1 NO [UNAVAILABLE] ...")
        .await;
    rig.twin.set_reachable(true);
    client
        .play("C: a2 SEARCH UNSEEN\nS: * SEARCH 1 2 3\nS: a2 OK ...")
        .await;
}

#[tokio::test]
async fn large_messages_are_verified_beside() {
    // Beyond what is verified inline, and beyond a single read.
    let filler = "lorem ipsum dolor sit amet\n".repeat(90_000);
    let first = format!("Subject: large\n\n{filler}needle in the hay\n");
    let second = format!("Subject: large\n\n{filler}");
    let rig = Rig::new().await;
    rig.add_mail(&[&first, &second]).await;
    let searches = [
        ("SEARCH BODY \"the hay\"", "1"),
        ("SEARCH NOT TEXT \"in the hay\"", "2"),
        ("SEARCH OR BODY \"the hay\" TEXT \"ipsum dolor\"", "1 2"),
    ];
    finds(&rig, &searches).await;
}

#[tokio::test]
async fn large_headers_are_searched_beside() {
    let rig = Rig::new().await;
    let filler = "filler and more of it\n ".repeat(2_000);
    let large = format!("Subject: large\nX-Color: {filler}deep blue\n\nbody\n");
    rig.add_mail(&[&large, "Subject: small\nX-Color: deep red\n\nbody\n"])
        .await;
    // Nothing else is computed as long as these wait.
    let mut holds = Vec::new();
    for _ in 0..2 {
        let (release, wait) = std::sync::mpsc::channel::<()>();
        let working = rig.context.working.clone();
        let begun = std::sync::Arc::new(tokio::sync::Notify::new());
        let beginning = std::sync::Arc::clone(&begun);
        tokio::spawn(async move {
            let wait = move || {
                beginning.notify_one();
                wait.recv()
            };
            working.run(wait).await
        });
        begun.notified().await;
        holds.push(release);
    }
    let mut client = rig.selected().await;
    client
        .play("C: a1 SEARCH 2 HEADER X-Color \"deep red\"\nS: * SEARCH 2\nS: a1 OK ...")
        .await;
    client
        .send(b"a2 SEARCH HEADER X-Color \"deep blue\"\r\n")
        .await;
    let patience = std::time::Duration::from_millis(300);
    let early = tokio::time::timeout(patience, client.line()).await;
    assert!(early.is_err(), "{early:?}");
    drop(holds);
    client.play("S: * SEARCH 1\nS: a2 OK ...").await;
}

#[tokio::test]
async fn many_messages_over_pages() {
    let rig = Rig::new().await;
    rig.add_numbered(300).await;
    let mut client = rig.selected().await;
    client
        .play(
            "C: a1 SEARCH RETURN (COUNT MIN MAX) BODY \"body 2\"
             S: * ESEARCH (TAG \"a1\") MIN 2 MAX 299 COUNT 111
             S: a1 OK ...
             C: a2 SEARCH SUBJECT 299
             S: * SEARCH 299
             S: a2 OK ...
             C: a3 SEARCH RETURN (COUNT) OLD UNSEEN
             S: * ESEARCH (TAG \"a3\") COUNT 300
             S: a3 OK ...
             C: a4 SEARCH RETURN (MIN SAVE) BODY \"body 2\" NOT 1:100
             S: * ESEARCH (TAG \"a4\") MIN 200
             S: a4 OK ...
             C: a5 SEARCH $
             S: * SEARCH 200
             S: a5 OK ...
             C: a6 UID SEARCH RETURN (MAX) MODSEQ 1 BODY \"body 1\"
             S: * ESEARCH (TAG \"a6\") UID MAX 199 MODSEQ ...
             S: a6 OK ...
             C: a7 SEARCH RETURN (MAX SAVE) 5:*
             S: * ESEARCH (TAG \"a7\") MAX 300
             S: a7 OK ...
             C: a8 SEARCH RETURN (MIN MAX) SUBJECT 2
             S: * ESEARCH (TAG \"a8\") MIN 2 MAX 299
             S: a8 OK ...",
        )
        .await;
}

/// A search key with what it says of the three messages of [`rig`].
fn any_key() -> impl Strategy<Value = (String, [bool; 3])> {
    let leaves = [
        ("BODY fox", [true, false, false]),
        ("BODY dog", [false, false, true]),
        ("TEXT inner", [false, true, false]),
        ("SUBJECT report", [false, true, false]),
        ("SUBJECT nothing", [false, false, true]),
        ("FROM example", [true, true, false]),
        ("HEADER X-Color blue", [true, false, false]),
        ("HEADER Subject \"\"", [true, true, true]),
        ("SENTSINCE 2-Jan-2020", [false, true, false]),
        ("LARGER 100", [true, true, false]),
        ("UNSEEN", [true, true, true]),
        ("2:3", [false, true, true]),
        ("UID 1", [true, false, false]),
        ("ALL", [true, true, true]),
        ("NEW", [false, false, false]),
    ];
    let leaf = prop::sample::select(leaves.to_vec()).prop_map(|(key, says)| (key.to_owned(), says));
    leaf.prop_recursive(4, 12, 3, |key| {
        let both = |a: [bool; 3], b: [bool; 3], f: fn(bool, bool) -> bool| {
            [f(a[0], b[0]), f(a[1], b[1]), f(a[2], b[2])]
        };
        let pair = (key.clone(), key.clone());
        prop_oneof![
            key.prop_map(|(key, says)| (format!("NOT ({key})"), says.map(|says| !says))),
            pair.clone().prop_map(move |((a, x), (b, y))| (
                format!("OR ({a}) ({b})"),
                both(x, y, |x, y| x || y)
            )),
            pair.prop_map(move |((a, x), (b, y))| (format!("{a} {b}"), both(x, y, |x, y| x && y))),
        ]
    })
}

#[tokio::test]
async fn any_nesting_of_keys() {
    let rig = rig().await;
    let mut client = rig.selected().await;
    let mut runner = TestRunner::deterministic();
    for index in 0..300 {
        let (key, says) = any_key().new_tree(&mut runner).unwrap().current();
        let found = (1..=3).zip(says).filter(|(_, says)| *says);
        let found: String = found.map(|(number, _)| format!(" {number}")).collect();
        client
            .send(format!("n{index} SEARCH {key}\r\n").as_bytes())
            .await;
        let lines = client.lines_until(&format!("n{index} OK")).await;
        assert_eq!(lines[0], format!("* SEARCH{found}"), "{key}");
    }
}

#[tokio::test]
async fn as_many_keys_as_a_command_holds() {
    let rig = Rig::new().await;
    rig.add_numbered(100).await;
    let mut client = rig.selected().await;
    // All of them open until the text is read, and none with a signature that says no.
    let keys = "NOT BODY \"body z\" NOT TEXT \"yd o\" ".repeat(250);
    client
        .play(&format!(
            "C: a1 SEARCH RETURN (COUNT) {}\nS: * ESEARCH (TAG \"a1\") COUNT 100\nS: a1 OK ...",
            keys.trim_end()
        ))
        .await;
    let sets = "1:* ".repeat(250);
    client
        .play(&format!(
            "C: a2 SEARCH RETURN (COUNT) {}\nS: * ESEARCH (TAG \"a2\") COUNT 100\nS: a2 OK ...",
            sets.trim_end()
        ))
        .await;
}
