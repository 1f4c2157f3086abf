#!/bin/sh
# checks.sh - 60 checks of a node, as a person would write them down to see whether it is as it was; run as root on it.
# One line per check: `ok` or `no`, and what was looked at. Always ends with 0: it is measured, not believed.
# shellcheck disable=SC2317 # the functions are called through `say`
set -u

say() { # WHAT COMMAND...
  what=$1
  shift
  if "$@" >/dev/null 2>&1; then echo "ok $what"; else echo "no $what"; fi
}
mode() { [ "$(stat -c '%a %U' "$1")" = "$2" ]; }
kernel() { [ "$(sysctl -n "$1")" = "$2" ]; }
none_failed() { [ -z "$(systemctl list-units --failed --no-legend)" ]; }
enabled() { systemctl is-enabled rke2-server || systemctl is-enabled rke2-agent; }
free() { [ "$(df -Pk /var/lib | awk 'NR == 2 { print $4 }')" -gt 1048576 ]; }
no_swap() { [ "$(wc -l </proc/swaps)" = 1 ]; }
daemon() { printf '%s\n' "$SSHD" | grep -qix "$1"; }
SSHD=$(sshd -T 2>/dev/null)

# 20 files
for file in /etc/passwd /etc/group /etc/hosts /etc/hostname /etc/os-release /etc/fstab /etc/bashrc /etc/profile /etc/services /etc/issue; do
  say "$file" mode "$file" "644 root"
done
for file in /etc/shadow /etc/gshadow /etc/ssh/sshd_config /etc/crontab /etc/sudoers /etc/audit/auditd.conf /etc/rancher/rke2/config.yaml \
  /etc/rancher/rke2/token /etc/rancher/rke2/rke2.yaml /boot/loader/entries; do
  say "$file" test -e "$file"
done
# 20 kernel parameters
for setting in kernel.dmesg_restrict=1 kernel.kptr_restrict=1 kernel.randomize_va_space=2 kernel.yama.ptrace_scope=1 \
  kernel.panic_on_oops=1 kernel.panic=10 kernel.unprivileged_bpf_disabled=1 kernel.perf_event_paranoid=2 \
  fs.protected_hardlinks=1 fs.protected_symlinks=1 fs.suid_dumpable=0 vm.overcommit_memory=1 \
  vm.panic_on_oom=0 net.ipv4.tcp_syncookies=1 net.ipv4.conf.all.accept_redirects=0 net.ipv4.conf.all.send_redirects=0 \
  net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.default.accept_source_route=0 net.ipv6.conf.all.accept_redirects=0 net.ipv6.conf.all.accept_source_route=0; do
  say "$setting" kernel "${setting%%=*}" "${setting#*=}"
done
# 10 settings of the SSH daemon
for line in 'permitrootlogin no' 'passwordauthentication no' 'x11forwarding no' 'permitemptypasswords no' 'clientaliveinterval 600' \
  'hostbasedauthentication no' 'ignorerhosts yes' 'strictmodes yes' 'usepam yes' 'printlastlog yes'; do
  say "sshd: $line" daemon "$line"
done
# 10 things of systemd, the disk and RKE2
say "sshd runs" systemctl is-active --quiet sshd
say "rke2 runs" systemctl is-active --quiet rke2-server rke2-agent
say "nothing failed" none_failed
say "rke2 is enabled" enabled
say "1 GiB is free" free
say "no swap" no_swap
say "image" grep -q fingerprint /etc/sre-image.json
say "rke2 is there" test -x /usr/local/bin/rke2
say "kubelet answers" curl --silent --fail --max-time 2 http://127.0.0.1:10248/healthz
say "name is set" test -s /etc/hostname
exit 0
