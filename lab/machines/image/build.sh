#!/usr/bin/env bash
# build.sh DEBIAN OUT - makes the root file system that every machine of the lab starts from, in OUT/root: the Debian
# in the directory DEBIAN (debian.sh made it) dressed as Rocky Linux 9.4. Wants root; takes a quarter of a minute.
#
# files/     is copied over it as it is
# standins/  are commands of Rocky that would need its kernel: they keep their state in files
# rpms/      are the packages that its dnf finds
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
DEBIAN=$1
OUT=$2
ROOT=$OUT/root
REPOSITORY=/opt/lab/repo
# Nothing that slows the boot down, wants a device, or talks to the outside. logind stays: reboot and pam_systemd want it.
MASKED=(
  console-getty.service getty@tty1.service getty.target
  systemd-networkd.service systemd-resolved.service systemd-timesyncd.service systemd-udev-trigger.service
  apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer dnf-makecache.timer
  dev-hugepages.mount sys-kernel-debug.mount sys-kernel-tracing.mount sys-fs-fuse-connections.mount
  proc-sys-fs-binfmt_misc.automount remote-fs.target cloud-init-hotplugd.socket cloud-config.service
)

in_root() { chroot "$ROOT" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 "$@"; }

# What Ansible's distribution facts, dnf's $releasever and cloud-init's distro look at.
identity() {
  rm -f "$ROOT/etc/debian_version" "$ROOT/etc/os-release" "$ROOT/etc/dpkg/origins/default" "$ROOT/etc/resolv.conf"
  find "$ROOT/etc/cloud/cloud.cfg.d" -type f ! -name 05_logging.cfg -delete
  cp -R "$HERE/files/." "$ROOT/"
  ln -s ../usr/lib/os-release "$ROOT/etc/os-release"
  ln -sf rocky-release "$ROOT/etc/redhat-release"
  ln -sf rocky-release "$ROOT/etc/system-release"
  mkdir -p "$ROOT"/{usr/libexec,etc/sysconfig,etc/crypto-policies/back-ends,etc/audit/rules.d,var/lib/lab/selinux}
  ln -sf /usr/bin/python3 "$ROOT/usr/libexec/platform-python"
  ln -sf ../selinux/config "$ROOT/etc/sysconfig/selinux"
  : >"$ROOT/etc/default/locale"
  : >"$ROOT/etc/security/pwquality.conf"
  : >"$ROOT/etc/fstab"
  in_root groupadd -f -r wheel
  in_root usermod -p '!!' root # "!!": no password, login by key stays possible
  # As on EL: sudo's path has no /usr/local/bin, so that `sudo rke2` is not found there either.
  sed -i 's|^Defaults.*secure_path=.*|Defaults    secure_path = /sbin:/bin:/usr/sbin:/usr/bin|' "$ROOT/etc/sudoers"
}

packages() {
  local repository
  ln -sf dnf "$ROOT/usr/bin/yum"
  rm -f "$ROOT"/usr/lib/python3/dist-packages/dnf-plugins/{local,show_leaves}.py # EL does not ship these
  mkdir -p "$ROOT/var/lib/rpm" "$ROOT/etc/pki/rpm-gpg" "$ROOT$REPOSITORY"
  "$HERE/rpms/build.sh" "$OUT/rpms"
  for repository in baseos appstream; do mv "$OUT/rpms/$repository" "$ROOT$REPOSITORY/"; done
  mv "$OUT/rpms/RPM-GPG-KEY-lab" "$ROOT/etc/pki/rpm-gpg/"
  mv "$OUT/rpms/installed" "$ROOT/tmp/installed"
  in_root rpm --import /etc/pki/rpm-gpg/RPM-GPG-KEY-lab
  in_root sh -c 'rpm -U --force-debian --nodeps --noscripts /tmp/installed/*.rpm'
  rm -rf "$ROOT/tmp/installed" "$OUT/rpms"
}

# As on EL the unit is sshd.service; it starts after cloud-init has made the host keys.
services() {
  local units=$ROOT/usr/lib/systemd/system unit
  sed -e '/^Alias=/d' -e 's/^Description=.*/Description=OpenSSH server daemon/' "$units/ssh.service" >"$units/sshd.service"
  rm -f "$units"/{ssh.service,ssh.socket,ssh@.service}
  rm -f "$ROOT"/etc/systemd/system/{sshd.service,multi-user.target.wants/ssh.service,sockets.target.wants/ssh.socket}
  ln -s sshd.service "$units/ssh.service"
  ln -sf cron.service "$units/crond.service"
  in_root systemctl --quiet enable sshd.service lab-shadow.service
  for unit in "${MASKED[@]}"; do ln -sf /dev/null "$ROOT/etc/systemd/system/$unit"; done
  ln -sf /usr/lib/systemd/system/multi-user.target "$ROOT/etc/systemd/system/default.target"
  rm -f "$ROOT"/usr/bin/lsmod
  rm -f "$ROOT"/usr/sbin/dhclient # addresses are there before the boot; cloud-init would wait for a lease
  install -m 755 "$HERE"/standins/* "$ROOT/usr/sbin/"
}

# What must differ between machines is absent; an empty machine-id is filled in at each boot.
clean() {
  rm -f "$ROOT"/etc/ssh/ssh_host_* "$ROOT/var/lib/dbus/machine-id" "$ROOT/etc/hostname"
  : >"$ROOT/etc/machine-id"
  printf '127.0.0.1 localhost localhost.localdomain\n' >"$ROOT/etc/hosts"
  rm -rf "$ROOT/var/log/journal" # so that the journal stays in memory, as on EL
  rm -rf "$ROOT"/var/cache/apt/archives/*.deb "$ROOT"/var/lib/apt/lists/* "$ROOT"/var/log/*.log "$ROOT"/var/lib/cloud
  touch "$ROOT/etc/.updated" "$ROOT/var/.updated"
}

cp -a "$DEBIAN/." "$ROOT"
identity
packages
services
clean
