#!/bin/sh
# shellcheck disable=SC2034 # read by those that come behind
# What our roles and RKE2 may make or change on a machine. Read by claim.sh and leave.sh, which come behind it.
KEPT=/var/lib/sre-provision
# Made by us, or there before: what was not there before goes when we leave, what was there stays as it is.
MADE='
/usr/local/bin/rke2
/usr/local/bin/rke2-killall.sh
/usr/local/bin/rke2-uninstall.sh
/usr/local/lib/systemd/system/rke2-server.service
/usr/local/lib/systemd/system/rke2-server.env
/usr/local/lib/systemd/system/rke2-agent.service
/usr/local/lib/systemd/system/rke2-agent.env
/usr/local/share/rke2
/etc/rancher
/etc/cni
/etc/sysctl.d/60-rke2.conf
/etc/sysctl.d/99-zz-os-hardening.conf
/etc/modules-load.d/rke2.conf
/etc/modprobe.d/os-hardening.conf
/etc/NetworkManager/conf.d/rke2-cni.conf
/etc/fapolicyd/rules.d/80-rke2.rules
/etc/systemd/system/rke2-server.service.d
/etc/systemd/system/rke2-agent.service.d
/etc/ssh/sshd_config.d/00-os-hardening.conf
/etc/ssh/sshd_config.d/00-os-hardening-algorithms.conf
/etc/profile.d/tmout.sh
/etc/sre-hardening.json
/opt/cni
/opt/rke2
/var/lib/rancher
/var/lib/kubelet
/var/lib/cni
/var/lib/calico
/var/log/pods
/var/log/containers
/var/log/faillock
/run/k3s
/root/.kube
'
# Made with them; goes only when nothing else is in it.
EMPTIED='
/usr/local/lib/systemd/system
/usr/local/lib/systemd
/etc/sysctl.d
/etc/modules-load.d
/etc/modprobe.d
'
# Changed in place: comes back as it was.
CHANGED='
/etc/issue
/etc/issue.net
/etc/login.defs
/etc/profile
/etc/bashrc
/etc/csh.cshrc
/etc/nsswitch.conf
/etc/ssh/sshd_config
/etc/security/pwquality.conf
/etc/security/faillock.conf
/etc/audit
/etc/authselect
/etc/pam.d
/var/lib/authselect
'
# Of these, what one tool alone writes and comes back whole.
WHOLE='
/etc/authselect
/var/lib/authselect
'
# What we add in folders of others.
added() {
  ls -d /etc/audit/rules.d/30-os-hardening-*.rules /etc/audit/rules.d/99-os-hardening.rules /etc/audit/audit.rules \
    /etc/audit/auditd.conf.rpmsave 2>/dev/null || :
  find /etc/pam.d -type l -lname '/etc/authselect/*' 2>/dev/null || :
}
# Only their owners and modes may have been changed.
moded() {
  ls -d /etc/* /etc/ssh/* /etc/ssh/sshd_config.d/* /etc/audit/* /etc/audit/rules.d/* /etc/cron*/* /boot/grub2/grub.cfg /var/log /var/log/messages /root /home/* 2>/dev/null || :
  find /usr/bin /usr/sbin /usr/libexec /usr/local/bin /usr/local/sbin /usr/lib /usr/lib64 -xdev -type f -perm /022 2>/dev/null || :
  find / -xdev -path /var/lib/rancher -prune -o -path /var/lib/kubelet -prune -o -type d -perm -0002 ! -perm -1000 -print 2>/dev/null || :
}
# Installed where missing.
PACKAGES='iptables-nft container-selinux rke2-selinux audit authselect crypto-policies-scripts openssh-server sudo'
# Switched off, or on.
UNITS='firewalld.service nm-cloud-setup.timer nm-cloud-setup.service auditd.service'
