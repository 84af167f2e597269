//! Reports to senders: how a [`Notice`] is written (RFC 3464, in the multipart of RFC 6522; RFC 6533 where addresses
//! are beyond ASCII).

use std::fmt::Write as _;

use mailrook_store_api::shard::{ClaimedJob, Needs};
use mailrook_types::{Address, Domain, Timestamp};

use crate::{
    settings::{RETURNED_ON_REQUEST_MAX, RETURNED_WHOLE_MAX},
    settle::{Action, Notice, NoticeLine},
};

/// The most of a header that a report returns.
pub(crate) const HEADER_LEN_MAX: usize = 64 * 1024;

/// A field of a report has at most so many characters: a reply's text is cut there.
const FIELD_LEN_MAX: usize = 900;

/// How much of the message goes back (RFC 3461 §4.3): `None` is its header.
pub(crate) fn returned_whole(notice: &Notice, job: &ClaimedJob) -> Option<u32> {
    let failed = notice
        .lines
        .iter()
        .any(|line| line.action == Action::Failed);
    let most = match job.envelope.return_full {
        // RFC 3461 §6.2: only a report of failure returns a whole message.
        _ if !failed => return None,
        Some(false) => return None,
        Some(true) => RETURNED_ON_REQUEST_MAX,
        None => RETURNED_WHOLE_MAX,
    };
    (job.size <= most).then_some(job.size)
}

/// What a report is written of.
pub(crate) struct Writer<'a> {
    pub(crate) hostname: &'a Domain,
    pub(crate) job: &'a ClaimedJob,
    pub(crate) notice: &'a Notice,
    pub(crate) now: Timestamp,
    /// The message, whole or its header alone; `None` if it could not be read.
    pub(crate) returned: Option<Returned<'a>>,
}

/// What goes back.
pub(crate) enum Returned<'a> {
    Whole(&'a [u8]),
    Header(&'a [u8]),
}

impl Writer<'_> {
    /// The report, and what it needs of the systems it passes.
    pub(crate) fn write(&self) -> (Vec<u8>, Needs) {
        let global = self.is_global();
        let boundary = self.boundary();
        let mut out = self.header(&boundary);
        self.text(&mut out, &boundary, global);
        self.status(&mut out, &boundary, global);
        let mut out = out.into_bytes();
        self.returned(&mut out, &boundary, global);
        out.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
        let needs = Needs {
            eight_bit: !out.is_ascii(),
            smtputf8: global,
            // RFC 8689 §5: a report on a message that requires TLS is sent with the same care.
            require_tls: self.job.envelope.needs.require_tls,
        };
        (out, needs)
    }

    /// Whether addresses need RFC 6533.
    fn is_global(&self) -> bool {
        let ascii = |address: &Address| address.to_string().is_ascii();
        let lines = &self.notice.lines;
        !ascii(&self.notice.to) || lines.iter().any(|line| !ascii(&line.recipient.address))
    }

    /// Not to be found in what is returned: nobody who writes a message knows the digest of itself and a moment to come.
    fn boundary(&self) -> String {
        let mut hasher = blake3::Hasher::new_derive_key("mailrook report boundary 1");
        hasher.update(&self.job.hash.0);
        hasher.update(&self.now.0.to_le_bytes());
        hasher.update(&self.job.id.message.0.to_le_bytes());
        let digest = hasher.finalize().to_hex();
        format!("report-{}", &digest[..32])
    }

    fn worst(&self) -> Action {
        let actions = self.notice.lines.iter().map(|line| line.action);
        actions.min().unwrap_or(Action::Failed)
    }

    fn header(&self, boundary: &str) -> String {
        let (hostname, to) = (self.hostname, &self.notice.to);
        let subject = match self.worst() {
            Action::Failed => "Undelivered: your message",
            Action::Delayed => "Delayed: your message is still being tried",
            Action::Relayed | Action::Delivered => "Delivered: your message",
        };
        format!(
            "From: Mail Delivery System <postmaster@{hostname}>\r\nTo: <{to}>\r\nSubject: {subject}\r\n\
             Date: {}\r\nMessage-ID: <{}.{}.report@{hostname}>\r\nAuto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n\
             Content-Type: multipart/report; report-type=delivery-status;\r\n boundary=\"{boundary}\"\r\n\r\n",
            self.now.rfc5322_date(),
            self.job.envelope.log_id,
            self.now.0,
        )
    }

    fn text(&self, out: &mut String, boundary: &str, global: bool) {
        let (charset, encoding) = if global {
            ("utf-8", "8bit")
        } else {
            ("us-ascii", "7bit")
        };
        push(
            out,
            format_args!(
                "--{boundary}\r\nContent-Type: text/plain; charset={charset}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n\
                 This is the mail system at {}.\r\n",
                self.hostname
            ),
        );
        let groups = [
            (Action::Failed, "Your message could not be delivered to:"),
            (
                Action::Delayed,
                "Your message has not been delivered yet to the following, and is being tried further. You need do nothing.",
            ),
            (
                Action::Relayed,
                "Your message was passed on to a system that will not report further, for:",
            ),
            (Action::Delivered, "Your message was delivered to:"),
        ];
        for (action, words) in groups {
            let mut lines = self
                .notice
                .lines
                .iter()
                .filter(|line| line.action == action)
                .peekable();
            if lines.peek().is_some() {
                push(out, format_args!("\r\n{words}\r\n"));
            }
            for line in lines {
                let told = plain(&line.told.to_string(), global);
                push(
                    out,
                    format_args!("\r\n  {}\r\n    {told}\r\n", line.recipient.address),
                );
            }
        }
        if self.worst() == Action::Delayed {
            let until = self.job.envelope.expires.rfc5322_date();
            push(out, format_args!("\r\nIt will be given up at {until}.\r\n"));
        }
    }

    fn status(&self, out: &mut String, boundary: &str, global: bool) {
        let kind = if global {
            "global-delivery-status"
        } else {
            "delivery-status"
        };
        push(
            out,
            format_args!(
                "\r\n--{boundary}\r\nContent-Type: message/{kind}\r\n{}\r\n",
                eight_bit(global)
            ),
        );
        push(
            out,
            format_args!("Reporting-MTA: dns; {}\r\n", self.hostname),
        );
        if let Some(envid) = &self.job.envelope.envid {
            push(
                out,
                format_args!("Original-Envelope-Id: {}\r\n", plain(envid, global)),
            );
        }
        let arrival = self.job.envelope.received.rfc5322_date();
        push(out, format_args!("Arrival-Date: {arrival}\r\n"));
        for line in &self.notice.lines {
            self.status_of(out, line, global);
        }
    }

    fn status_of(&self, out: &mut String, line: &NoticeLine, global: bool) {
        out.push_str("\r\n");
        if let Some((kind, address)) = &line.recipient.original {
            push(
                out,
                format_args!(
                    "Original-Recipient: {}; {}\r\n",
                    plain(kind, global),
                    plain(address, global)
                ),
            );
        }
        let kind = if global { "utf-8" } else { "rfc822" };
        let action = match line.action {
            Action::Failed => "failed",
            Action::Delayed => "delayed",
            Action::Relayed => "relayed",
            Action::Delivered => "delivered",
        };
        let told = &line.told;
        push(
            out,
            format_args!(
                "Final-Recipient: {kind}; {}\r\nAction: {action}\r\nStatus: {}\r\n",
                line.recipient.address,
                plain(&told.status, false)
            ),
        );
        if let Some(remote) = &told.remote {
            push(
                out,
                format_args!("Remote-MTA: dns; {}\r\n", plain(remote, global)),
            );
        }
        match (&told.reply, &told.reason) {
            (Some(reply), _) => push(
                out,
                format_args!("Diagnostic-Code: smtp; {}\r\n", plain(reply, global)),
            ),
            (None, Some(reason)) => {
                push(
                    out,
                    format_args!("Diagnostic-Code: X-Mailrook; {}\r\n", plain(reason, global)),
                );
            }
            (None, None) => {}
        }
        let now = self.now.rfc5322_date();
        push(out, format_args!("Last-Attempt-Date: {now}\r\n"));
        if line.action == Action::Delayed {
            let until = self.job.envelope.expires.rfc5322_date();
            push(out, format_args!("Will-Retry-Until: {until}\r\n"));
        }
    }

    fn returned(&self, out: &mut Vec<u8>, boundary: &str, global: bool) {
        let (kind, octets) = match &self.returned {
            None => return,
            Some(Returned::Whole(octets)) if global => ("message/global", *octets),
            Some(Returned::Whole(octets)) => ("message/rfc822", *octets),
            Some(Returned::Header(octets)) if global => ("message/global-headers", *octets),
            Some(Returned::Header(octets)) => ("text/rfc822-headers", *octets),
        };
        let head = format!(
            "\r\n--{boundary}\r\nContent-Type: {kind}\r\n{}\r\n",
            eight_bit(!octets.is_ascii())
        );
        out.extend_from_slice(head.as_bytes());
        out.extend_from_slice(octets);
    }
}

/// The header of a message, up to a bound, in whole fields.
pub(crate) fn header_of(octets: &[u8]) -> &[u8] {
    let mut len = 0;
    for field in mailrook_mime::fields(octets) {
        if len + field.raw.len() > HEADER_LEN_MAX {
            break;
        }
        len += field.raw.len();
    }
    &octets[..len]
}

fn eight_bit(is: bool) -> &'static str {
    if is {
        "Content-Transfer-Encoding: 8bit\r\n"
    } else {
        ""
    }
}

/// In one line, and ASCII unless `global`: what a remote says becomes a field of ours.
fn plain(text: &str, global: bool) -> String {
    let clean = |c: char| match c {
        c if c.is_control() => ' ',
        c if !global && !c.is_ascii() => '?',
        c => c,
    };
    text.chars().take(FIELD_LEN_MAX).map(clean).collect()
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string never fails.
    let _ = out.write_fmt(text);
}

#[cfg(test)]
mod tests {
    use mailrook_store_api::shard::QueuedRecipient;

    use super::*;
    use crate::{
        Told,
        testing::{address, domain, job, recipient},
    };

    const MAIL: &[u8] = b"Received: here\r\nSubject: hello\r\n\r\nthe text\r\n";

    fn line(recipient: QueuedRecipient, action: Action) -> NoticeLine {
        NoticeLine {
            recipient,
            action,
            told: Told::by("mx.remote.test", "5.1.1", "550 5.1.1 no\r\nsuch\u{e9} user"),
        }
    }

    fn write(
        job: &ClaimedJob,
        to: &str,
        lines: Vec<NoticeLine>,
        returned: Option<Returned<'_>>,
    ) -> (String, Needs) {
        let notice = Notice {
            to: address(to),
            lines,
        };
        let writer = Writer {
            hostname: &domain("mx.example.test"),
            job,
            notice: &notice,
            now: Timestamp::from_secs(1_000_000_000),
            returned,
        };
        let (octets, needs) = writer.write();
        (String::from_utf8(octets).unwrap(), needs)
    }

    #[test]
    fn a_failure_says_all_that_is_known() {
        let mut job = job(1);
        job.envelope.envid = Some("env+1".to_owned());
        let mut to = recipient("r0@remote.test");
        to.original = Some(("rfc822".to_owned(), "Orig@remote.test".to_owned()));
        let (text, needs) = write(
            &job,
            "sender@example.test",
            vec![line(to, Action::Failed)],
            Some(Returned::Whole(MAIL)),
        );
        for part in [
            "To: <sender@example.test>\r\nSubject: Undelivered: your message\r\n",
            "Auto-Submitted: auto-replied\r\n",
            "Content-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example.test\r\nOriginal-Envelope-Id: env+1\r\n",
            "\r\n\r\nOriginal-Recipient: rfc822; Orig@remote.test\r\nFinal-Recipient: rfc822; r0@remote.test\r\nAction: failed\r\n\
             Status: 5.1.1\r\nRemote-MTA: dns; mx.remote.test\r\nDiagnostic-Code: smtp; 550 5.1.1 no  such? user\r\n",
            "Content-Type: message/rfc822\r\n\r\nReceived: here\r\nSubject: hello\r\n\r\nthe text\r\n\r\n--report-",
        ] {
            assert!(text.contains(part), "{part:?} is not in {text}");
        }
        assert_eq!(needs, Needs::default());
    }

    #[test]
    fn it_is_a_well_formed_multipart() {
        let (text, _) = write(
            &job(1),
            "sender@example.test",
            vec![line(recipient("r0@remote.test"), Action::Failed)],
            Some(Returned::Header(header_of(MAIL))),
        );
        let derived = mailrook_mime::derive(text.as_bytes());
        let structure = format!("{:?}", derived.structure);
        for kind in ["report", "plain", "delivery-status", "rfc822-headers"] {
            assert!(
                structure.to_lowercase().contains(kind),
                "{kind} is not in {structure}"
            );
        }
        assert!(!text.contains("the text"));
    }

    #[test]
    fn addresses_beyond_ascii_are_told_as_they_are() {
        let (text, needs) = write(
            &job(1),
            "sender@example.test",
            vec![line(recipient("jörg@remote.test"), Action::Delayed)],
            None,
        );
        assert!(text.contains(
            "Content-Type: message/global-delivery-status\r\nContent-Transfer-Encoding: 8bit\r\n"
        ));
        assert!(text.contains("Final-Recipient: utf-8; jörg@remote.test\r\nAction: delayed\r\n"));
        assert!(text.contains("Will-Retry-Until: Tue, 6 Jan 1970 00:00:00 +0000\r\n"));
        assert!(needs.smtputf8 && needs.eight_bit);
    }

    #[test]
    fn what_goes_back_is_bounded() {
        let notice = |action| Notice {
            to: address("sender@example.test"),
            lines: vec![line(recipient("r0@remote.test"), action)],
        };
        let mut job = job(1);
        job.size = 100_000;
        assert_eq!(returned_whole(&notice(Action::Failed), &job), None);
        job.envelope.return_full = Some(true);
        assert_eq!(returned_whole(&notice(Action::Failed), &job), Some(100_000));
        assert_eq!(returned_whole(&notice(Action::Delayed), &job), None);
        job.envelope.return_full = Some(false);
        job.size = 10;
        assert_eq!(returned_whole(&notice(Action::Failed), &job), None);
        let long = [b"X: y\r\n".repeat(20_000), MAIL.to_vec()].concat();
        let header = header_of(&long);
        assert!(header.len() <= HEADER_LEN_MAX && header.len() > HEADER_LEN_MAX - 6);
    }
}
