#!/usr/bin/env bash
# build.sh OUT - makes two small signed dnf repositories, OUT/baseos and OUT/appstream, of stand-in packages, and
# OUT/installed with those that the base image has from the start. Names and versions are in the two lists beside this
# file; files of a package lie in PACKAGE/root as they are installed. None of it is Rocky's.
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
OUT=$1
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
export GNUPGHOME=$WORK/gpg
KEY='Lab (not Rocky) <lab@invalid>'
SCRATCH=(--define "_topdir $WORK/rpmbuild" --define '_build_id_links none'
  --define '_source_filedigest_algorithm 8' --define '_binary_filedigest_algorithm 8')

lines() { grep -v '^#' "$1"; }

# tagged TAG VALUE;VALUE: one spec line for each value
tagged() {
  local tag=$1 value
  while IFS= read -r -d ';' value; do [ -z "$value" ] || echo "$tag: $value"; done <<<"$2;"
}

# files NAME: the %files section; what lies under /etc is configuration
files() {
  [ -d "$HERE/$1/root" ] || return 0
  (cd "$HERE/$1/root" && find . -type f -printf '%m /%P\n') | while read -r mode path; do
    case $path in
    /etc/*) echo "%config(noreplace) %attr(640,root,root) $path" ;;
    *) echo "%attr($mode,root,root) $path" ;;
    esac
  done
}

# scriptlets NAME: what systemd's own rpm macros expand to, for a package with units
scriptlets() {
  local units
  units=$(find "$HERE/$1/root" -name '*.service' -printf '%f ' 2>/dev/null) || return 0
  [ -n "$units" ] || return 0
  cat <<SPEC
Requires(post): /bin/sh
%post
systemctl daemon-reload >/dev/null 2>&1 || :
[ \$1 -ne 1 ] || systemctl preset $units >/dev/null 2>&1 || :
%preun
[ \$1 -ne 0 ] || systemctl --no-reload disable --now $units >/dev/null 2>&1 || :
SPEC
}

# package DIRECTORY NAME VERSION-RELEASE TAGS: builds one package into DIRECTORY
package() {
  local directory=$1 name=$2 version=${3%%-*} release=${3#*-} tags=$4 spec=$WORK/$2-$3.spec
  {
    printf 'Name: %s\nVersion: %s\nRelease: %s\n' "$name" "$version" "$release"
    printf 'Summary: lab stand-in for %s\nLicense: Apache-2.0\nBuildArch: noarch\nAutoReqProv: no\n' "$name"
    printf '%s\n' "$tags"
    scriptlets "$name" | grep '^Requires' || :
    printf '%%description\nStand-in, not the real %s.\n%%install\nmkdir -p %%{buildroot}\n' "$name"
    [ ! -d "$HERE/$name/root" ] || printf 'cp -a %s/. %%{buildroot}/\n' "$HERE/$name/root"
    echo '%files'
    files "$name"
    scriptlets "$name" | grep -v '^Requires' || :
  } >"$spec"
  rpmbuild -bb --quiet "${SCRATCH[@]}" "$spec" >"$WORK/log" 2>&1 || {
    cat "$WORK/log" "$spec" >&2
    return 1
  }
  mv "$WORK/rpmbuild/RPMS/noarch/$name-$3.noarch.rpm" "$directory/"
}

mkdir -p "$OUT"/{installed,baseos,appstream}
mkdir -m 700 "$GNUPGHOME"
gpg -q --batch --passphrase '' --quick-gen-key "$KEY" rsa3072 sign never 2>/dev/null
gpg --export -a >"$OUT/RPM-GPG-KEY-lab"

while read -r name version provides; do
  package "$OUT/installed" "$name" "$version" "$(tagged Provides "$provides")"
done < <(lines "$HERE/installed.list")
while read -r repository name version requires; do
  extra=
  [ "$name" != kernel ] || extra="kernel-core = $version"
  [ "$name" != iptables-nft ] || extra="iptables = $version"
  package "$OUT/$repository" "$name" "$version" "$(tagged Requires "$requires")$(printf '\n'; tagged Provides "$extra")"
done < <(lines "$HERE/available.list")

# rpmsign exits 0 even when gpg failed, so its words decide.
rpmsign --define "_gpg_name $KEY" --define "_gpg_path $GNUPGHOME" --define "__gpg $(command -v gpg)" \
  --define '_gpg_digest_algo sha256' --addsign "$OUT"/*/*.rpm >"$WORK/sign.log" 2>&1
if grep '^error' "$WORK/sign.log" >&2; then exit 1; fi
for repository in baseos appstream; do createrepo_c -q "$OUT/$repository"; done
gpgconf --kill gpg-agent
