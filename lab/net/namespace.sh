# shellcheck shell=bash
# namespace.sh - the lab's network namespace and the services in it: sourced by lab/lab.
#
# namespace_up, namespace_down   the namespace with its fixed addresses; no route leads out of it
# inside CMD…                    runs CMD in it, in a mount namespace of its own with the lab's resolv.conf
# service NAME CMD…              starts CMD in it, in the background and in a cgroup of its own
#
# Entered by nsenter only: `ip netns exec` mounts /sys anew, and with it the cgroup tree that machines need is gone.

NETNS=/run/netns/sre-$LAB_NAME
OPERATOR=192.0.2.10
CGROUP=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)/sre-lab/$LAB_NAME
READY_LIMIT=60

namespace_up() {
  [ ! -e "$NETNS" ] || return 0
  ip netns add "sre-$LAB_NAME"
  ip -n "sre-$LAB_NAME" -batch - <<-COMMANDS
	link set lo up
	address add $OPERATOR/32 dev lo
	address add 127.0.0.53/8 dev lo
	address add 169.254.169.254/32 dev lo
	address add 169.254.169.253/32 dev lo
	address add 169.254.1.1/32 dev lo
	route add 203.0.113.0/24 dev lo src $OPERATOR
	COMMANDS
  nsenter --net="$NETNS" sysctl -qw net.ipv4.ip_forward=1 \
    net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0 net.ipv4.conf.all.send_redirects=0
}

# join NAME: puts this shell into a cgroup of the lab, so that `down` finds what it starts.
join() {
  mkdir -p "$CGROUP/$1"
  echo "$BASHPID" >"$CGROUP/$1/cgroup.procs"
}

inside() {
  # shellcheck disable=SC2016 # for the shell inside
  nsenter --net="$NETNS" unshare --mount --propagation private \
    sh -c 'mount --bind "$0" /etc/resolv.conf && exec "$@"' "$LAB_DIR/resolv.conf" "$@"
}

service() {
  local name=$1
  shift
  SERVICE_PID=$$
  ! running "services/$name" || return 0
  (
    join "services/$name"
    exec setsid "$LAB" inside "$@" </dev/null >>"$LAB_DIR/$name.log" 2>&1
  ) &
  SERVICE_PID=$!
}

running() { grep -qs 'populated 1' "$CGROUP/$1/cgroup.events"; }

# listening NAME ADDRESS:PORT: waits until the service answers there, or says how it ended.
listening() {
  local name=$1 at=$2 until=$((SECONDS + READY_LIMIT))
  until [ -n "$(nsenter --net="$NETNS" ss -Hltn "src $at")" ]; do
    if ! kill -0 "$SERVICE_PID" 2>/dev/null || [ "$SECONDS" -ge "$until" ]; then
      fail "$name does not listen on $at" "$(tail -n 5 "$LAB_DIR/$name.log")" "read $LAB_DIR/$name.log"
    fi
    sleep 0.05
  done
}

name_service_up() {
  mkdir -p "$LAB_DIR/dns"
  [ -e "$LAB_DIR/dns/hosts" ] || : >"$LAB_DIR/dns/hosts"
  echo 'nameserver 127.0.0.53' >"$LAB_DIR/resolv.conf"
  running services/dns || rm -f "$LAB_DIR/dns/pid" # of a process that may be another by now
  # In the foreground; whatever is not in the table does not exist.
  service dns dnsmasq --keep-in-foreground --log-facility=- --conf-file=/dev/null --user=root --pid-file="$LAB_DIR/dns/pid" \
    --bind-interfaces --listen-address=127.0.0.53,169.254.169.253 --no-resolv --no-hosts --no-negcache --local=/#/ \
    --addn-hosts="$LAB_DIR/dns/hosts"
  listening dns 169.254.169.253:53
}

releases_up() {
  local version
  mkdir -p "$LAB_DIR/releases"
  for version in $RKE2_VERSIONS; do
    local variable=LAB_RELEASE_${version//[!A-Za-z0-9]/_}
    [ -z "${!variable:-}" ] || ln -sfn "${!variable}" "$LAB_DIR/releases/$version"
  done
  service releases /usr/bin/python3 -m http.server --bind 127.0.0.1 --directory "$LAB_DIR/releases" 8080
  listening releases 127.0.0.1:8080
}

# Ends every process of the lab: machines, services, whatever `exec` left behind.
processes_down() {
  [ -d "$CGROUP" ] || return 0
  echo 1 >"$CGROUP/cgroup.kill"
  local until=$((SECONDS + 20))
  until grep -q 'populated 0' "$CGROUP/cgroup.events"; do
    [ "$SECONDS" -lt "$until" ] || fail "processes of lab $LAB_NAME do not end" "$(find "$CGROUP" -name cgroup.procs -exec cat {} +)" "reboot this machine"
    sleep 0.02
  done
  until find "$CGROUP" -depth -type d -exec rmdir {} + 2>/dev/null; do
    [ "$SECONDS" -lt "$until" ] || fail "cannot remove $CGROUP" "" "look for processes in it"
    sleep 0.02
  done
  rmdir "${CGROUP%/*}" 2>/dev/null || : # another lab may still be in it
}

namespace_down() {
  [ ! -e "$NETNS" ] || ip netns delete "sre-$LAB_NAME"
}
