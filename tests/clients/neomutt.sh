#!/bin/sh
# neomutt: sends, then opens INBOX, copies the first message into Sent and every message into $WORK/mbox.
# 2026-11-22: Debian 12's neomutt 20220429, built with gsasl, picks SCRAM-SHA-256-PLUS for SMTP where it is offered and
# cannot bind to its TLS connection; it has to be told another mechanism.
set -eu
export HOME="$WORK" TERM=xterm
if [ "$TLS" = yes ]; then
    imap="imaps://$HOST:$IMAPS" smtp="smtps://$HOST:$SUBMISSIONS"
    security="set ssl_ca_certificates_file = '$CA'"
else
    imap="imap://$HOST:$IMAP" smtp="smtp://$HOST:$SUBMISSION"
    security="set ssl_starttls = no
set ssl_force_tls = no"
fi
user=$(printf %s "$USER" | sed 's/@/%40/')
if [ "$AUTH" = yes ]; then smtp=$(printf %s "$smtp" | sed "s,://,://$user@,"); fi
cat > "$WORK/rc" <<END
set imap_user = '$USER'
set imap_pass = '$PASSWORD'
set smtp_url = '$smtp/'
set smtp_pass = '$PASSWORD'
set smtp_authenticators = 'plain'
set from = '$USER'
set use_from = yes
set hostname = client.example.test
set folder = '$imap/'
set spoolfile = '$imap/INBOX'
set copy = no
set confirm_append = no
set confirm_create = no
set quit = yes
set wait_key = no
set header_cache =
set beep = no
$security
END
printf 'the text\n' | timeout 60 neomutt -n -F "$WORK/rc" -s 'from neomutt' -a "$WORK/message" -- "$USER"
# A terminal of its own; keys: tag all, copy the tagged ones, leave.
timeout 60 script -qec "neomutt -n -F '$WORK/rc' -f '$imap/INBOX' -e 'push \"<copy-message>=Sent<enter><tag-pattern>~A<enter><tag-prefix><copy-message>$WORK/mbox<enter><exit>\"'" /dev/null < /dev/null > "$WORK/screen" 2>&1
test -s "$WORK/mbox"
