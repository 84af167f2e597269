#!/bin/sh
# Installs the clients that come from language registries into a folder outside the clone:
#   install.sh DIR        (default: $MAILROOK_CLIENTS_DIR, or ~/.cache/mailrook/clients)
# Versions are pinned: a client's new quirk should come as a change here, not as a red morning.
set -eu
dir=${1:-${MAILROOK_CLIENTS_DIR:-$HOME/.cache/mailrook/clients}}
mkdir -p "$dir"
if ! "$dir/venv/bin/python" -c 'import imapclient' 2>/dev/null; then
    python3 -m venv "$dir/venv"
    "$dir/venv/bin/pip" install --quiet 'IMAPClient==3.0.1'
fi
if [ ! -d "$dir/node_modules/imapflow" ]; then
    (cd "$dir" && npm install --silent --no-audit --no-fund --prefix "$dir" 'imapflow@1.0.171' >/dev/null)
fi
echo "$dir"
