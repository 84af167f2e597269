#!/bin/sh
# mpop: takes everything by POP3, pipelined, into a maildir, and deletes it on the server.
set -eu
mkdir -p "$WORK/maildir/cur" "$WORK/maildir/new" "$WORK/maildir/tmp"
if [ "$TLS" = yes ]; then
    security="port $POP3S
tls on
tls_starttls off
tls_trust_file $CA"
else
    security="port $POP3
tls off
auth plain"
fi
cat > "$WORK/rc" <<END
account default
host $HOST
user $USER
password $PASSWORD
$security
delivery maildir $WORK/maildir
received_header off
uidls_file $WORK/uidls
keep off
END
chmod 600 "$WORK/rc"
mpop --file="$WORK/rc" default
