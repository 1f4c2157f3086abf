#!/bin/sh
# shellcheck disable=SC1091,SC2153,SC2154 # the machine's own; set before it
# Tells what a machine is, one `key=value` a line; changes nothing.
. /etc/os-release 2>/dev/null
echo "system=${ID:-} ${VERSION_ID:-}"
echo "family=${ID:-} ${ID_LIKE:-}"
echo "architecture=$(uname -m)"
echo "id=$(cat /etc/machine-id 2>/dev/null)"
echo "free=$(df -Pk /var/lib | awk 'NR == 2 { print $4 }')"
echo "time=$(date +%s)"
[ ! -e /var/lib/sre-provision/claim ] || echo "claim=$(head -n 1 /var/lib/sre-provision/claim)"
[ ! -d /var/lib/sre-provision/before ] || echo "before=yes"
command -v getenforce >/dev/null && echo "selinux=$(getenforce)"
# shellcheck disable=SC2086 # a list
rpm -q --qf 'package=%{NAME}\n' $PACKAGES 2>/dev/null | grep '^package='
command -v python3 >/dev/null || echo "lacks=python3"
command -v systemctl >/dev/null || echo "lacks=systemd"
for path in /usr/local/bin/rke2 /usr/bin/rke2 /opt/rke2 /etc/rancher/rke2 /var/lib/rancher/rke2 /usr/local/bin/k3s \
  /etc/rancher/k3s /var/lib/rancher/k3s /etc/kubernetes/kubelet.conf /var/lib/etcd/member; do
  [ ! -e "$path" ] || echo "cluster=$path"
done
for unit in rke2-server rke2-agent k3s k3s-agent kubelet; do
  ! systemctl is-active --quiet "$unit.service" || echo "cluster=$unit.service, which runs"
done
exit 0
