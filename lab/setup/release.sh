# shellcheck shell=bash
# release.sh - tools from their publishers' releases: sourced, after cache.sh.
#
# released LIST NAME VERSION   prints the directory with the program NAME, if an earlier setup took it
# release LIST NAME VERSION    takes it: downloads the archive that LIST names and unpacks NAME when its digest is the
#                              one in LIST; prints the directory. Ends with 1 when there is none for this machine or
#                              it is not in reach, and with 2 when what came is not what LIST names
#
# SRE_LAB_TOOL_MIRROR, a URL with the archives in it, stands for the publishers' addresses.

# listed LIST NAME VERSION: digest and address; fails when it is not listed
listed() {
  [ "$(uname -m)" = x86_64 ] || return 1
  awk -v name="$2" -v version="$3" '$1 == name && $2 == version { print $3, $4; found = 1 } END { exit !found }' "$1"
}

released() {
  local line
  line=$(listed "$@") || return 1
  [ -d "$LAB_CACHE/$2-$3-${line:0:16}" ] && echo "$LAB_CACHE/$2-$3-${line:0:16}"
}

unpack_program() { # ARCHIVE NAME OUT
  unzip -q "$1" "$2" -d "$3" && chmod 0755 "$3/$2"
}

release() {
  local name=$2 version=$3 line digest url archive code=0
  line=$(listed "$@") || return 1
  digest=${line%% *} url=${line#* }
  [ -z "${SRE_LAB_TOOL_MIRROR:-}" ] || url=${SRE_LAB_TOOL_MIRROR%/}/${url##*/}
  archive=$(mktemp "$LAB_CACHE/.download.XXXXXX")
  take_release || code=$?
  rm -f "$archive"
  return "$code"
}

# Of release(), whose variables it uses, so that the archive goes whatever comes of it.
take_release() {
  local said got
  if ! said=$(curl --fail --silent --show-error --location --connect-timeout 10 --max-time 900 --output "$archive" "$url" 2>&1); then
    echo "lab: $name $version is not in reach, so it is built ($url: ${said:-no answer})" >&2
    return 1
  fi
  got=$(sha256sum <"$archive")
  if [ "${got%% *}" != "$digest" ]; then
    echo "error: $url is not the release of $name $version that lab/setup/releases.list names" >&2
    echo "cause: its SHA-256 is ${got%% *}, expected is $digest" >&2
    echo "hint:  compare with the publisher's own list; without the line in releases.list the tool is built from source" >&2
    return 2
  fi
  cached "$name-$version" "${digest:0:16}" unpack_program "$archive" "$name" || {
    echo "error: the release of $name $version holds no program \`$name\`: $url" >&2
    return 2
  }
}
