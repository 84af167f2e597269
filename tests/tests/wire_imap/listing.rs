//! LIST and its extensions: LIST-EXTENDED, LIST-STATUS, SPECIAL-USE, CHILDREN.

use mailrook_tests::script::Script;

use crate::fixture;

fn tree() -> Script {
    let mut script = fixture().imap_in();
    script.play(
        "C: t1 CREATE Fruit
         S: t1 OK ...
         C: t2 CREATE Fruit/Apple
         S: t2 OK ...
         C: t3 CREATE Fruit/Banana
         S: t3 OK ...
         C: t4 CREATE Tofu
         S: t4 OK ...
         C: t5 SUBSCRIBE Fruit/Banana
         S: t5 OK ...
         C: t6 SUBSCRIBE Gone
         S: t6 ...",
    );
    script
}

#[test]
fn plain_list() {
    // RFC 9051 §6.3.9.
    tree().play(
        r#"C: a1 LIST "" ""
         S: * LIST (\Noselect...) "/" ""
         S: a1 OK ...
         C: a2 LIST "" %
         S* * LIST (...) "/" INBOX
         S* * LIST (...) "/" Fruit
         S* * LIST (...) "/" Tofu
         S! * LIST (...) "/" Fruit/Apple
         S: a2 OK ...
         C: a3 LIST Fruit/ *
         S* * LIST (...) "/" Fruit/Apple
         S* * LIST (...) "/" Fruit/Banana
         S! * LIST (...) "/" Tofu
         S: a3 OK ...
         C: a4 LIST "" nothing-*
         S! * LIST ...
         S: a4 OK ..."#,
    );
}

#[test]
fn children_are_told() {
    // RFC 5258 §4, RFC 3348.
    tree().play(
        r#"C: a1 LIST "" % RETURN (CHILDREN)
         S* * LIST (...\HasChildren...) "/" Fruit
         S* * LIST (...\HasNoChildren...) "/" Tofu
         S: a1 OK ..."#,
    );
}

#[test]
fn subscribed_as_selection_and_as_return_option() {
    // RFC 5258 §3.1, §3.2, examples.
    tree().play(
        r#"C: a1 LIST (SUBSCRIBED) "" *
         S* * LIST (...\Subscribed...) "/" Fruit/Banana
         S! * LIST (...) "/" Tofu
         S: a1 OK ...
         C: a2 LIST "" (Fruit/* Tofu) RETURN (SUBSCRIBED)
         S* * LIST (...\Subscribed...) "/" Fruit/Banana
         S* * LIST (...) "/" Fruit/Apple
         S* * LIST (...) "/" Tofu
         S: a2 OK ...
         C: a3 LIST (SUBSCRIBED RECURSIVEMATCH) "" %
         S* * LIST (...) "/" Fruit (...CHILDINFO... ("SUBSCRIBED"))
         S: a3 OK ...
         C: a4 LIST (RECURSIVEMATCH) "" *
         S: a4 BAD ...
         C: a5 LIST (NOSUCHOPTION) "" *
         S: a5 BAD ..."#,
    );
}

#[test]
fn list_status() {
    // RFC 5819 §2.
    tree().play(
        r#"C: a1 LIST "" (INBOX Tofu) RETURN (STATUS (MESSAGES UNSEEN))
         S* * LIST (...) "/" INBOX
         S* * STATUS INBOX (~MESSAGES 0 UNSEEN 0)
         S* * LIST (...) "/" Tofu
         S* * STATUS Tofu (~MESSAGES 0 UNSEEN 0)
         S: a1 OK ..."#,
    );
}

#[test]
fn special_use() {
    // RFC 6154 §5.
    fixture().imap_in().play(
        r#"# Accounts may come with an Archive; one use belongs to one mailbox.
         C: a0 DELETE Archive
         S: a0 ...
         C: a1 CREATE Plunder (USE (\Archive))
         S: a1 OK ...
         C: a2 LIST (SPECIAL-USE) "" *
         S* * LIST (...\Archive...) "/" Plunder
         S! * LIST (...) "/" INBOX
         S: a2 OK ...
         C: a3 LIST "" Plunder RETURN (SPECIAL-USE)
         S* * LIST (...\Archive...) "/" Plunder
         S: a3 OK ...
         C: a4 CREATE Odd (USE (\NoSuchUse))
         S: a4 NO [USEATTR] ...
         C: a5 STATUS Odd (MESSAGES)
         S: a5 NO ..."#,
    );
}

#[test]
fn several_patterns_name_each_mailbox_once() {
    tree().play(
        r#"C: a1 LIST "" (Tofu Tof* To%u)
         S: * LIST (...) "/" Tofu
         S: a1 OK ..."#,
    );
}
