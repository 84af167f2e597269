"""IMAPClient at its work, as backup and mail-reading programs use it: search, fetch, flags, move, idle, special folders."""
import os
import ssl
import threading

from imapclient import DELETED, FLAGGED, SEEN, IMAPClient

host, user, password = os.environ["HOST"], os.environ["USER"], os.environ["PASSWORD"]


def connect():
    if os.environ["TLS"] == "yes":
        context = ssl.create_default_context(cafile=os.environ["CA"])
        client = IMAPClient(host, port=int(os.environ["IMAPS"]), ssl=True, ssl_context=context)
    else:
        client = IMAPClient(host, port=int(os.environ["IMAP"]), ssl=False)
    client.login(user, password)
    return client


one, two = connect(), connect()
assert one.select_folder("INBOX")[b"EXISTS"] == 10
assert one.namespace().personal
uids = one.search(["ALL"])
assert len(uids) == 10
data = one.fetch(uids, ["ENVELOPE", "BODYSTRUCTURE", "RFC822.SIZE", "FLAGS", "INTERNALDATE", "BODY.PEEK[]"])
for uid in uids:
    assert len(data[uid][b"BODY[]"]) == data[uid][b"RFC822.SIZE"]
    assert data[uid][b"ENVELOPE"].subject.startswith(b"message ")
    assert not data[uid][b"BODYSTRUCTURE"].is_multipart
one.add_flags(uids[:2], [SEEN, FLAGGED])
assert set(one.search(["FLAGGED"])) == set(uids[:2])
one.create_folder("Entwürfe/Über")
assert any(name == "Entwürfe/Über" for _, _, name in one.list_folders())
one.move(uids[:1], "Entwürfe/Über")
assert one.folder_status("Entwürfe/Über", ["MESSAGES"])[b"MESSAGES"] == 1

# IDLE: one waits, two changes.
one.idle()
done = threading.Event()


def change():
    two.select_folder("INBOX")
    two.append("INBOX", b"Subject: during idle\r\n\r\ntext\r\n")
    two.add_flags(uids[1:2], [DELETED])
    two.expunge()
    done.set()


thread = threading.Thread(target=change)
thread.start()
seen = []
for _ in range(30):
    seen += one.idle_check(timeout=1)
    if any(r[1] == b"EXISTS" for r in seen) and any(r[1] == b"EXPUNGE" for r in seen):
        break
thread.join()
assert any(r[1] == b"EXISTS" for r in seen) and any(r[1] == b"EXPUNGE" for r in seen), seen
one.idle_done()
assert len(one.search(["ALL"])) == 9
one.logout()
two.logout()
print("done")
