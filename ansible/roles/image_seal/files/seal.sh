#!/bin/bash
# seal.sh [KEEP] - removes from a machine what must not be in an image made of it. Runs as root, as the last thing before image-check.sh:
# afterwards no new SSH session can be opened, since the host keys are gone. KEEP: pattern of names in /tmp that the caller still needs.
set -euo pipefail
shopt -s nullglob
keep=${1:-}

# Writers of logs first, or they write again. auditd refuses `systemctl stop`, a signal it obeys.
for unit in rsyslog.service crond.service; do
  if systemctl is-active --quiet "$unit"; then systemctl stop "$unit"; fi
done
auditd=$(systemctl show --property=MainPID --value auditd.service)
if ((auditd > 0)); then
  kill -TERM "$auditd"
  timeout 20 tail --pid="$auditd" -f /dev/null
fi
# From here on the journal is kept in memory, also where it is meant to persist.
if [[ -d /var/log/journal ]]; then journalctl --relinquish-var; fi

if command -v cloud-init >/dev/null; then cloud-init clean --logs; fi
rm -rf /var/lib/cloud/{data,handlers,instance,instances,scripts,seed,sem}

# Who built it: keys, histories, Ansible's leavings.
while IFS=: read -r _ _ _ _ _ home _; do
  [[ $home == /root || $home == /home/* ]] || continue
  rm -rf "$home"/.ssh "$home"/.ansible "$home"/.cache "$home"/.{bash,python,mysql}_history "$home"/.{lesshst,viminfo,wget-hsts}
done </etc/passwd
rm -f /root/{anaconda-ks,original-ks}.cfg /etc/ssh/ssh_host_* /etc/sudoers.d/*packer*

# What a machine makes of its own at first boot.
: >/etc/machine-id
[[ -L /var/lib/dbus/machine-id ]] || rm -f /var/lib/dbus/machine-id
rm -f /etc/hostname /var/lib/systemd/{random-seed,credential.secret} /etc/udev/rules.d/70-persistent-*.rules
rm -rf /var/lib/NetworkManager/* /var/lib/dhclient/* /etc/NetworkManager/system-connections/cloud-init-*

if command -v dnf >/dev/null; then dnf --quiet clean all; fi
find /var/log -xdev -type f \( -name '*.gz' -o -name '*.old' -o -name '*.[0-9]' -o -name '*-[0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9]' \) -delete
rm -rf /var/log/journal/* /var/log/anaconda
find /var/log -xdev -type f -size +0 -exec truncate --size=0 {} +
if [[ -d /var/spool/mail ]]; then find /var/spool/mail/ -xdev -type f -delete; fi
find /tmp /var/tmp -xdev -mindepth 1 -maxdepth 1 ! -name 'systemd-private-*' ! -name '.X*-unix' ! -name '.ICE-unix' ! -name '.font-unix' ! -name '.XIM-unix' ! -name "$keep" -exec rm -rf {} +
sync
