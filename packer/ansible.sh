#!/bin/bash
# ansible.sh PLAYBOOK <KEY - runs a playbook on the machine that Packer builds; called by shell-local in packer/*/build.pkr.hcl,
# which gives the machine's private key, kept in a 0600 file on tmpfs while the playbook runs, and sets
#   SRE_HOST SRE_PORT SRE_USER      the machine
#   TMPDIR                          where that file lies, if it is on tmpfs: whoever set it takes away what a kill left; else below /dev/shm
#   SRE_HOST_KEY_FILE               the machine's public host key, which Packer's own connection has fetched; nothing else is accepted
#   SRE_BASTION                     JSON: null, or host, port, username, private_key_file, known_hosts_file
#   SRE_ANSIBLE_DIR SRE_ANSIBLE_PLAYBOOK SRE_VARS (JSON) SRE_VARS_FILE (or empty)
# SRE_EVENTS_FILE and SRE_STOP_FILE pass through to the callback plugin.
set -euo pipefail
umask 077
playbook=$1

is_tmpfs() { [[ $(stat --file-system --format=%T "$1") == tmpfs ]]; }
place=${TMPDIR:-/dev/shm}
is_tmpfs "$place" || place=/dev/shm
is_tmpfs "$place" || { echo "ansible: neither TMPDIR nor /dev/shm is on tmpfs, refusing to write a private key there" >&2; exit 1; }
# A short name: SSH's socket lies there too, and the path of a socket has 107 bytes at most.
work=$(mktemp -d "$place/play.XXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 143' TERM INT HUP
# Never in a variable: whoever may look at a process may read its environment.
cat >"$work/key"
exec </dev/null
printf '%s\n' "$SRE_VARS" >"$work/vars.json"

read -r key_type key _ <"$SRE_HOST_KEY_FILE"
[[ $key_type == ecdsa-sha2-nistp* && -n $key ]] || { echo "ansible: no ECDSA host key in $SRE_HOST_KEY_FILE" >&2; exit 1; }
echo "image-build $key_type $key" >"$work/known_hosts"

cat >"$work/ssh_config" <<X
Host *
  IdentitiesOnly yes
  StrictHostKeyChecking yes
  BatchMode yes
  ConnectTimeout 15
  ServerAliveInterval 10
  ServerAliveCountMax 6
  UpdateHostKeys no
X
bastion() { python3 -c 'import json,sys; print(json.loads(sys.argv[1])[sys.argv[2]])' "$SRE_BASTION" "$1"; }
if [[ $SRE_BASTION != null ]]; then
  cat >>"$work/ssh_config" <<X
Host bastion
  HostName $(bastion host)
  Port $(bastion port)
  User $(bastion username)
  IdentityFile $(bastion private_key_file)
  UserKnownHostsFile $(bastion known_hosts_file)
X
  proxy="-o ProxyJump=bastion"
fi

export ANSIBLE_CONFIG=$SRE_ANSIBLE_DIR/ansible.cfg ANSIBLE_HOME=$work/home ANSIBLE_NOCOLOR=1
export ANSIBLE_SSH_CONTROL_PATH_DIR=$work
# One connection for the whole run: when the image is sealed no second one can be opened.
export ANSIBLE_SSH_ARGS="-F $work/ssh_config -o ControlMaster=auto -o ControlPersist=600s -o HostKeyAlias=image-build \
-o HostKeyAlgorithms=$key_type -o UserKnownHostsFile=$work/known_hosts ${proxy:-}"
extra=(--extra-vars "@$work/vars.json")
[[ -z $SRE_VARS_FILE ]] || extra=(--extra-vars "@$SRE_VARS_FILE" "${extra[@]}")

"$SRE_ANSIBLE_PLAYBOOK" --inventory "$SRE_HOST," --user "$SRE_USER" --private-key "$work/key" \
  --extra-vars "ansible_port=$SRE_PORT" "${extra[@]}" "$SRE_ANSIBLE_DIR/$playbook"
