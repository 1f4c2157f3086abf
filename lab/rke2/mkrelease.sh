#!/usr/bin/env bash
# mkrelease.sh VERSION RKE2 RUNTIME HOLLOWCRI OUTDIR - lays out a stand-in release (README.md) as an official one is for
# linux-amd64: names, archive layouts, checksums. VERSION is like v1.35.4+rke2r1. The same inputs give the same bytes.
#
# Image archives are valid docker-save archives, manifest.json first. The only layer with content is bin/ of
# rancher/rke2-runtime; all other images share one empty layer.
set -euo pipefail
export LC_ALL=C # the order of names is part of the bytes
VERSION=$1 RKE2=$2 RUNTIME=$3 CRI=$4 OUT=$5
HERE=$(cd "$(dirname "$0")" && pwd)
PLATFORM=linux-amd64
TAG=${VERSION//+/-}      # + is no character of an image tag
BUILD=build20260101      # the suffix that hardened images carry
MINOR=${VERSION#v1.}
MINOR=${MINOR%%.*}
TAR=(tar --sort=name --mtime=@1767225600 --owner=0 --group=0 --numeric-owner --format=ustar)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
rm -rf "$OUT"
mkdir -p "$OUT"

# The bundle that a node unpacks below /usr/local: bin, lib/systemd/system, share/rke2.
bundle() {
  local root=$work/bundle role
  local units=$root/lib/systemd/system
  mkdir -p "$root/bin" "$units" "$root/share/rke2"
  install -m 755 "$RKE2" "$root/bin/rke2"
  install -m 755 "$HERE"/bundle/rke2-killall.sh "$HERE"/bundle/rke2-uninstall.sh "$root/bin/"
  install -m 644 "$HERE"/bundle/rke2-{server,agent}.service "$units/"
  for role in server agent; do echo HOME=/root >"$units/rke2-$role.env"; done
  install -m 644 "$HERE/bundle/rke2-cis-sysctl.conf" "$root/share/rke2/"
  echo 'Lab stand-in. Contains k3s, Kubernetes and etcd (Apache-2.0). Not RKE2.' >"$root/share/rke2/LICENSE.txt"
  "${TAR[@]}" -C "$root" -cf - bin lib share | gzip -n -1 >"$OUT/rke2.$PLATFORM.tar.gz"
  install -m 755 "$RKE2" "$OUT/rke2.$PLATFORM"
}

# layer DIR: makes an uncompressed layer of a directory, prints its digest
layer() {
  local digest
  "${TAR[@]}" -C "$1" -cf "$work/layer.tar" .
  digest=$(sha256sum "$work/layer.tar" | cut -d' ' -f1)
  mkdir -p "$work/layers/$digest"
  mv "$work/layer.tar" "$work/layers/$digest/layer.tar"
  echo "$digest"
}

empty_layer() {
  mkdir -p "$work/empty"
  layer "$work/empty"
}

# What RKE2 takes out of rancher/rke2-runtime: Kubernetes under its names, the container runtime, charts (none here).
runtime_layer() {
  local root=$work/runtime name
  mkdir -p "$root/bin" "$root/charts"
  install -m 755 "$RUNTIME" "$root/bin/rke2-runtime"
  for name in kube-apiserver kube-controller-manager kube-scheduler kubelet kubectl; do
    ln -s rke2-runtime "$root/bin/$name"
  done
  install -m 755 "$CRI" "$root/bin/containerd"
  install -m 755 "$HERE/hollowcri/containerd-shim-runc-v2" "$root/bin/"
  printf '#!/bin/sh\necho "%s: not in the lab stand-in" >&2; exit 1\n' crictl >"$root/bin/crictl"
  chmod 755 "$root/bin/crictl"
  for name in ctr runc; do ln -s crictl "$root/bin/$name"; done
  layer "$root"
}

# image_config IMAGE LAYER: an image's configuration, which names its one layer
image_config() {
  printf '{"architecture":"amd64","os":"linux","config":{"Labels":{"lab.image":"%s"}},' "$1"
  printf '"rootfs":{"type":"layers","diff_ids":["sha256:%s"]},' "$2"
  printf '"history":[{"created":"2026-01-01T00:00:00Z","created_by":"lab"}]}'
}

# archive SET IMAGE…: rke2-images-SET (or rke2-images, for an empty SET) as .tar.zst and .txt
archive() {
  local name=rke2-images${1:+-$1}.$PLATFORM root=$work/archive
  local image layer config digest manifest='' repositories='' rest
  shift
  rm -rf "$root"
  mkdir "$root"
  printf 'docker.io/%s\n' "$@" | sort >"$OUT/$name.txt"
  for image in "$@"; do
    layer=$EMPTY_LAYER
    case $image in rancher/rke2-runtime:*) layer=$RUNTIME_LAYER ;; esac
    config=$(image_config "$image" "$layer")
    digest=$(printf %s "$config" | sha256sum | cut -d' ' -f1)
    printf %s "$config" >"$root/$digest.json"
    mkdir -p "$root/$layer"
    ln -f "$work/layers/$layer/layer.tar" "$root/$layer/layer.tar"
    echo 1.0 >"$root/$layer/VERSION"
    manifest+="${manifest:+,}{\"Config\":\"$digest.json\",\"RepoTags\":[\"$image\"],\"Layers\":[\"$layer/layer.tar\"]}"
    repositories+="${repositories:+,}\"${image%:*}\":{\"${image##*:}\":\"$layer\"}"
  done
  mapfile -t rest < <(cd "$root" && printf '%s\n' *)
  printf '[%s]' "$manifest" >"$root/manifest.json"
  printf '{%s}' "$repositories" >"$root/repositories"
  "${TAR[@]}" -C "$root" --hard-dereference -cf "$work/$name.tar" manifest.json repositories "${rest[@]}"
  zstd -q -f -T2 -3 --long=25 "$work/$name.tar" -o "$OUT/$name.tar.zst"
  rm "$work/$name.tar"
}

bundle
EMPTY_LAYER=$(empty_layer)
RUNTIME_LAYER=$(runtime_layer)

core=(
  "rancher/rke2-runtime:$TAG"
  "rancher/hardened-kubernetes:$TAG-$BUILD"
  "rancher/hardened-etcd:v3.5.16-k3s1-$BUILD"
  rancher/mirrored-pause:3.10.2
  "rancher/hardened-coredns:v1.14.1-$BUILD"
  "rancher/hardened-cluster-autoscaler:v1.10.2-$BUILD"
  "rancher/hardened-dns-node-cache:1.26.7-$BUILD"
  "rancher/hardened-k8s-metrics-server:v0.8.0-$BUILD"
  "rancher/hardened-addon-resizer:1.8.23-$BUILD"
  "rancher/klipper-helm:v0.9.10-$BUILD"
  rancher/klipper-lb:v0.4.13
  "rancher/rke2-cloud-provider:v1.$MINOR.0-$BUILD"
  "rancher/hardened-snapshot-controller:v8.2.0-$BUILD"
)
nginx=(
  rancher/nginx-ingress-controller:v1.12.6-hardened1
  rancher/mirrored-ingress-nginx-kube-webhook-certgen:v1.6.2
)
traefik=("rancher/hardened-traefik:v3.5.0-$BUILD")
canal=("rancher/hardened-calico:v3.31.0-$BUILD" "rancher/hardened-flannel:v0.27.4-$BUILD")
vsphere=(
  "rancher/mirrored-cloud-provider-vsphere:v1.$MINOR.1"
  rancher/mirrored-cloud-provider-vsphere-csi-release-driver:v3.7.2
  rancher/mirrored-cloud-provider-vsphere-csi-release-syncer:v3.7.2
)

# The core holds the default ingress controller, which 1.36 changes; the other one has an archive of its own.
if [ "$MINOR" -ge 36 ]; then
  core+=("${traefik[@]}")
  archive ingress-nginx "${nginx[@]}"
else
  core+=("${nginx[@]}")
  archive traefik "${traefik[@]}"
fi
archive core "${core[@]}"
archive canal "${canal[@]}"
archive '' "${core[@]}" "${canal[@]}"
archive cilium rancher/mirrored-cilium-cilium:v1.18.1
archive calico rancher/mirrored-calico-node:v3.31.0
archive flannel "rancher/hardened-flannel:v0.27.4-$BUILD"
archive multus "rancher/hardened-multus-cni:v4.2.2-$BUILD"
archive vsphere "${vsphere[@]}"

cat "$OUT"/rke2-images*.txt | sort -u >"$OUT/rke2-images-all.$PLATFORM.txt"
(cd "$OUT" && sha256sum ./*amd64* | sed 's|  \./|  |') >"$work/sums"
mv "$work/sums" "$OUT/sha256sum-amd64.txt"
names=("$OUT"/*)
echo "$VERSION: ${#names[@]} files, $(du -sh "$OUT" | cut -f1) in $OUT"
