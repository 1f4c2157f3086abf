#!/bin/bash
# fips-enable.sh - converts an installed system to FIPS mode and restarts it. FIPS=false: does nothing. Runs as root.
set -euo pipefail
[[ $FIPS == true ]] || exit 0
if [[ $(cat /proc/sys/crypto/fips_enabled) == 1 ]]; then
  echo "FIPS mode is on already"
  exit 0
fi
fips-mode-setup --enable
# This connection stays, and nobody gets another one until the new system serves: Packer was seen to wait for ever on one that
# the system going down had still accepted.
systemctl stop sshd.service
systemctl reboot
# Until the connection breaks: whoever comes next must not meet the system that is going down.
exec tail -f /dev/null
