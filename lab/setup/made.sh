# shellcheck shell=bash
# made.sh - what `lab/lab setup` has made, and the variables that follow from it: sourced, after cache.sh.
#
# made NAME VALUE            remembers a place, for this checkout
# made_or_hint NAME PART     stops with a hint when setup has not made it
# lab_environment            exports what a command of the lab sees; lab_variables prints it

CHECKOUT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
MADE=$LAB_CACHE/made-$(sha256sum <<<"$CHECKOUT" | cut -c1-16).env
# shellcheck source=/dev/null
[ ! -e "$MADE" ] || . "$MADE"

made() {
  (
    flock 9
    { [ ! -e "$MADE" ] || grep -v "^$1=" "$MADE" || :; printf '%s=%q\n' "$1" "$2"; } >"$MADE.partial"
    mv "$MADE.partial" "$MADE"
  ) 9>"$MADE.lock"
  printf -v "$1" %s "$2"
}

made_or_hint() {
  [ -d "${!1:-}" ] || fail "the lab has no $2 yet" "" "lab/lab setup $2"
}

# The names that a command of the lab finds set, in the order in which they are printed.
LAB_VARIABLES=(
  AWS_ENDPOINT_URL AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_REGION AWS_DEFAULT_REGION AWS_EC2_METADATA_DISABLED
  TF_CLI_CONFIG_FILE PACKER_PLUGIN_PATH CHECKPOINT_DISABLE LAB_RELEASES_URL
  INSTALL_RKE2_ARTIFACT_PATH SRE_LAB LAB_NAME PATH VSPHERE_SERVER VSPHERE_USER VSPHERE_PASSWORD SSL_CERT_FILE
)

lab_environment() {
  local tool tools=
  for tool in "${LAB_PYTHON:+$LAB_PYTHON/bin}" "${LAB_TOFU:-}" "${LAB_PACKER:-}" "${LAB_CARGO:+$LAB_CARGO/bin}" "${LAB_KUBECTL:-}"; do
    [ -z "$tool" ] || tools+=$tool:
  done
  export PATH=$tools$PATH
  export AWS_ENDPOINT_URL=http://127.0.0.1:4566 AWS_ACCESS_KEY_ID=AKIALABLABLABLABLAB0 AWS_SECRET_ACCESS_KEY=of-the-lab-only
  export AWS_REGION=us-east-1 AWS_DEFAULT_REGION=us-east-1 AWS_EC2_METADATA_DISABLED=true
  export CHECKPOINT_DISABLE=1 LAB_RELEASES_URL=http://127.0.0.1:8080
  export INSTALL_RKE2_ARTIFACT_PATH=$LAB_RELEASES_URL SRE_LAB=1
  export VSPHERE_SERVER=vcenter.example.internal VSPHERE_USER=sre@vsphere.local VSPHERE_PASSWORD=of-the-lab-only
  # Trusted by Go, OpenSSL and rustls alike, beside what else this machine trusts where they read SSL_CERT_DIR.
  [ ! -e "$LAB_DIR/vsphere/ca.pem" ] || export SSL_CERT_FILE=$LAB_DIR/vsphere/ca.pem
  [ -z "${LAB_PROVIDERS:-}" ] || export TF_CLI_CONFIG_FILE=$LAB_PROVIDERS/tofurc
  [ -z "${LAB_PACKER_PLUGINS:-}" ] || export PACKER_PLUGIN_PATH=$LAB_PACKER_PLUGINS
  # What the caller's shell may have set for the world outside.
  unset VSPHERE_ALLOW_UNVERIFIED_SSL CURL_CA_BUNDLE AWS_PROFILE AWS_SESSION_TOKEN AWS_CONFIG_FILE AWS_SHARED_CREDENTIALS_FILE
  unset http_proxy https_proxy all_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY
}

lab_variables() {
  local name
  for name in "${LAB_VARIABLES[@]}"; do printf '%s=%q\n' "$name" "${!name:-}"; done
}
