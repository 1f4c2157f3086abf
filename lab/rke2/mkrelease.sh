#!/bin/bash
# mkrelease.sh VERSION RKE2 RUNTIME HOLLOWCRI OUTDIR
# Lays out a stand-in release with the file names and layout of an official RKE2 release (linux-amd64).
# VERSION like v1.35.4+rke2r1. Image archives are valid docker-save archives (manifest.json first); the only
# layer with content is bin/ of rancher/rke2-runtime, all others are empty.
set -euo pipefail
V=$1 RKE2=$2 RUNTIME=$3 CRI=$4 OUT=$5; HERE=$(cd "$(dirname "$0")" && pwd); P=linux-amd64 TAG=${V//+/-}
T=$(mktemp -d); trap 'rm -rf "$T"' EXIT; rm -rf "$OUT"; mkdir -p "$OUT"
K=${V#v}; K=${K%%+*}; MINOR=${K#*.}; MINOR=${MINOR%%.*}
TAROPT=(--sort=name --mtime=@1767225600 --owner=0 --group=0 --numeric-owner --format=ustar)

# --- install bundle: bin/ lib/systemd/system/ share/rke2/
B=$T/bundle; mkdir -p "$B/bin" "$B/lib/systemd/system" "$B/share/rke2"
install -m 755 "$RKE2" "$B/bin/rke2"; install -m 755 "$HERE"/bundle/rke2-killall.sh "$HERE"/bundle/rke2-uninstall.sh "$B/bin/"
install -m 644 "$HERE"/bundle/rke2-{server,agent}.service "$B/lib/systemd/system/"
for r in server agent; do echo HOME=/root >"$B/lib/systemd/system/rke2-$r.env"; done
install -m 644 "$HERE/bundle/rke2-cis-sysctl.conf" "$B/share/rke2/"
echo 'Lab stand-in. Contains k3s, Kubernetes and etcd (Apache-2.0). Not RKE2.' >"$B/share/rke2/LICENSE.txt"
tar -C "$B" "${TAROPT[@]}" -cf - bin lib share | gzip -n -1 >"$OUT/rke2.$P.tar.gz"
install -m 755 "$RKE2" "$OUT/rke2.$P"

# --- image archives
layer() { # DIR -> file name of an uncompressed layer, named by its digest
  tar -C "$1" "${TAROPT[@]}" -cf "$T/l.tar" .; local d; d=$(sha256sum "$T/l.tar" | cut -d' ' -f1); mkdir -p "$T/layers/$d"; mv "$T/l.tar" "$T/layers/$d/layer.tar"; echo "$d"; }
mkdir -p "$T/empty"; EMPTY=$(layer "$T/empty")
R=$T/rt; mkdir -p "$R/bin" "$R/charts"; install -m 755 "$RUNTIME" "$R/bin/rke2-runtime"
for l in kube-apiserver kube-controller-manager kube-scheduler kubelet kubectl; do ln -s rke2-runtime "$R/bin/$l"; done
install -m 755 "$CRI" "$R/bin/containerd"; install -m 755 "$HERE/hollowcri/containerd-shim-runc-v2" "$R/bin/"
printf '#!/bin/sh\necho "%s: not in the lab stand-in" >&2; exit 1\n' crictl >"$R/bin/crictl"; chmod 755 "$R/bin/crictl"; for l in ctr runc; do ln -s crictl "$R/bin/$l"; done
RUNTIME_LAYER=$(layer "$R")

archive() { # BASE IMAGE... -> rke2-images-BASE (or rke2-images) .tar.zst .tar.gz .txt
  local n=rke2-images${1:+-$1}.$P; shift; local a=$T/a; rm -rf "$a"; mkdir "$a"; local m= rep= i d c
  printf 'docker.io/%s\n' "$@" | sort >"$OUT/$n.txt"
  for i in "$@"; do d=$EMPTY; case $i in rancher/rke2-runtime:*) d=$RUNTIME_LAYER;; esac
    c=$(printf '{"architecture":"amd64","os":"linux","config":{"Labels":{"lab.image":"%s"}},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]},"history":[{"created":"2026-01-01T00:00:00Z","created_by":"lab"}]}' "$i" "$d")
    local h; h=$(printf %s "$c" | sha256sum | cut -d' ' -f1); printf %s "$c" >"$a/$h.json"
    mkdir -p "$a/$d"; ln -f "$T/layers/$d/layer.tar" "$a/$d/layer.tar"; echo 1.0 >"$a/$d/VERSION"
    m+="${m:+,}{\"Config\":\"$h.json\",\"RepoTags\":[\"$i\"],\"Layers\":[\"$d/layer.tar\"]}"; rep+="${rep:+,}\"${i%:*}\":{\"${i##*:}\":\"$d\"}"; done
  printf '[%s]' "$m" >"$a/manifest.json"; printf '{%s}' "$rep" >"$a/repositories"
  (cd "$a"; tar "${TAROPT[@]}" --hard-dereference -cf "$T/$n.tar" manifest.json repositories $(ls -A | grep -v -e '^manifest.json$' -e '^repositories$'))
  zstd -q -f -T2 "-${ZLEVEL:-3}" --long=25 "$T/$n.tar" -o "$OUT/$n.tar.zst"; [ "${NOGZ:-1}" ] || gzip -n -1 <"$T/$n.tar" >"$OUT/$n.tar.gz"; rm "$T/$n.tar"; }
BT=build20260101
CORE=(rancher/rke2-runtime:$TAG rancher/hardened-kubernetes:$TAG-$BT rancher/hardened-etcd:v3.5.16-k3s1-$BT rancher/mirrored-pause:3.10.2 rancher/hardened-coredns:v1.14.1-$BT rancher/hardened-cluster-autoscaler:v1.10.2-$BT
  rancher/hardened-dns-node-cache:1.26.7-$BT rancher/hardened-k8s-metrics-server:v0.8.0-$BT rancher/hardened-addon-resizer:1.8.23-$BT rancher/klipper-helm:v0.9.10-$BT rancher/klipper-lb:v0.4.13 rancher/rke2-cloud-provider:v1.$MINOR.0-$BT rancher/hardened-snapshot-controller:v8.2.0-$BT)
NGINX=(rancher/nginx-ingress-controller:v1.12.6-hardened1 rancher/mirrored-ingress-nginx-kube-webhook-certgen:v1.6.2); TRAEFIK=(rancher/hardened-traefik:v3.5.0-$BT)
CANAL=(rancher/hardened-calico:v3.31.0-$BT rancher/hardened-flannel:v0.27.4-$BT)
if [ "$MINOR" -ge 36 ]; then CORE+=("${TRAEFIK[@]}"); archive ingress-nginx "${NGINX[@]}"; else CORE+=("${NGINX[@]}"); archive traefik "${TRAEFIK[@]}"; fi
archive core "${CORE[@]}"; archive canal "${CANAL[@]}"; archive '' "${CORE[@]}" "${CANAL[@]}"
archive cilium rancher/mirrored-cilium-cilium:v1.18.1; archive calico rancher/mirrored-calico-node:v3.31.0; archive flannel rancher/hardened-flannel:v0.27.4-$BT; archive multus rancher/hardened-multus-cni:v4.2.2-$BT
archive vsphere rancher/mirrored-cloud-provider-vsphere:v1.$MINOR.1 rancher/mirrored-cloud-provider-vsphere-csi-release-driver:v3.7.2 rancher/mirrored-cloud-provider-vsphere-csi-release-syncer:v3.7.2
cat "$OUT"/rke2-images*.txt | sort -u >"$OUT/rke2-images-all.$P.txt"
(cd "$OUT"; sha256sum *amd64* >"$T/s"; mv "$T/s" sha256sum-amd64.txt)
echo "$V: $(ls "$OUT" | wc -l) files, $(du -sh "$OUT" | cut -f1) in $OUT"
