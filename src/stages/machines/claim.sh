#!/bin/sh
# shellcheck disable=SC2153,SC2154 # set before it
# Takes a machine for the environment $ID, named $NAME, as $NODE, after noting what is there before we change anything.
# Ends with 75 where another environment has it, and says whose it is. Tells what was noted, one `key=value` a line.
set -eu
mkdir -p "$KEPT"
chmod 0700 "$KEPT"
if [ ! -e "$KEPT/claim" ]; then
  new=$KEPT/before.new
  rm -rf "$new" "$KEPT/before"
  mkdir -p "$new"
  { for path in $MADE $EMPTIED $CHANGED; do [ ! -e "$path" ] || echo "$path"; done; added; } >"$new/there"
  there=$(for path in $CHANGED; do [ ! -e "$path" ] || echo ".$path"; done)
  # shellcheck disable=SC2086 # a list
  tar --xattrs --acls -C / -cf "$new/changed.tar" $there
  moded | sort -u | while read -r path; do stat -c '%a %u %g %n' "$path" 2>/dev/null || continue; done >"$new/modes"
  sysctl -a 2>/dev/null >"$new/sysctl" || [ -s "$new/sysctl" ]
  for package in $PACKAGES; do ! rpm -q "$package" >/dev/null 2>&1 || echo "$package"; done >"$new/packages"
  rpm -q gpg-pubkey >"$new/keys" 2>/dev/null || :
  # 2: there is none.
  { getent passwd etcd || [ $? = 2 ]; getent group etcd || [ $? = 2 ]; } >"$new/etcd"
  for unit in $UNITS; do
    echo "$unit $(systemctl is-enabled "$unit" 2>/dev/null) $(systemctl is-active "$unit" 2>/dev/null)"
  done >"$new/units"
  for home in /root /home/*; do [ ! -d "$home" ] || [ -e "$home/.ansible" ] || echo "$home"; done >"$new/without-ansible"
  sync "$new"/* "$new"
  mv "$new" "$KEPT/before"
  echo "$ID $NAME $NODE" >"$KEPT/claim.$$"
  sync "$KEPT/claim.$$"
  # The link fails where somebody else was quicker.
  ln "$KEPT/claim.$$" "$KEPT/claim" 2>/dev/null || [ -e "$KEPT/claim" ]
  rm -f "$KEPT/claim.$$"
  sync "$KEPT"
fi
read -r holder name node <"$KEPT/claim"
if [ "$holder" != "$ID" ]; then
  echo "$holder $name $node"
  exit 75
fi
[ -s "$KEPT/before/etcd" ] && echo etcd=yes || echo etcd=no
echo "packages=$(tr '\n' ' ' <"$KEPT/before/packages")"
echo "digest=$(cat "$KEPT/before/there" "$KEPT/before/modes" "$KEPT/before/packages" "$KEPT/before/etcd" | sha256sum | cut -d ' ' -f 1)"
