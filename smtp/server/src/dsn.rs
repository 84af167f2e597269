//! Reports of success that a sender asked for (RFC 3461 §4.1, NOTIFY=SUCCESS; form of RFC 3464).
//!
//! DSN parameters are offered where the sender is a user of ours: the report then goes straight into the sender's
//! mailbox, committed before the message is acknowledged. Failures are told in the session's replies; nothing is
//! delayed here.

use mailrook_smtp_proto::Reply;
use mailrook_types::{Address, Domain, Timestamp};

use crate::transaction::Recipient;

/// What a report is about.
pub(crate) struct Report<'a> {
    pub(crate) hostname: &'a Domain,
    pub(crate) to: &'a Address,
    /// The message's id in the log.
    pub(crate) id: &'a str,
    pub(crate) envid: Option<&'a str>,
    pub(crate) at: Timestamp,
    /// The header of the message, which is returned (RFC 3461 §4.3: a report of success never returns more).
    pub(crate) header: &'a [u8],
}

/// The recipients whose delivery is to be reported.
pub(crate) fn reported<'a>(rcpts: &'a [Recipient], replies: &[Reply]) -> Vec<&'a Recipient> {
    let asked = |rcpt: &Recipient| rcpt.notify.is_some_and(|notify| notify.success);
    let those = rcpts
        .iter()
        .zip(replies)
        .filter(|(rcpt, reply)| asked(rcpt) && !reply.code.is_failure());
    those.map(|(rcpt, _)| rcpt).collect()
}

impl Report<'_> {
    /// The report as a message.
    pub(crate) fn write(&self, recipients: &[&Recipient]) -> Vec<u8> {
        let (hostname, id) = (self.hostname, self.id);
        let boundary = format!("report-{id}");
        let date = self.at.rfc5322_date();
        let to = self.to;
        let names: Vec<String> = recipients
            .iter()
            .map(|rcpt| format!("  {}\r\n", rcpt.found.address))
            .collect();
        let mut out = format!(
            "From: Mail Delivery System <postmaster@{hostname}>\r\nTo: <{to}>\r\nSubject: Delivered: your message\r\n\
             Date: {date}\r\nMessage-ID: <{id}.report@{hostname}>\r\nAuto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n\
             Content-Type: multipart/report; report-type=delivery-status;\r\n boundary=\"{boundary}\"\r\n\r\n\
             --{boundary}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\
             Your message was delivered to:\r\n\r\n{}\r\n--{boundary}\r\nContent-Type: message/delivery-status\r\n\r\n\
             Reporting-MTA: dns; {hostname}\r\nArrival-Date: {date}\r\n",
            names.concat(),
        );
        if let Some(envid) = self.envid {
            out.push_str(&format!("Original-Envelope-Id: {envid}\r\n"));
        }
        for rcpt in recipients {
            out.push_str("\r\n");
            if let Some(original) = &rcpt.original {
                out.push_str(&format!(
                    "Original-Recipient: {};{}\r\n",
                    original.address_type, original.address
                ));
            }
            let address = &rcpt.found.address;
            out.push_str(&format!(
                "Final-Recipient: rfc822;{address}\r\nAction: delivered\r\nStatus: 2.1.5\r\n"
            ));
        }
        out.push_str(&format!(
            "\r\n--{boundary}\r\nContent-Type: text/rfc822-headers\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
        ));
        let mut out = out.into_bytes();
        out.extend_from_slice(self.header);
        out.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
        out
    }
}

/// The most of a header that a report returns.
const HEADER_LEN_MAX: usize = 64 * 1024;

/// The header of a message, up to a bound, in whole fields.
pub(crate) fn header(octets: &[u8]) -> Vec<u8> {
    let mut header = Vec::new();
    for field in mailrook_mime::fields(octets) {
        if header.len() + field.raw.len() > HEADER_LEN_MAX {
            break;
        }
        header.extend_from_slice(field.raw);
    }
    header
}
