# Rocky Linux 9, minimal, partitions as the STIG asks; fips=1 comes from the kernel line.
text
cdrom
lang en_US.UTF-8
keyboard us
timezone Etc/UTC --utc
network --bootproto=dhcp --onboot=yes --hostname=localhost.localdomain
rootpw --lock
user --name=${ssh_username} --groups=wheel --lock
sshkey --username=${ssh_username} "${ssh_public_key}"
selinux --enforcing
firewall --enabled --ssh
services --enabled=sshd,chronyd
bootloader --append="audit=1 audit_backlog_limit=8192 vsyscall=none page_poison=1 init_on_free=1 pti=on"
zerombr
clearpart --all --initlabel
part /boot/efi --fstype=efi --size=600 --fsoptions="umask=0077,nodev,nosuid"
part /boot --fstype=xfs --size=2048 --fsoptions="nodev,nosuid"
part pv.1 --size=1 --grow
volgroup rl pv.1
logvol / --vgname=rl --name=root --fstype=xfs --size=15360
logvol /home --vgname=rl --name=home --fstype=xfs --size=2048 --fsoptions="nodev,nosuid,noexec"
logvol /tmp --vgname=rl --name=tmp --fstype=xfs --size=4096 --fsoptions="nodev,nosuid,noexec"
logvol /var --vgname=rl --name=var --fstype=xfs --size=10240 --fsoptions="nodev"
logvol /var/tmp --vgname=rl --name=vartmp --fstype=xfs --size=4096 --fsoptions="nodev,nosuid,noexec"
logvol /var/log --vgname=rl --name=varlog --fstype=xfs --size=8192 --fsoptions="nodev,nosuid,noexec"
logvol /var/log/audit --vgname=rl --name=audit --fstype=xfs --size=10240 --fsoptions="nodev,nosuid,noexec"
logvol /var/lib/rancher --vgname=rl --name=rancher --fstype=xfs --size=40960 --grow --fsoptions="nodev"
reboot --eject
%packages
@^minimal-environment
audit
cloud-init
crypto-policies-scripts
open-vm-tools
python3
%end
%addon com_redhat_kdump --disable
%end
%post --erroronfail
echo '${ssh_username} ALL=(ALL) NOPASSWD:ALL' >/etc/sudoers.d/90-cloud-init-users
chmod 0440 /etc/sudoers.d/90-cloud-init-users
echo 'tmpfs /dev/shm tmpfs nodev,nosuid,noexec 0 0' >>/etc/fstab
%end
