#!/bin/sh
# getmail6: takes everything by $PROTOCOL into a maildir, and deletes it on the server.
set -eu
mkdir -p "$WORK/state" "$WORK/maildir/cur" "$WORK/maildir/new" "$WORK/maildir/tmp"
case $PROTOCOL$TLS in
POP3no) type=SimplePOP3Retriever port=$POP3 ;;
POP3yes) type=SimplePOP3SSLRetriever port=$POP3S ;;
IMAPno) type=SimpleIMAPRetriever port=$IMAP ;;
IMAPyes) type=SimpleIMAPSSLRetriever port=$IMAPS ;;
esac
# Run by root it delivers as the maildir's owner, and refuses if that is root.
if [ "$(id -u)" = 0 ]; then
    chmod 755 "$WORK"
    chown -R nobody "$WORK/maildir"
fi
{
    printf '[retriever]\ntype = %s\nserver = %s\nport = %s\nusername = %s\npassword = %s\n' "$type" "$HOST" "$port" "$USER" "$PASSWORD"
    if [ "$TLS" = yes ]; then printf 'ca_certs = %s\n' "$CA"; fi
    printf '[destination]\ntype = Maildir\npath = %s/maildir/\n' "$WORK"
    printf '[options]\ndelete = true\nreceived = false\ndelivered_to = false\nread_all = true\n'
} > "$WORK/state/getmailrc"
getmail --getmaildir="$WORK/state" --rcfile=getmailrc
