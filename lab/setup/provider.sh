#!/usr/bin/env bash
# provider.sh - finds OpenTofu's AWS provider and prints a directory with `tofurc`, a configuration that takes it, and the
# vSphere provider where tools.sh has built it, from a mirror on disk and asks no registry. The one for AWS has 700 MB and is not
# built here. It is looked for in this order: SRE_LAB_PROVIDER_DIR, the places where people keep providers, then the
# registry that tofu knows.
set -euo pipefail
SETUP=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=lab/setup/cache.sh
. "$SETUP/cache.sh"
# shellcheck source=lab/setup/made.sh
. "$SETUP/made.sh"
# shellcheck source=lab/versions.env
. "$SETUP/../versions.env"
PLATFORM=linux_amd64
PROGRAM=terraform-provider-aws_v$AWS_PROVIDER_VERSION
PLACES=(
  "${TF_PLUGIN_CACHE_DIR:-}" "$HOME/.terraform.d" "$HOME/.local/share" "$HOME/.cache" "${XDG_CACHE_HOME:-}"
  /opt /usr/local /usr/share /usr/lib /var/lib /var/cache /srv
)

# The directory that holds the provider's program, unpacked, for this platform.
found() {
  local place program
  for place in "${SRE_LAB_PROVIDER_DIR:-}" "${PLACES[@]}"; do
    [ -d "$place" ] || continue
    program=$(find -L "$place" -maxdepth 8 -name "${PROGRAM}*" -type f -perm -u+x ! -path "$LAB_CACHE/*" -print -quit 2>/dev/null || :)
    [ -z "$program" ] || { dirname "$program" && return; }
  done
  return 1
}

# The registry's name for the provider is tofu's own; asking it keeps the mirror right whatever tofu's default is.
write_needs() {
  printf 'terraform {\n  required_providers {\n    aws = {\n      source  = "hashicorp/aws"\n      version = "%s"\n    }\n  }\n}\n' "$AWS_PROVIDER_VERSION" >"$1/needs.tf"
}

tofu() { TF_CLI_CONFIG_FILE=/dev/null CHECKPOINT_DISABLE=1 "$LAB_TOFU/tofu" "$@"; }

# The provider that was built lies beside the other one, under the same registry's name.
add_vsphere() { # OUT
  local where
  where=$1/mirror/$(ls "$1/mirror")/hashicorp/vsphere/$VSPHERE_PROVIDER_VERSION/$PLATFORM
  mkdir -p "$where"
  cp "$LAB_PROVIDER_VSPHERE/terraform-provider-vsphere" "$where/terraform-provider-vsphere_v$VSPHERE_PROVIDER_VERSION"
}

make_mirror() { # FOUND OUT
  local address
  write_needs "$2"
  if [ -n "$1" ]; then
    address=$(tofu -chdir="$2" providers | sed -n 's/.*provider\[\([^]]*\)\].*/\1/p' | head -n 1)
    mkdir -p "$2/mirror/$address/$AWS_PROVIDER_VERSION"
    ln -s "$1" "$2/mirror/$address/$AWS_PROVIDER_VERSION/$PLATFORM"
  else
    tofu -chdir="$2" providers mirror -platform="$PLATFORM" "$2/mirror" || {
      echo "error: the AWS provider $AWS_PROVIDER_VERSION is neither on this machine nor in reach" >&2
      echo "hint:  unpack it anywhere and set SRE_LAB_PROVIDER_DIR to that directory, then lab/lab setup provider" >&2
      return 1
    }
  fi
  rm "$2/needs.tf"
  [ -z "${LAB_PROVIDER_VSPHERE:-}" ] || add_vsphere "$2"
  # The final place: a partial directory gets it when everything above went well.
  printf 'provider_installation {\n  filesystem_mirror {\n    path = "%s/mirror"\n  }\n}\n' "${2%.partial}" >"$2/tofurc"
}

[ -x "${LAB_TOFU:-}/tofu" ] || {
  echo "error: the provider's mirror is laid out with tofu, which is not there yet" >&2
  echo "hint:  lab/lab setup tools provider" >&2
  exit 1
}
place=$(found || :)
cached "aws-provider-$AWS_PROVIDER_VERSION" \
  "$(cache_key "$SETUP/provider.sh" <(echo "$place ${LAB_PROVIDER_VSPHERE:-}"))" make_mirror "$place"
