#!/usr/bin/env bash
# setup.sh [PART…] - installs and builds everything the lab needs, once; a second time it only looks. Called by
# `lab/lab setup`. Parts: packages python tools rke2 provider cargo image (all of them by default, in an order in
# which a stopped setup has made the quick things), and vsphere and kube-vip, which are made when they are named.
set -euo pipefail
SETUP=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
HERE=${SETUP%/*}
fail() {
  echo "error: $1" >&2
  [ -z "${2:-}" ] || echo "cause: $2" >&2
  [ -z "${3:-}" ] || echo "hint:  $3" >&2
  exit 1
}
# shellcheck source=lab/setup/cache.sh
. "$SETUP/cache.sh"
# shellcheck source=lab/setup/made.sh
. "$SETUP/made.sh"
# shellcheck source=lab/versions.env
. "$HERE/versions.env"

sources() { find "$@" -type f -print | LC_ALL=C sort; }

packages() {
  local missing=() package
  while read -r package; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done < <(grep -v '^#' "$SETUP/packages.list")
  [ ${#missing[@]} -gt 0 ] || return 0
  echo "lab: installing ${missing[*]}" >&2
  apt-get -qq update
  DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends "${missing[@]}" >/dev/null
}

# newest_python: an interpreter of 3.12 or newer, from PATH or pyenv; ansible-core and moto want it
newest_python() {
  local candidate version best='' best_version=3011999
  for candidate in python3.{12..19} "$HOME"/.pyenv/versions/3.1[2-9]*/bin/python3; do
    candidate=$(command -v "$candidate") || continue
    version=$("$candidate" -c 'import sys; print("%d%03d%03d" % sys.version_info[:3])' 2>/dev/null) || continue
    [ "$version" -le "$best_version" ] || best=$candidate best_version=$version
  done
  [ -n "$best" ] || fail "no Python 3.12 or newer" "looked in PATH and ~/.pyenv/versions" "pyenv install 3.13, then lab/lab setup python"
  echo "$best"
}

make_venv() {
  "$1" -m venv "$2"
  "$2/bin/pip" --quiet install --require-hashes --only-binary :all: --requirement "$SETUP/requirements.txt"
  "$2/bin/pip" --quiet install --require-hashes --no-deps --requirement "$SETUP/kickstart.txt"
}

# A venv knows its own path, so it is made under its final name; `made-it` is written when it is whole.
python() {
  local interpreter key out
  interpreter=$(newest_python)
  key=$(cache_key "$SETUP"/{requirements,kickstart}.txt <("$interpreter" -c 'import sys; print(sys.executable, sys.version)'))
  out=$LAB_CACHE/python-$key
  (
    flock 9
    [ ! -e "$out/made-it" ] || exit 0
    rm -rf "$out"
    echo "lab: making python with $interpreter" >&2
    make_venv "$interpreter" "$out"
    touch "$out/made-it"
  ) 9>"$LAB_CACHE/.python.lock"
  made LAB_PYTHON "$out"
}

make_packer_plugins() {
  local name
  for name in amazon vsphere; do
    CHECKPOINT_DISABLE=1 PACKER_PLUGIN_PATH=$1 "$LAB_PACKER/packer" plugins install \
      --path "$(built "packer-plugin-$name")/packer-plugin-$name" "github.com/hashicorp/$name" >/dev/null
  done
}

built() { sed -n "s/^$1=//p" <<<"$BUILT"; }

tools() {
  BUILT=$("$SETUP/tools.sh")
  made LAB_TOFU "$(built tofu)"
  made LAB_PACKER "$(built packer)"
  local out
  out=$(cached packer-plugins "$(cache_key <(echo "$BUILT"))" make_packer_plugins)
  made LAB_PACKER_PLUGINS "$out"
}

# What only a lab with a vCenter wants, so that it is asked for by name.
vsphere() {
  BUILT=$("$SETUP/tools.sh" vsphere)
  made LAB_VCENTER "$(built vcenter)"
  made LAB_PROVIDER_VSPHERE "$(built terraform-provider-vsphere)"
  provider
}

# The vCenter alone, for who asks it and makes nothing.
vcenter() {
  BUILT=$("$SETUP/tools.sh" vcenter)
  made LAB_VCENTER "$(built vcenter)"
}

rke2() {
  local lines line version
  lines=$("$SETUP/rke2.sh")
  while read -r line; do
    version=${line%%=*}
    version=${version#rke2-}
    made "LAB_RELEASE_${version//[!A-Za-z0-9]/_}" "${line#*=}"
  done < <(grep '^rke2-' <<<"$lines")
  made LAB_KUBECTL "$(sed -n 's/^kubectl=//p' <<<"$lines")"
}

# The AWS provider is 700 MB and not built here: SRE_LAB_PROVIDER_DIR, the usual places, then the registry.
provider() {
  local found program="mirror/*/hashicorp/aws/$AWS_PROVIDER_VERSION/*/terraform-provider-aws*"
  [ -z "${LAB_PROVIDER_VSPHERE:-}" ] || program+=" mirror/*/hashicorp/vsphere/$VSPHERE_PROVIDER_VERSION/*/terraform-provider-vsphere*"
  # shellcheck disable=SC2086 # a pattern
  if [ -n "${SRE_LAB_PROVIDER_DIR:-}" ] || ! (cd "${LAB_PROVIDERS:-/nowhere}" && ls $program) >/dev/null 2>&1; then
    found=$("$SETUP/provider.sh")
    made LAB_PROVIDERS "$found"
  fi
}

make_cargo_tools() {
  cargo install --quiet --locked --root "$1" --version "$CARGO_NEXTEST_VERSION" cargo-nextest
  cargo install --quiet --locked --root "$1" --version "$CARGO_DENY_VERSION" cargo-deny
}

cargo_tools() {
  local out
  out=$(CARGO_TARGET_DIR=$LAB_CACHE/.cargo-target cached cargo \
    "$(cache_key <(echo "$CARGO_NEXTEST_VERSION $CARGO_DENY_VERSION" && rustc -vV))" make_cargo_tools)
  rm -rf "$LAB_CACHE/.cargo-target"
  made LAB_CARGO "$out"
}

make_kube_vip() {
  # shellcheck source=lab/setup/go.sh
  . "$SETUP/go.sh"
  cd "$HERE/tools/kube-vip"
  go_build -ldflags '-s -w' -o "$1/kube-vip" github.com/kube-vip/kube-vip
}

# Only the test of an address that servers pass on needs it, so it is made where it is asked for by name.
kube_vip() {
  cached "kube-vip" "$(cache_key "$SETUP/go.sh" "$HERE/tools/kube-vip/go.mod" "$HERE/tools/kube-vip/go.sum")" make_kube_vip >/dev/null
}

image() {
  local debian out recipe=$HERE/machines/image
  debian=$(cached machine-debian "$(cache_key "$recipe/debian.sh")" "$recipe/debian.sh")
  # shellcheck disable=SC2046 # the names have no spaces
  out=$(cached machine-base "$(cache_key $(sources "$recipe"))" "$recipe/build.sh" "$debian")
  made LAB_BASE "$out/root"
}

# Whoever builds holds the caches of Go: a setup of another checkout that ends meanwhile leaves them there.
exec 8>"$LAB_CACHE/.go.lock"
flock --shared 8
PARTS=("$@")
[ $# -gt 0 ] || PARTS=(packages python image tools provider cargo rke2)
for part in "${PARTS[@]}"; do
  case $part in
  packages | python | image | provider | tools | rke2 | vcenter | vsphere) "$part" ;;
  cargo) cargo_tools ;;
  kube-vip) kube_vip ;;
  *) fail "setup: no part \`$part\`" "" "lab/lab setup [packages] [python] [tools] [rke2] [provider] [cargo] [image] [vcenter] [vsphere] [kube-vip]" ;;
  esac
done
[ $# -gt 0 ] || ! flock --exclusive --nonblock 8 || rm -rf "$LAB_CACHE/.go"
