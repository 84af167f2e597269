//! Envelopes of tricky headers (RFC 5322 §3.4, §4.4, appendix A; RFC 9051 §7.5.2).

mod support;

use mailrook_mime::derive;
use support::{addresses, crlf};

/// The `To` list of a header with this field body.
fn to(value: &str) -> String {
    addresses(&derive(&crlf(&format!("To: {value}\n\n"))).envelope.to)
}

#[test]
fn addresses_of_rfc_5322_appendix_a() {
    // A.1.2
    assert_eq!(
        to("Mary Smith <mary@x.test>, jdoe@example.org, Who? <one@y.test>"),
        "Mary Smith <mary@x.test>, <jdoe@example.org>, Who? <one@y.test>"
    );
    assert_eq!(
        to("<boss@nil.test>, \"Giant; \\\"Big\\\" Box\" <sysservices@example.net>"),
        "<boss@nil.test>, Giant; \\\"Big\\\" Box <sysservices@example.net>"
    );
    // A.1.3
    assert_eq!(
        to("A Group:Ed Jones <c@a.test>,joe@where.test,John <jdoe@one.test>;"),
        "{A Group, Ed Jones <c@a.test>, <joe@where.test>, John <jdoe@one.test>, }"
    );
    assert_eq!(to("Undisclosed recipients:;"), "{Undisclosed recipients, }");
    // A.5: comments everywhere
    assert_eq!(
        to(
            "A Group(Some people)\n     :Chris Jones <c@(Chris's host.)public.example>,\n         joe@example.org,\n  John <jdoe@one.test> (my dear friend); (the end of the group)"
        ),
        "{A Group, Chris Jones <c@public.example>, <joe@example.org>, John <jdoe@one.test>, }"
    );
    assert_eq!(
        to("Pete(A nice \\) chap) <pete(his account)@silly.test(his host)>"),
        "Pete <pete@silly.test>"
    );
    // A.6.1: obsolete
    assert_eq!(
        to("Mary Smith <@node.test:mary@example.net>, , jdoe@test  . example"),
        "Mary Smith <mary@example.net>, <jdoe@test.example>"
    );
    assert_eq!(
        to("Joe Q. Public <john.q.public@example.com>"),
        "Joe Q. Public <john.q.public@example.com>"
    );
}

#[test]
fn addresses_as_they_come() {
    for (value, expected) in [
        ("a@b (Full \\(Nick\\) Name)", "Full (Nick) Name <a@b>"),
        ("(Full Name) <a@b>", "Full Name <a@b>"),
        ("<a@b> trailing words, c@d", "<a@b>, <c@d>"),
        ("a@b <c@d>", "a@b <c@d>"),
        ("\"a b\"@c, \"d\\\"e\"@f", "<a b@c>, <d\\\"e@f>"),
        ("a . b @ c . d", "<a.b@c.d>"),
        (
            "user@[192.0.2.1], user@[IPv6:2001:db8::1]",
            "<user@[192.0.2.1]>, <user@[IPv6:2001:db8::1]>",
        ),
        (
            "=?utf-8?Q?J=C3=BCrgen?= <j@x>",
            "=?utf-8?Q?J=C3=BCrgen?= <j@x>",
        ),
        ("root", "<root@MISSING_DOMAIN>"),
        (
            "Mail Delivery Subsystem",
            "Mail Delivery Subsystem <MISSING_MAILBOX@MISSING_DOMAIN>",
        ),
        ("Nobody <>", "Nobody <MISSING_MAILBOX@MISSING_DOMAIN>"),
        ("<<a@b>>", "<a@b>"),
        ("<a@b", "<a@b>"),
        ("\"unclosed <a@b>", "<unclosed <a@b>@MISSING_DOMAIN>"),
        ("(((", ""),
        ("", ""),
        (",,;;>>", ""),
        ("g: a@b, h: c@d", "{g, <a@b>, }, {h, <c@d>, }"),
        ("g:", "{g, }"),
        ("\"\" <a@b>", "<a@b>"),
        ("[list] Bar <a@b>", "[list] Bar <a@b>"),
        ("@b", "<MISSING_MAILBOX@b>"),
        ("a@", "<a@MISSING_DOMAIN>"),
        ("a@b@c", "<a@b@c>"),
    ] {
        assert_eq!(to(value), expected, "{value}");
    }
    assert_eq!(to("\u{fc}ser <\u{fc}@x>"), r"\xc3\xbcser <\xc3\xbc@x>");
}

#[test]
fn fields_are_told_raw_and_unfolded() {
    let raw = b"DATE : Fri, 21 Nov 1997\r\n 09:55:06 -0600 (x)\r\nsubject:  =?utf-8?Q?a?=\r\n\t b \r\nSubject: second\r\nMessage-ID: <a@b>\r\nIn-Reply-To:\r\n\r\n";
    let derived = derive(raw);
    let envelope = &derived.envelope;
    assert_eq!(
        envelope.date.as_deref(),
        Some(&b"Fri, 21 Nov 1997 09:55:06 -0600 (x)"[..])
    );
    assert_eq!(envelope.subject.as_deref(), Some(&b"=?utf-8?Q?a?=\t b"[..]));
    assert_eq!(envelope.message_id.as_deref(), Some(&b"<a@b>"[..]));
    assert_eq!(envelope.in_reply_to.as_deref(), Some(&b""[..]));
    assert_eq!(derived.sent_date.unwrap().at.as_secs(), 880_127_706);
    assert_eq!(derived.threading.message_id.as_deref(), Some(&b"a@b"[..]));
}

#[test]
fn eight_bit_and_nul() {
    let envelope = derive(b"Subject: gr\xfc\xdf \0 \xc3\xa4\r\n\r\n").envelope;
    assert_eq!(
        envelope.subject.as_deref(),
        Some(&b"gr\xfc\xdf \xef\xbf\xbd \xc3\xa4"[..])
    );
}

#[test]
fn sender_and_reply_to_default_to_from() {
    // RFC 9051 §7.5.2, also where they are empty.
    let envelope = derive(&crlf("From: a@b, c@d\nSender:\nReply-To: e@f\n\n")).envelope;
    assert_eq!(addresses(&envelope.sender), "<a@b>, <c@d>");
    assert_eq!(addresses(&envelope.reply_to), "<e@f>");
}

#[test]
fn a_field_that_stands_twice_is_joined() {
    let envelope = derive(&crlf("From: a@b\nTo: g: c@d\nTo: e@f\nFrom: g@h\n\n")).envelope;
    assert_eq!(addresses(&envelope.from), "<a@b>, <g@h>");
    assert_eq!(addresses(&envelope.to), "{g, <c@d>, }, <e@f>");
}
