#!/bin/sh
# Development certificates by list: a CA per trust domain (made once) and an SVID per line (renewed at every run).
#
#   certs/mint.sh LIST DIR [UID:GID]
#
# LIST has a line per certificate, FOLDER SPIFFE-ID [DNS-NAME…], for DIR/FOLDER/{cert-chain,key,root-cert}.pem. The CAs, with their
# keys, are in DIR/ca/TRUST-DOMAIN; DIR/trust/TRUST-DOMAIN.pem is a CA's certificate alone. With UID:GID (as root) the
# folders of certificates are given to that user; the CAs stay root's.
set -eu
if [ "$#" -lt 2 ]; then
  echo "usage: certs/mint.sh LIST DIR [UID:GID]" >&2
  exit 2
fi
list=$1
dir=$2
owner=${3:-}
sallyport=${SALLYPORT:-$(dirname -- "$0")/../bin/sallyport}
ttl=${TTL:-720h}

mkdir -p "$dir/trust"
while read -r folder id names; do
  case $folder in '' | '#'*) continue ;; esac
  domain=${id#spiffe://}
  domain=${domain%%/*}
  ca=$dir/ca/$domain
  if [ ! -e "$ca/ca-key.pem" ]; then
    "$sallyport" certs init --trust-domain "$domain" --dir "$ca" >/dev/null
    echo "CA of $domain"
  fi
  cp "$ca/root-cert.pem" "$dir/trust/$domain.pem"
  set -- --spiffe "$id" --ttl "$ttl" --dir "$ca" --out "$dir/$folder"
  for name in $names; do set -- "$@" --dns "$name"; done
  # Standard input is the list.
  "$sallyport" certs issue "$@" >/dev/null </dev/null
  [ -z "$owner" ] || chown -R "$owner" "$dir/$folder"
  echo "$folder: $id"
done <"$list"
