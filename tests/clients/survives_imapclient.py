"""Works as desktop programs do, with two connections for as long as $WORK/stop is not there: one waits in IDLE, the other reads
headers, then bodies in pieces, marks messages, and moves every third one by COPY, STORE and EXPUNGE into Archive. What it has read
goes to $WORK/seen, a subject a line. Any error ends it."""
import os
import ssl

from imapclient import DELETED, SEEN, IMAPClient

PIECE = 1024


def connect():
    context = ssl.create_default_context(cafile=os.environ["CA"])
    client = IMAPClient(os.environ["HOST"], port=int(os.environ["IMAPS"]), ssl=True, ssl_context=context)
    client.login(os.environ["USER"], os.environ["PASSWORD"])
    client.id_({"name": "survives"})
    return client


waits, works = connect(), connect()
waits.select_folder("INBOX")
works.select_folder("INBOX")
waits.idle()
folder = os.environ["WORK"]
following, seen = 1, []


def body(uid, size):
    octets = b""
    while len(octets) < size:
        fetched = works.fetch([uid], [f"BODY.PEEK[]<{len(octets)}.{PIECE}>"])[uid]
        piece = fetched[b"BODY[]<%d>" % len(octets)]
        assert piece, (uid, size, len(octets))
        octets += piece
    assert len(octets) == size
    return octets


def take():
    global following
    works.noop()
    uids = [uid for uid in works.search(["UID", f"{following}:*"]) if uid >= following]
    if not uids:
        return
    heads = works.fetch(uids, ["FLAGS", "RFC822.SIZE", "ENVELOPE", "BODY.PEEK[HEADER.FIELDS (SUBJECT)]"])
    assert sorted(heads) == uids, (sorted(heads), uids)
    for uid in uids:
        subject = heads[uid][b"ENVELOPE"].subject
        assert b"Subject: " + subject in body(uid, heads[uid][b"RFC822.SIZE"])
        seen.append(subject.decode())
    assert all(SEEN in flags for flags in works.add_flags(uids, [SEEN]).values())
    for uid in uids[::3]:
        works.copy([uid], "Archive")
        works.add_flags([uid], [DELETED])
        works.expunge([uid])
    following = max(uids) + 1


news = 0
while not os.path.exists(f"{folder}/stop"):
    news += sum(response[1] == b"EXISTS" for response in waits.idle_check(timeout=0.3))
    take()
take()
assert news, "IDLE told of nothing"
waits.idle_done()
waits.logout()
works.logout()
with open(f"{folder}/seen", "w", encoding="utf-8") as file:
    file.writelines(f"{subject}\n" for subject in seen)
