#!/bin/sh
# swaks: by SMTP pipelined, by LMTP, and by the submission port with a login.
set -eu
swaks --server "$HOST" --port "$SMTP" --to "$USER" --from a@x.example --pipeline --header 'Subject: swaks smtp' --body one
swaks --server "$HOST" --port "$LMTP" --protocol LMTP --to "$USER" --from a@x.example --header 'Subject: swaks lmtp' --body two
if [ "$AUTH" = yes ]; then
    swaks --server "$HOST" --port "$SUBMISSION" --to "$USER" --from "$USER" --header 'Subject: swaks submission' --body three \
        --auth PLAIN --auth-user "$USER" --auth-password "$PASSWORD"
fi
if [ "$TLS" = yes ]; then
    swaks --server "$HOST" --port "$SUBMISSION" --to "$USER" --from "$USER" --header 'Subject: swaks starttls' --body four \
        --tls --tls-verify --tls-ca-path "$CA" --auth LOGIN --auth-user "$USER" --auth-password "$PASSWORD"
fi
