#!/bin/sh
# msmtp: sends $WORK/message to $USER over the submission port.
set -eu
if [ "$TLS" = yes ]; then
    security="port $SUBMISSIONS
tls on
tls_starttls off
tls_trust_file $CA"
else
    security="port $SUBMISSION
tls off"
fi
if [ "$AUTH" = yes ]; then
    login="auth plain
user $USER
password $PASSWORD"
else
    login="auth off"
fi
cat > "$WORK/rc" <<END
account default
host $HOST
from $USER
$security
$login
END
chmod 600 "$WORK/rc"
msmtp --file="$WORK/rc" "$USER" < "$WORK/message"
