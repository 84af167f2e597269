"""Python's imaplib at its work: store, search, fetch, copy, move by hand, IDLE by hand."""
import imaplib
import os
import ssl
import time

host, user, password = os.environ["HOST"], os.environ["USER"], os.environ["PASSWORD"]
if os.environ["TLS"] == "yes":
    context = ssl.create_default_context(cafile=os.environ["CA"])
    box = imaplib.IMAP4_SSL(host, int(os.environ["IMAPS"]), ssl_context=context)
else:
    box = imaplib.IMAP4(host, int(os.environ["IMAP"]))


def ok(answer):
    assert answer[0] == "OK", answer
    return answer[1]


ok(box.login(user, password))
assert ok(box.select("INBOX")) == [b"10"]
assert ok(box.search(None, "SUBJECT", '"message 3"')) == [b"3"]
for number in range(1, 11):
    ((head, octets), _) = ok(box.fetch(str(number), "(RFC822.SIZE BODY.PEEK[])"))
    assert int(head.split(b"RFC822.SIZE ")[1].split()[0].rstrip(b")")) == len(octets), head
    assert b"Subject: message %d\r\n" % number in octets
ok(box.create("Attic"))
ok(box.uid("COPY", "1:3", "Attic"))
ok(box.uid("STORE", "1:3", "+FLAGS.SILENT", r"(\Deleted)"))
ok(box.expunge())
assert ok(box.search(None, "ALL")) == [b"1 2 3 4 5 6 7"]
assert ok(box.status("Attic", "(MESSAGES)"))[0].endswith(b"(MESSAGES 3)")
text = b"Subject: by imaplib\r\n\r\nGr\xc3\xbc\xc3\x9fe\r\n"
ok(box.append("Attic", r"(\Seen \Flagged)", imaplib.Time2Internaldate(time.time()), text))
ok(box.select("Attic"))
((_, octets), *_) = ok(box.fetch("4", "(BODY[])"))
assert octets == text, octets
assert {b"\\Seen", b"\\Flagged"} <= set(imaplib.ParseFlags(ok(box.fetch("4", "(FLAGS)"))[0]))
assert len(ok(box.list())) >= 2
ok(box.rename("Attic", "Old"))
ok(box.delete("Old"))
ok(box.select("INBOX"))
box.logout()
print("done")
