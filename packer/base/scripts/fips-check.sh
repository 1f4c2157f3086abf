#!/bin/bash
# fips-check.sh - fails unless the system runs in FIPS mode. FIPS=false: does nothing. Runs as root.
set -euo pipefail
[[ $FIPS == true ]] || exit 0
enabled=$(cat /proc/sys/crypto/fips_enabled)
policy=$(update-crypto-policies --show)
if [[ $enabled != 1 || $policy != FIPS* ]] || ! grep -qw 'fips=1' /proc/cmdline; then
  echo "not in FIPS mode: fips_enabled is $enabled, crypto policy is $policy, kernel line is $(cat /proc/cmdline)" >&2
  exit 1
fi
echo "FIPS mode is on: crypto policy $policy"
