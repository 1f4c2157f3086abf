# shellcheck shell=bash
# cache.sh - a cache keyed by content: sourced by the other scripts of lab/setup.
#
# cache_key FILE...        prints a digest over the files' names and contents and LAB_CACHE_SALT; what compiles them is no
#                          part of it: another Go makes nothing anew
# cached NAME KEY COMMAND  runs COMMAND OUT (a function or program that fills the directory OUT) unless
#                          NAME-KEY is there already; prints the directory
#
# A directory gets its final name only when COMMAND succeeded, so a build that stopped or failed is never taken for a
# whole one. For a function as COMMAND: the first of its commands that fails ends it, as long as `cached` itself stands in
# no condition (`if`, `||`); there, only the last one counts.

# Without it a failure inside $(…) is passed over, whatever `set -e` says.
shopt -s inherit_errexit

LAB_CACHE=${SRE_LAB_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/sre-provision/lab}
mkdir -p "$LAB_CACHE"

cache_key() {
  { for f in "$@"; do
      printf '%s\n' "${f##*/}"
      cat "$f"
    done
    printf '%s\n' "${LAB_CACHE_SALT:-}"
  } | sha256sum | cut -c1-16
}

cached() {
  local name=$1 key=$2 out tmp started code
  shift 2
  out=$LAB_CACHE/$name-$key
  if [ ! -d "$out" ]; then
    (
      flock 9
      [ ! -d "$out" ] || exit 0
      tmp=$out.partial
      rm -rf "$tmp"
      mkdir -p "$tmp"
      started=$SECONDS
      echo "lab: making $name" >&2
      "$@" "$tmp" >&2
      code=$?
      [ "$code" = 0 ] || exit "$code"
      mv "$tmp" "$out"
      echo "lab: made $name in $((SECONDS - started)) s" >&2
    ) 9>"$LAB_CACHE/.$name.lock"
    code=$?
    [ "$code" = 0 ] || return "$code"
  fi
  echo "$out"
}
