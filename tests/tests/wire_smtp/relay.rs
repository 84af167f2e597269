//! No open relay, in any form.

use mailrook_tests::script::Script;

use crate::hello;

#[test]
fn no_form_of_a_foreign_recipient_is_taken() {
    let (fixture, _) = hello();
    for sender in ["a@x.example", "", "postmaster@<<domain>>", "<<user>>"] {
        for recipient in [
            "victim@elsewhere.example",
            "victim%elsewhere.example@<<domain>>",
            "@<<domain>>:victim@elsewhere.example",
            "@elsewhere.example:nobody-here@<<domain>>",
            "\"victim@elsewhere.example\"",
            "\"victim@elsewhere.example\"@<<domain>>",
            "elsewhere.example!victim",
            "elsewhere.example!victim@<<domain>>",
            "victim@[127.0.0.1]",
            "victim@[192.0.2.1]",
            "victim@[IPv6:::1]",
            "victim@elsewhere.example@<<domain>>",
            "victim@<<domain>>@elsewhere.example",
            "victim@localhost",
            "victim@<<domain>>.",
            "victim@sub.<<domain>>",
        ] {
            // A connection each: a server may hang up on a client that errs and errs.
            fixture
                .named(Script::new(fixture.server.ports().smtp))
                .play(&format!(
                    "S: 220 ...
                 C: EHLO client.example.test
                 S~ 250 ...
                 C: MAIL FROM:<{sender}>
                 S: 250 ...
                 C: RCPT TO:<{recipient}>
                 S: 5...
                 C: DATA
                 S: 5..."
                ));
        }
    }
}
