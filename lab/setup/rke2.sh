#!/usr/bin/env bash
# rke2.sh - builds the RKE2 stand-in (lab/rke2/README.md) and lays it out as release directories with the official
# file names. Prints `rke2-<version>=DIRECTORY` lines, and `kubectl=DIRECTORY` with the newest one's. About 7 CPU minutes,
# and 7.5 more for each Kubernetes version.
set -euo pipefail
HERE=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=lab/setup/cache.sh
. "$HERE/setup/cache.sh"
# shellcheck source=lab/setup/go.sh
. "$HERE/setup/go.sh"
# shellcheck source=lab/versions.env
. "$HERE/versions.env"
RKE2=$HERE/rke2
NO_COMMIT=0000000000000000000000000000000000000000
STAMP=1767225600 # every build date in the release: 2026-01-01, so that the same sources give the same bytes

# stamps VERSION PACKAGE...: linker flags that make Kubernetes's packages report VERSION
stamps() {
  local version=$1 minor package
  shift
  minor=${version#v1.}
  minor=${minor%%.*}
  for package in "$@"; do
    printf ' -X %s.gitVersion=%s -X %s.gitMajor=1 -X %s.gitMinor=%s' "$package" "$version" "$package" "$package" "$minor"
    printf ' -X %s.gitCommit=%040d -X %s.gitTreeState=clean' "$package" 0 "$package"
    printf ' -X %s.buildDate=%s' "$package" "$(date -u -d "@$STAMP" +%Y-%m-%dT%H:%M:%SZ)"
  done
}
KUBE_VERSIONS=(k8s.io/component-base/version k8s.io/client-go/pkg/version)

build_cri() {
  cd "$RKE2/hollowcri"
  go_build -ldflags '-s -w' -o "$1/hollowcri" .
}

build_runtime() { # VERSION OUT: Kubernetes itself, one multi-call binary
  local version=$1 out=$2 kube work
  kube=${version#v}
  kube=${kube%%+*}
  work=$out/.src
  mkdir "$work"
  cp "$RKE2/runtime/main.go" "$work/"
  cp "$RKE2/runtime/go.mod.$kube" "$work/go.mod"
  cp "$RKE2/runtime/go.sum.$kube" "$work/go.sum"
  cd "$work"
  go_build -ldflags "-s -w$(stamps "$version" "${KUBE_VERSIONS[@]}")" -o "$out/rke2-runtime" .
  rm -rf "$work"
}

build_supervisor() { # VERSION OUT: k3s's supervisor under RKE2's name
  local version=$1 out=$2 k3s=github.com/k3s-io/k3s/pkg/version package
  local flags="-s -w -X $k3s.Program=rke2 -X $k3s.Version=$version -X $k3s.GitCommit=$NO_COMMIT"
  for package in "${KUBE_VERSIONS[@]}"; do flags+=" -X $package.gitVersion=$version"; done
  cd "$RKE2/supervisor"
  go_build -tags 'no_embedded_executor no_stage no_cri_dockerd ctrd netcgo osusergo providerless urfave_cli_no_docs' \
    -ldflags "$flags" -o "$out/rke2" .
}

# The runtime under this name is kubectl.
link_kubectl() { ln -s "$1/rke2-runtime" "$2/kubectl"; } # RUNTIME OUT

sources() { find "$@" -type f -print | LC_ALL=C sort; }

key_of() { # FILE… DIRECTORY: the cache key of files and of all files in a directory
  local files=() directory=${!#} file
  while read -r file; do files+=("$file"); done < <(sources "$directory")
  cache_key "${@:1:$#-1}" "${files[@]}"
}

CRI=$(cached hollowcri "$(key_of "$HERE/setup/go.sh" "$RKE2/hollowcri")" build_cri)
for version in $RKE2_VERSIONS; do
  kube=${version#v}
  kube=${kube%%+*}
  runtime=$(cached "rke2-runtime-$version" \
    "$(cache_key "$HERE/setup/go.sh" "$RKE2/runtime/main.go" "$RKE2/runtime/go.mod.$kube" "$RKE2/runtime/go.sum.$kube")" \
    build_runtime "$version")
  supervisor=$(cached "rke2-supervisor-$version" \
    "$(key_of "$HERE/setup/go.sh" "$RKE2/supervisor")" build_supervisor "$version")
  release=$(cached "rke2-release-$version" \
    "$(LAB_CACHE_SALT="$CRI $runtime $supervisor" key_of "$RKE2/mkrelease.sh" "$RKE2/bundle")" \
    "$RKE2/mkrelease.sh" "$version" "$supervisor/rke2" "$runtime/rke2-runtime" "$CRI/hollowcri")
  echo "rke2-$version=$release"
done
kubectl=$(cached kubectl "$(cache_key <(echo "$runtime"))" link_kubectl "$runtime")
echo "kubectl=$kubectl"
