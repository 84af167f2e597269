#!/bin/sh
# fetchmail: takes everything by $PROTOCOL (POP3 or IMAP) into $WORK/new, and deletes it on the server.
set -eu
mkdir -p "$WORK/new"
cat > "$WORK/deliver" <<'END'
#!/bin/sh
exec cat > "$(mktemp "$1/XXXXXXXXXX")"
END
chmod 755 "$WORK/deliver"
case $PROTOCOL$TLS in
POP3no) port=$POP3 tls="sslproto ''" ;;
POP3yes) port=$POP3S tls="ssl sslcertck sslcertfile $CA" ;;
IMAPno) port=$IMAP tls="sslproto ''" ;;
IMAPyes) port=$IMAPS tls="ssl sslcertck sslcertfile $CA" ;;
esac
cat > "$WORK/rc" <<END
poll $HOST protocol $PROTOCOL port $port auth password
  user "$USER" password "$PASSWORD" $tls
  fetchall no keep no rewrite mda "$WORK/deliver $WORK/new"
END
chmod 700 "$WORK/rc"
export FETCHMAILHOME="$WORK"
fetchmail --pidfile "$WORK/pid" --nodetach --nosyslog --invisible -v -f "$WORK/rc"
