#!/bin/sh
# shellcheck disable=SC2153,SC2154 # set before it
# Leaves a machine as it was before the environment $ID took it: RKE2 and its data go, what was changed comes back, what
# was installed is removed. May be stopped anywhere and repeated. Says `left`, `never` where nothing of ours is there, or
# `other ID NAME NODE` where another environment has it; then nothing was touched.
set -u
if [ ! -e "$KEPT/claim" ]; then
  # A claim that was begun and never made.
  rm -rf "$KEPT/before" "$KEPT/before.new"
  [ ! -d "$KEPT" ] || rmdir "$KEPT" 2>/dev/null
  echo never
  exit 0
fi
read -r holder name node <"$KEPT/claim"
if [ "$holder" != "$ID" ]; then
  echo "other $holder $name $node"
  exit 0
fi
was_there() { grep -qxF "$1" "$KEPT/before/there"; }
if [ -d "$KEPT/before" ]; then
  systemctl stop rke2-server.service rke2-agent.service >/dev/null 2>&1
  # RKE2's own script goes with it: a copy can be repeated.
  for script in killall uninstall; do
    [ ! -x "/usr/local/bin/rke2-$script.sh" ] || cp -p "/usr/local/bin/rke2-$script.sh" "$KEPT/"
  done
  [ ! -x "$KEPT/rke2-killall.sh" ] || "$KEPT/rke2-killall.sh" >/dev/null 2>&1
  [ ! -x "$KEPT/rke2-uninstall.sh" ] || "$KEPT/rke2-uninstall.sh" >/dev/null 2>&1
  # An address that the servers passed on among themselves, and that a killed kube-vip has left.
  [ -z "$VIP" ] || ip -o -4 addr show | grep -F " $VIP/" | while read -r _ device _; do ip addr del "$VIP/32" dev "$device"; done
  systemctl disable rke2-server.service rke2-agent.service >/dev/null 2>&1
  rm -f /etc/systemd/system/multi-user.target.wants/rke2-server.service /etc/systemd/system/multi-user.target.wants/rke2-agent.service
  awk '{ print $2 }' /proc/mounts | grep -E '^/(var/lib/(rancher|kubelet)|run/k3s)/' | sort -r | while read -r mount; do umount -l "$mount"; done
  # The kernel's parameters as they were, before the files are gone that tell which ones we set.
  for file in /etc/sysctl.d/60-rke2.conf /etc/sysctl.d/99-zz-os-hardening.conf; do
    was_there "$file" || [ ! -e "$file" ] || sed -n 's/^-\{0,1\}\([a-z][^ =]*\) *=.*/\1/p' "$file"
  done | sort -u | while read -r key; do
    value=$(sed -n "s|^$key = ||p" "$KEPT/before/sysctl" | head -n 1)
    [ -z "$value" ] || sysctl -qw "$key=$value" 2>/dev/null
  done
  if ! [ -s "$KEPT/before/etcd" ]; then
    getent passwd etcd >/dev/null && userdel etcd 2>/dev/null
    getent group etcd >/dev/null && groupdel etcd 2>/dev/null
  fi
  for package in $PACKAGES; do
    grep -qxF "$package" "$KEPT/before/packages" || ! rpm -q "$package" >/dev/null 2>&1 || rpm -e "$package" >/dev/null 2>&1
  done
  for path in $MADE; do was_there "$path" || rm -rf --one-file-system "$path" || exit 1; done
  for path in $CHANGED; do
    was_there "$path" || rm -rf --one-file-system "$path"
  done
  for path in $WHOLE; do rm -rf --one-file-system "$path"; done
  added | while read -r path; do was_there "$path" || rm -f "$path"; done
  for path in $EMPTIED; do was_there "$path" || [ ! -d "$path" ] || rmdir --ignore-fail-on-non-empty "$path"; done
  tar --xattrs --acls -C / -xpf "$KEPT/before/changed.tar" || exit 1
  while read -r mode uid gid path; do
    [ -e "$path" ] || continue
    [ -h "$path" ] || [ "$(stat -c '%a %u %g' "$path")" = "$mode $uid $gid" ] || { chown "$uid:$gid" "$path"; chmod "$mode" "$path"; }
  done <"$KEPT/before/modes"
  while read -r home; do rm -rf "$home/.ansible"; done <"$KEPT/before/without-ansible"
  systemctl daemon-reload
  while read -r unit enabled active; do
    case $enabled in enabled) systemctl enable "$unit" ;; disabled) systemctl disable "$unit" ;; esac
    case $active in active) systemctl start "$unit" ;; esac
  done <"$KEPT/before/units" >/dev/null 2>&1
  ! systemctl is-active --quiet sshd.service || systemctl reload sshd.service >/dev/null 2>&1
  ! systemctl is-active --quiet auditd.service || augenrules --load >/dev/null 2>&1
  ! systemctl is-active --quiet fapolicyd.service || fagenrules --load >/dev/null 2>&1
  # The claim stays until everything else is gone: who is stopped here finds it and goes on.
  find "$KEPT" -mindepth 1 ! -path "$KEPT/before" ! -path "$KEPT/before/*" ! -path "$KEPT/claim" -delete
  rm -rf "$KEPT/before.gone"
  mv "$KEPT/before" "$KEPT/before.gone"
fi
rm -rf "$KEPT/before.gone"
rm -f "$KEPT/claim"
rmdir "$KEPT" || exit 1
echo left
