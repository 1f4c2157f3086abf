#!/bin/bash
# image-check.sh [KEEP] - proves that nothing sensitive or unique is left on a machine of which an image is about to be made.
# Prints each finding; 0: none, 1: some. Changes nothing. Runs as root.
# KEEP: pattern of names in /tmp that belong to the caller and go with him.
set -euo pipefail
shopt -s nullglob
self=$(readlink -f "${BASH_SOURCE[0]:-/dev/null}")
keep=${1:-}
findings=0
finding() { # WHAT PATH…: one line for each path
  local what=$1 path
  shift
  for path in "$@"; do
    [[ -e $path && $path != "$self" ]] || continue
    echo "left in the image: $what: $path"
    findings=$((findings + 1))
  done
}
lines_of() { mapfile -t found < <("$@"); }

while IFS=: read -r user _ _ _ _ home _; do
  [[ -d $home && ($home == /root || $home == /home/*) ]] || continue
  lines_of find "$home" -xdev -type f \( -path '*/.ssh/*' -o -name '.*_history' -o -name .lesshst -o -name .viminfo -o -path '*/.ansible/*' \)
  finding "trace of $user" "${found[@]}"
done </etc/passwd

finding "SSH host key" /etc/ssh/ssh_host_*
if [[ ! -f /etc/machine-id || -s /etc/machine-id ]]; then
  echo "left in the image: machine id: /etc/machine-id must exist and be empty"
  findings=$((findings + 1))
fi
[[ -L /var/lib/dbus/machine-id || ! -e /var/lib/dbus/machine-id ]] || finding "machine id" /var/lib/dbus/machine-id
finding "random seed" /var/lib/systemd/{random-seed,credential.secret}
finding "cloud-init state" /var/lib/cloud/{instance,instances,data,sem,seed}/*
finding "name of the build machine" /etc/hostname

# wtmp, btmp, lastlog and the log of sudo hold the session that runs this check.
lines_of find /var/log -xdev -type f -size +0 ! -name wtmp ! -name btmp ! -name lastlog ! -path /var/log/sudo.log
finding "log" "${found[@]}"
lines_of find /tmp /var/tmp -xdev -mindepth 1 -maxdepth 1 ! -name 'systemd-private-*' ! -name '.*-unix' ! -name "$keep"
finding "temporary file" "${found[@]}"

while IFS=: read -r user hash _; do
  if [[ -z $hash || $hash == \$* ]]; then
    echo "left in the image: account with a password or without need of one: $user"
    findings=$((findings + 1))
  fi
done </etc/shadow
lines_of grep -rlsE -- '-----BEGIN [A-Z ]*PRIVATE KEY-----' /etc /root /home /opt /srv
finding "private key" "${found[@]}"
finding "cluster state or token of RKE2" /etc/rancher/node /var/lib/rancher/rke2/server /var/lib/rancher/rke2/agent/*.{key,kubeconfig,crt} /etc/rancher/rke2/{token,agent-token,config.yaml,rke2.yaml}
finding "staged release" /var/lib/rancher/staging /var/lib/rancher/upload

((findings == 0)) || exit 1
echo "nothing sensitive is left"
