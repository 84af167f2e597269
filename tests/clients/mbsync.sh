#!/bin/sh
# mbsync: both ways, three times. Needs HOST, IMAP, IMAPS, USER, PASSWORD, TLS (yes or no), CA, WORK.
set -eu
mkdir -p "$WORK/mail"
if [ "$TLS" = yes ]; then
    security="SSLType IMAPS
Port $IMAPS
CertificateFile $CA"
else
    security="SSLType None
Port $IMAP
AuthMechs LOGIN"
fi
cat > "$WORK/rc" <<END
IMAPAccount server
Host $HOST
User $USER
Pass "$PASSWORD"
$security

IMAPStore far
Account server

MaildirStore near
Path $WORK/mail/
Inbox $WORK/mail/INBOX
SubFolders Verbatim

Channel all
Far :far:
Near :near:
Patterns *
Create Both
Remove Both
Expunge Both
SyncState *
END
case ${1:-sync} in
sync) mbsync -V -c "$WORK/rc" all ;;
esac
