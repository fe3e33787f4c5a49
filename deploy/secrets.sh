#!/bin/sh
# Prints new secrets for compose.yaml: sh deploy/secrets.sh > deploy/.env
set -eu
umask 077
secret() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }
for name in STORE_SECRET RAY_TOKEN MCN_TOKEN GRAFANA_PASSWORD; do
  printf '%s=%s\n' "$name" "$(secret)"
done
