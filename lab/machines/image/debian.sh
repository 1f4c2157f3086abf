#!/usr/bin/env bash
# debian.sh OUT - puts the Debian that machines are made of into OUT. Wants root, debootstrap and a Debian mirror; takes
# one to two minutes.
set -euo pipefail
OUT=$1
SUITE=bookworm
PACKAGES=(
  systemd systemd-sysv libpam-systemd dbus openssh-server openssh-client cloud-init python3 sudo
  libnss-myhostname iproute2 procps kmod iptables nftables ca-certificates openssl curl rsync zstd acl less cron
  rpm dnf python3-dnf dnf-plugins-core python3-selinux
  python3-cffi-backend # cloud-init wants it through a virtual package, which debootstrap does not follow
)

debootstrap --variant=minbase --include="$(IFS=, && echo "${PACKAGES[*]}")" "$SUITE" "$OUT" >"$OUT.log" || {
  tail -n 20 "$OUT.log" >&2
  exit 1
}
rm "$OUT.log"
rm -rf "$OUT"/var/cache/apt/archives/*.deb "$OUT"/var/lib/apt/lists/*
