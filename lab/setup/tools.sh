#!/usr/bin/env bash
# tools.sh - builds OpenTofu, Packer and its plugins from their Go modules and lays them out in the cache.
# Prints nothing but `NAME=DIRECTORY` lines. Only the binaries are kept.
set -euo pipefail
HERE=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=lab/setup/cache.sh
. "$HERE/setup/cache.sh"
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

tool() {
  local name=$1 module=$2 version=$3 dir
  dir=$(cached "$name-$version" "$(cache_key "$HERE/setup/tools.sh" "$HERE/setup/go.sh" "$HERE/tools/$name/go.mod" "$HERE/tools/$name/go.sum")" \
    build_tool "$name" "$module" "$version")
  echo "$name=$dir"
}

tool tofu github.com/opentofu/opentofu "$TOFU_VERSION"
tool packer github.com/hashicorp/packer "$PACKER_VERSION"
tool packer-plugin-amazon github.com/hashicorp/packer-plugin-amazon "$PACKER_PLUGIN_AMAZON_VERSION"
tool packer-plugin-vsphere github.com/hashicorp/packer-plugin-vsphere "$PACKER_PLUGIN_VSPHERE_VERSION"
