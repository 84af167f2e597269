#!/bin/sh
# getmail6: takes everything by $PROTOCOL into $WORK/new, and deletes it on the server.
set -eu
mkdir -p "$WORK/state" "$WORK/new"
cat > "$WORK/deliver" <<'END'
#!/bin/sh
exec cat > "$(mktemp "$1/XXXXXXXXXX")"
END
chmod 755 "$WORK/deliver"
case $PROTOCOL$TLS in
POP3no) type=SimplePOP3Retriever port=$POP3 ;;
POP3yes) type=SimplePOP3SSLRetriever port=$POP3S ;;
IMAPno) type=SimpleIMAPRetriever port=$IMAP ;;
IMAPyes) type=SimpleIMAPSSLRetriever port=$IMAPS ;;
esac
{
    printf '[retriever]\ntype = %s\nserver = %s\nport = %s\nusername = %s\npassword = %s\n' "$type" "$HOST" "$port" "$USER" "$PASSWORD"
    if [ "$TLS" = yes ]; then printf 'ca_certs = %s\n' "$CA"; fi
    # Its maildir destination refuses root, and CI is root.
    printf '[destination]\ntype = MDA_external\npath = %s/deliver\narguments = ("%s/new",)\nallow_root_commands = true\nunixfrom = false\n' "$WORK" "$WORK"
    printf '[options]\ndelete = true\nreceived = false\ndelivered_to = false\nread_all = true\n'
} > "$WORK/state/getmailrc"
getmail --getmaildir="$WORK/state" --rcfile=getmailrc
