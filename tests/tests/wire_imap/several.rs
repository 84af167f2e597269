//! Many sessions at once on one mailbox: the views agree in the end.

use std::collections::BTreeMap;
use std::thread;

use mailrook_tests::harness::mail;

use crate::fixture;

/// Ten sessions append, flag and expunge at random; afterwards a new session and all old ones see the same.
#[test]
fn views_agree_after_a_storm() {
    let fixture = fixture();
    fixture.fill(20).unwrap();
    let views: Vec<BTreeMap<u32, Vec<String>>> = thread::scope(|scope| {
        let handles: Vec<_> = (0..10u32)
            .map(|session| {
                let fixture = &fixture;
                scope.spawn(move || {
                    let mut imap = fixture.client().unwrap();
                    imap.ok("SELECT INBOX").unwrap();
                    for step in 0..20u32 {
                        let uid = 1 + (session * 7 + step * 3) % 20;
                        match (session + step) % 4 {
                            0 => drop(
                                imap.command(&format!("UID STORE {uid} +FLAGS (kw{session})"))
                                    .unwrap(),
                            ),
                            1 => drop(
                                imap.append("INBOX", "", mail(uid as usize).as_bytes())
                                    .unwrap(),
                            ),
                            2 => drop(
                                imap.command(&format!("UID STORE {uid} +FLAGS (\\Deleted)"))
                                    .unwrap(),
                            ),
                            _ => drop(imap.ok("EXPUNGE").unwrap()),
                        }
                    }
                    imap
                })
            })
            .collect();
        let sessions: Vec<_> = handles.into_iter().map(|h| h.join().unwrap()).collect();
        let fresh = {
            let mut imap = fixture.client().unwrap();
            imap.ok("SELECT INBOX").unwrap();
            imap
        };
        sessions
            .into_iter()
            .chain([fresh])
            .map(|mut imap| {
                imap.ok("NOOP").unwrap();
                let fetched = imap.uid_fetch("1:*", "UID FLAGS").unwrap();
                fetched
                    .iter()
                    .map(|f| (f.uid().unwrap(), f.flags().unwrap()))
                    .collect()
            })
            .collect()
    });
    for view in &views {
        assert_eq!(view, views.last().unwrap());
    }
}
