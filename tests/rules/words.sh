# The words of stig.yml and cis.yml: how a machine of the lab is made to keep a rule, and to break it. For bash, as root.
# shellcheck shell=bash
# Each may be repeated. What a machine of the lab cannot have is played: /run/lab/cmdline is bound over /proc/cmdline, and
# `auditctl` says what /run/rules/loaded says.

PARAMETERS=/etc/sysctl.d/zz-rules.conf
CASES=/run/rules
mkdir -p "$CASES"

# parameter KEY VALUE: a kernel parameter, now and after the next boot
parameter() { now "$1" "$2" && later "$1" "$2"; }
now() { printf '%s\n' "$2" >"/proc/sys/${1//.//}"; }
later() { line "$PARAMETERS" "^${1//./\\.} " "$1 = $2"; }

# line FILE REGEX TEXT: the one line that matches; without a text it goes
line() {
  touch "$1"
  sed -i -E "\\#$2#d" "$1"
  [ -z "${3:-}" ] || printf '%s\n' "$3" >>"$1"
}

# setting FILE KEY [VALUE], key FILE KEY VALUE: `KEY = VALUE`, `KEY=VALUE`, and nothing without a value
setting() { line "$1" "^[[:space:]]*$2([[:space:]=]|\$)" "$2${3:+ = $3}"; }
key() { line "$1" "^[[:space:]]*$2[[:space:]]*=" "${3:+$2=$3}"; }
unset_in() { line "$1" "^[[:space:]]*$2([[:space:]=]|\$)"; }
login() { line /etc/login.defs "^[[:space:]]*$1[[:space:]]" "$1 $2"; }
option() { printf '%s %s\n' "$1" "$2" >"/etc/ssh/sshd_config.d/00-$1.conf"; }

barred() { printf 'install %s /bin/false\nblacklist %s\n' "$1" "$1" >"/etc/modprobe.d/$1.conf"; }
barred_by_alias() { printf 'blacklist %s\n' "$1" >"/etc/modprobe.d/$1.conf"; }
barred_by_name() { printf 'install %s /bin/false\n' "$1" >"/etc/modprobe.d/$1.conf"; }

there() { [ -e "$1" ] || { mkdir -p "$(dirname "$1")" && touch "$1"; }; }
mode() { there "$1" && chmod "$2" "$1"; }
owner() { there "$1" && chown -h "$2" "$1"; }
group() { there "$1" && chgrp -h "$2" "$1"; }

# The packages are empty ones of these names; the database is rpm's own.
package() { rpm -q --quiet "$1" || rpm -U --force-debian --nodeps --noscripts --oldpackage "$CASES/rpms/$1.rpm"; }
no_package() { ! rpm -q --quiet "$1" || rpm -e --justdb --nodeps --noscripts "$1"; }

# A unit that has none here gets one that does nothing.
unit() {
  local file=/usr/lib/systemd/system/$1
  [ -e "$file" ] || {
    case $1 in
    *.socket) printf '[Socket]\nListenStream=/run/rules/%s\nService=rules-nothing.service\n[Install]\nWantedBy=sockets.target\n' "$1" ;;
    *) printf '[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n' ;;
    esac >"$file"
    systemctl daemon-reload
  }
}
# By its own name: an alias cannot be enabled.
own_name() { systemctl show --property=Id --value "$1"; }
running() { unit "$1" && systemctl --quiet unmask "$1" && systemctl --quiet enable "$(own_name "$1")" && systemctl start "$1"; }
idle() { systemctl stop "$1"; }
disabled() { systemctl --quiet disable "$(own_name "$1")"; }
masked() { unit "$1" && systemctl stop "$1" && systemctl --quiet mask "$1"; }
unmasked() { systemctl --quiet unmask "$1"; }

# What the kernel was started with, and what it will be.
argument() {
  no_argument "${1%%=*}"
  printf '%s %s\n' "$(cat /run/lab/cmdline)" "$1" >/run/lab/cmdline
  argument_later "$1"
}
no_argument() {
  # The same file, as another one would not be what is bound.
  printf '%s\n' "$(sed -E "s/ $1(=[^ ]*)?( |\$)/\\2/g" /run/lab/cmdline)" >/run/lab/cmdline
  no_argument_later "$1"
}
argument_later() { no_argument_later "${1%%=*}" && sed -i "/^options /s|\$| $1|" /boot/loader/entries/*.conf; }
no_argument_later() { sed -i -E "/^options /s/ $1(=[^ ]*)?( |\$)/\\2/g" /boot/loader/entries/*.conf; }

# mounted PATH OPTIONS: a file system of its own, now and later
mounted() { mounted_now "$1" "$2" && mounted_later "$1" "$2"; }
mounted_now() {
  mkdir -p "$1"
  grep -q " $1 " /proc/self/mountinfo || { mount --bind "$1" "$1" && mount --make-private "$1"; }
  mount -o "remount,bind,$2" "$1"
}
mounted_later() { line /etc/fstab "^none $1 " "none $1 none bind,$2 0 0"; }
unmounted() { while grep -q " $1 " /proc/self/mountinfo; do umount -l "$1"; done; }

audited() { grep -qxF -- "$1" /etc/audit/rules.d/50-rules.rules || printf '%s\n' "$1" >>/etc/audit/rules.d/50-rules.rules; }
unaudited() { grep -vxF -- "$1" /etc/audit/rules.d/50-rules.rules >"$CASES/left" || [ $? = 1 ] && cat "$CASES/left" >/etc/audit/rules.d/50-rules.rules; }
loaded() { cat /etc/audit/rules.d/*.rules | grep -E '^-[awA] ' >"$CASES/loaded"; }
stack() { printf '%s\n' 'auth required pam_faillock.so preauth silent' 'auth required pam_faillock.so authfail' \
  'account required pam_faillock.so' 'password required pam_pwquality.so' \
  'password sufficient pam_unix.so sha512 shadow rounds=100000 use_authtok' >"/etc/pam.d/$1"; }
edit() { sed -i "$2" "$1"; }

# prepare PACKAGE…: what the words above want to find
prepare() {
  local name spec=$CASES/rules.spec
  mkdir -p "$CASES/rpms"
  {
    printf 'Name: rules\nVersion: 1\nRelease: 1\nSummary: none\nLicense: none\nBuildArch: noarch\nAutoReqProv: no\n%%description\nnone\n'
    for name; do printf '%%package -n %s\nSummary: none\n%%description -n %s\nnone\n%%files -n %s\n' "$name" "$name" "$name"; done
  } >"$spec"
  rpmbuild --quiet -bb --define "_topdir $CASES/build" --define '_rpmfilename %%{NAME}.rpm' --define "_rpmdir $CASES/rpms" "$spec"
  printf '[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n' >/usr/lib/systemd/system/rules-nothing.service
  systemctl daemon-reload
  printf '%s\n' '#!/bin/sh' "[ \"\$1\" != -l ] || cat $CASES/loaded" >/usr/sbin/auditctl
  chmod 0755 /usr/sbin/auditctl
  : >"$CASES/loaded"
  mkdir -p /etc/audit/rules.d /var/log/audit /etc/firewalld /boot/efi
  touch /etc/audit/rules.d/50-rules.rules
  # Whoever runs this is root; a machine that keeps the rules lets nobody else become it without a password.
  rm -f /etc/sudoers.d/90-cloud-init-users
}
