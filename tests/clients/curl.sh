#!/bin/sh
# curl: sends a message by SMTP, lists and fetches by IMAP and POP3, appends by IMAP. Leaves sent, fetched.imap, fetched.pop3.
set -eu
c() { curl --silent --show-error --max-time 30 "$@"; }
if [ "$TLS" = yes ]; then
    imap="imaps://$HOST:$IMAPS" pop3="pop3s://$HOST:$POP3S"
    set -- --cacert "$CA"
else
    imap="imap://$HOST:$IMAP" pop3="pop3://$HOST:$POP3"
    set --
fi
c "smtp://$HOST:$SMTP/client.example" --mail-from a@x.example --mail-rcpt "$USER" -T "$WORK/message"
c "$@" --user "$USER:$PASSWORD" "$imap/INBOX" -X 'STATUS INBOX (MESSAGES)' | grep -q 'MESSAGES 1'
c "$@" --user "$USER:$PASSWORD" "$imap/INBOX;UID=1" > "$WORK/fetched.imap"
c "$@" --user "$USER:$PASSWORD" "$pop3/1" > "$WORK/fetched.pop3"
c "$@" --user "$USER:$PASSWORD" "$imap/" -X 'CREATE Copies'
c "$@" --user "$USER:$PASSWORD" "$imap/Copies" -T "$WORK/message"
c "$@" --user "$USER:$PASSWORD" "$imap/Copies;UID=1" > "$WORK/fetched.append"
c "$@" --user "$USER:$PASSWORD" "$imap/INBOX?SUBJECT%20message" | grep -q 'SEARCH 1'
c "$@" --user "$USER:$PASSWORD" "$pop3/" | grep -q '^1 '
