#!/usr/bin/env bash
# crates.sh take | keep - what the crates that we use compile to, for the next checkout: it is the same everywhere, and takes
# half of a fresh clone's time.
#
#   take  gives a checkout that has compiled nothing what was kept last; cargo compiles what in it is out of date
#   keep  keeps what this checkout has compiled, but for our own crate, unless that is there for this lock file and compiler
set -euo pipefail
SETUP=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=lab/setup/cache.sh
. "$SETUP/cache.sh"
CHECKOUT=${SETUP%/lab/setup}
TARGET=${CARGO_TARGET_DIR:-$CHECKOUT/target}
KEY=$(cache_key "$CHECKOUT/Cargo.lock" "$CHECKOUT/Cargo.toml" <(rustc -vV))

# copied [-l] FROM... TO  copies into a directory, linked where that is one file system
copied() {
  [ "$1" != -l ] || { cp -al "${@:2}" 2>/dev/null && return 0; shift; }
  cp -a "$@"
}

take() {
  local kept=$LAB_CACHE/crates-$KEY one
  [ ! -e "$TARGET/debug/deps" ] || return 0
  for one in "$LAB_CACHE"/crates-*[0-9a-f]; do [ -d "$kept" ] || kept=$one; done
  [ -d "$kept" ] || return 0
  mkdir -p "$TARGET/debug"
  # Cargo writes its fingerprints in place, compilers write files anew.
  copied -l "$kept/deps" "$kept/build" "$TARGET/debug"
  copied "$kept/.fingerprint" "$TARGET/debug"
}

kept_into() {
  local debug=$TARGET/debug part
  mkdir "$1/deps" "$1/build" "$1/.fingerprint"
  find "$debug/deps" -maxdepth 1 -type f -name '*.*' ! -name '*sre_provision*' -print0 | while IFS= read -r -d '' part; do copied -l "$part" "$1/deps"; done
  for part in build .fingerprint; do
    find "$debug/$part" -mindepth 1 -maxdepth 1 -type d ! -name 'sre-provision-*' -print0 |
      while IFS= read -r -d '' one; do
        if [ "$part" = build ]; then copied -l "$one" "$1/build"; else copied "$one" "$1/.fingerprint"; fi
      done
  done
}

keep() {
  local old
  cached crates "$KEY" kept_into >/dev/null
  for old in "$LAB_CACHE"/crates-*[0-9a-f]; do [ "$old" = "$LAB_CACHE/crates-$KEY" ] || rm -r "$old"; done
}

case ${1:-} in
take | keep) "$1" ;;
*) echo "usage: $0 take | keep" >&2 && exit 2 ;;
esac
