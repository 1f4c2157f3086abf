# shellcheck shell=bash
# go.sh - how the lab builds Go programs: static, reproducible, nothing but the module proxy, caches of its own
# that `lab/lab setup` removes at its end (they grow to 10 GiB).

export GOTOOLCHAIN=local GOFLAGS='-mod=readonly -buildvcs=false'
export GOCACHE=$LAB_CACHE/.go/build GOMODCACHE=$LAB_CACHE/.go/mod

go_build() {
  CGO_ENABLED=0 go build -trimpath "$@"
}
