#!/usr/bin/env bash
# tools.sh - OpenTofu, Packer and its plugins: taken from their publishers' releases by digest (releases.list) or built
# from their Go modules, and laid out in the cache. Prints nothing but `NAME=DIRECTORY` lines. Only binaries are kept.
# `tools.sh vsphere`: the vSphere provider and the lab's vCenter instead; `tools.sh vcenter`: the latter alone.
set -euo pipefail
HERE=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=lab/setup/cache.sh
. "$HERE/setup/cache.sh"
# shellcheck source=lab/setup/release.sh
. "$HERE/setup/release.sh"
# shellcheck source=lab/setup/go.sh
. "$HERE/setup/go.sh"
# shellcheck source=lab/versions.env
. "$HERE/versions.env"

# build_tool NAME MODULE VERSION OUT: the main package is the module's `tool` line.
build_tool() {
  local name=$1 module=$2 version=$3 out=$4 package ldflags='-s -w'
  cd "$HERE/tools/$name"
  package=$(sed -n 's/^tool //p' go.mod)
  grep -qE "^(require )?[[:space:]]*$module v$version( |\$)" go.mod || {
    echo "lab: $name: go.mod does not pin $module v$version as lab/versions.env says" >&2
    return 1
  }
  [ "$name" != tofu ] || ldflags+=" -X github.com/opentofu/opentofu/version.dev=no"
  go_build -ldflags "$ldflags" -o "$out/$name" "$package"
}

# tool NAME MODULE VERSION: as an earlier setup took or built it; else from its release; else built.
tool() {
  local name=$1 module=$2 version=$3 key dir code=0
  local list=$HERE/setup/releases.list
  key=$(cache_key "$HERE/setup/go.sh" "$HERE/tools/$name/go.mod" "$HERE/tools/$name/go.sum" <(declare -f build_tool))
  if dir=$(released "$list" "$name" "$version"); then
    :
  elif [ -d "$LAB_CACHE/$name-$version-$key" ]; then
    dir=$LAB_CACHE/$name-$version-$key
  else
    dir=$(release "$list" "$name" "$version") || code=$?
    case $code in
    0) ;;
    1) dir=$(cached "$name-$version" "$key" build_tool "$name" "$module" "$version") ;;
    *) return "$code" ;;
    esac
  fi
  echo "$name=$dir"
}

# The lab's vCenter is a program of our own on govmomi's simulator.
build_vcenter() { # OUT
  cd "$HERE/vsphere"
  grep -q "^require github.com/vmware/govmomi v$GOVMOMI_VERSION\$" go.mod || {
    echo "lab: vcenter: go.mod does not pin govmomi v$GOVMOMI_VERSION as lab/versions.env says" >&2
    return 1
  }
  go_build -ldflags '-s -w' -o "$1/vcenter" .
}

vcenter() {
  local key dir
  key=$(cache_key "$HERE/setup/go.sh" "$HERE"/vsphere/*.go "$HERE"/vsphere/go.{mod,sum} <(declare -f build_vcenter))
  dir=$(cached vcenter "$key" build_vcenter)
  echo "vcenter=$dir"
}

vsphere() {
  tool terraform-provider-vsphere github.com/hashicorp/terraform-provider-vsphere "$VSPHERE_PROVIDER_VERSION"
  vcenter
}

case ${1:-} in
vsphere | vcenter)
  "$1"
  exit
  ;;
esac
tool tofu github.com/opentofu/opentofu "$TOFU_VERSION"
tool packer github.com/hashicorp/packer "$PACKER_VERSION"
tool packer-plugin-amazon github.com/hashicorp/packer-plugin-amazon "$PACKER_PLUGIN_AMAZON_VERSION"
tool packer-plugin-vsphere github.com/hashicorp/packer-plugin-vsphere "$PACKER_PLUGIN_VSPHERE_VERSION"
