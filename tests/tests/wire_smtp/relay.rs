//! No open relay, in any form.

use crate::hello;

#[test]
fn no_form_of_a_foreign_recipient_is_taken() {
    let (_, mut script) = hello();
    for sender in ["a@x.example", "", "postmaster@<<domain>>", "<<user>>"] {
        script.play(&format!("C: MAIL FROM:<{sender}>\nS: 250 ..."));
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
            script.play(&format!("C: RCPT TO:<{recipient}>\nS: 5..."));
        }
        script.play("C: DATA\nS: 5...\nC: RSET\nS: 250 ...");
    }
}
