#!/bin/sh
# Writes new secrets for compose.yaml: sh deploy/secrets.sh [FOLDER]     beside this script if not given
#
# FOLDER/.env              variables that compose reads; only its owner may read it
# FOLDER/secrets/NAME      secrets that are mounted; the containers' users may read them, but only its
#                          owner may enter the folder
set -eu
folder=${1:-$(dirname "$0")}
if [ -e "$folder/.env" ]; then
  echo "$folder/.env exists; delete it for new secrets, and with them the volumes of the old ones" >&2
  exit 1
fi
umask 077
mkdir -p "$folder/secrets"
secret() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }
token=$(secret)
printf '%s' "$token" > "$folder/secrets/metrics_token"
chmod 644 "$folder/secrets/metrics_token"
{
  printf 'MCN_TOKEN=%s\n' "$token"
  for name in STORE_SECRET RAY_TOKEN GRAFANA_PASSWORD; do
    printf '%s=%s\n' "$name" "$(secret)"
  done
} > "$folder/.env"
