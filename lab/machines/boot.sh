#!/usr/bin/env bash
# boot.sh - runs one machine until it is switched off; started by labmachine/guest.py in the lab's network namespace
# and in a mount namespace of its own, so that whatever it mounts is gone when it is.
#
# DIR, ID, IP, LINK, CGROUP, CGROUP_ROOT, LOWER, GATEWAY, OPERATOR, ON_POWEROFF come in the environment. Exit code of the guest's systemd
# goes to DIR/exit: 0 is a shutdown from inside; nothing is written when power was lost.
set -euo pipefail

mac() {
  local a b c d
  IFS=. read -r a b c d <<<"$IP"
  printf '52:54:%02x:%02x:%02x:%02x' "$a" "$b" "$c" "$d"
}

# The disk is called as Rocky calls it: Ansible's mount facts want a source under /dev.
disk() {
  mount -t overlay /dev/mapper/rl-root -o "lowerdir=$LOWER,upperdir=$DIR/upper,workdir=$DIR/work" "$DIR/root"
}

# What ip and nspawn would leave behind, and a pure cgroup v2 tree as EL9 has it.
surroundings() {
  mkdir -p /run/netns /run/systemd
  mount -t tmpfs tmpfs /run/netns
  mount -t tmpfs tmpfs /run/systemd
  umount -R /sys/fs/cgroup
  mount -t cgroup2 cgroup2 /sys/fs/cgroup
}

# A namespace for each boot, so that the guest's sysctls and rules are new; the address stays.
cable() {
  ip netns delete guest 2>/dev/null || : # there is none before the first boot
  ip link delete "$LINK" 2>/dev/null || :
  ip netns add guest
  ip link add "$LINK" type veth peer name eth0 address "$(mac)" netns guest
  ip link set "$LINK" up
  ip route replace "$IP/32" dev "$LINK" src "$OPERATOR"
  ip -n guest link set lo up
  ip -n guest link set eth0 up
  ip -n guest address add "$IP/32" dev eth0
  ip -n guest route add "$GATEWAY" dev eth0 scope link
  ip -n guest route add default via "$GATEWAY" dev eth0
}

# No capability to change the clock, the kernel or its log; exit code 133 is a reboot asked for from inside.
guest() {
  local seed=()
  [ ! -d "$DIR/seed" ] || seed=("--bind-ro=$DIR/seed:/var/lib/cloud/seed/nocloud-net")
  SYSTEMD_NSPAWN_API_VFS_WRITABLE=network SYSTEMD_NSPAWN_TMPFS_TMP=0 SYSTEMD_LOG_LEVEL=warning \
    systemd-nspawn --quiet --directory="$DIR/root" --machine="$ID" --boot --keep-unit --register=no \
    --network-namespace-path=/run/netns/guest --capability=CAP_NET_ADMIN,CAP_SYSLOG,CAP_IPC_LOCK \
    --resolv-conf=off --timezone=off --link-journal=no --console=read-only "${seed[@]}" \
    </dev/null >>"$DIR/console.log" 2>&1
}

# systemd leaves its empty groups behind; the next boot wants to make them. Who entered the guest from outside while it
# went down goes with it.
sweep() {
  local end=$((SECONDS + 20))
  until find "$1" -mindepth 1 -depth -type d -exec rmdir {} + 2>/dev/null; do
    [ "$SECONDS" -lt "$end" ] || return 1
    if [ -e "$1/payload/cgroup.kill" ]; then echo 1 >"$1/payload/cgroup.kill"; fi
    sleep 0.05
  done
}

echo $$ >"$CGROUP/cgroup.procs"
group=/sys/fs/cgroup/${CGROUP#"$CGROUP_ROOT"/}
disk
surroundings
while :; do
  cable
  rc=0
  guest || rc=$?
  [ "$rc" = 133 ] || break
  sweep "$group"
done
ip link delete "$LINK" 2>/dev/null || :
echo "$rc" >"$DIR/exit"
if [ "$rc" = 0 ] && [ ! -e "$DIR/stopping" ] && [ -n "$ON_POWEROFF" ]; then
  $ON_POWEROFF "$ID" # a command and its words: nobody asked for this shutdown from outside
fi
