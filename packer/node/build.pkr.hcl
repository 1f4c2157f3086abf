# Node image: the base image with an RKE2 release staged for a start without any download.

variable "rke2_version" {
  type        = string
  description = "Release to be staged."
  validation {
    condition     = can(regex("^v[0-9]+\\.[0-9]+\\.[0-9]+(-rc[0-9]+)?\\+rke2r[0-9]+$", var.rke2_version))
    error_message = "The rke2_version must look like v1.35.4+rke2r1."
  }
}

variable "rke2_release_dir" {
  type        = string
  description = "Folder with the files of the release under their official names."
}

variable "rke2_image_sets" {
  type        = list(string)
  default     = ["core", "canal"]
  description = "Image archives to be staged, by the part of their name after rke2-images-."
  validation {
    condition     = length(var.rke2_image_sets) > 0 && alltrue([for set in var.rke2_image_sets : can(regex("^[a-z0-9-]+$", set))])
    error_message = "The rke2_image_sets must name at least one archive."
  }
}

variable "fips" {
  type        = bool
  default     = true
  description = "Whether the base image runs in FIPS mode; checked, and recorded."
}

locals {
  ansible_dir    = var.ansible_dir == "" ? "${path.root}/../../ansible" : var.ansible_dir
  ansible_script = var.ansible_script == "" ? "${path.root}/../ansible.sh" : var.ansible_script
  # On the file system where the archives end up, so that they are linked there and not copied.
  upload_dir = "/var/lib/rancher/upload"
  release_files = concat(
    ["sha256sum-amd64.txt", "rke2.linux-amd64.tar.gz"],
    [for set in var.rke2_image_sets : "rke2-images-${set}.linux-amd64.tar.zst"]
  )
  image_manifest = {
    version         = 1
    kind            = "node"
    name            = var.image_name
    fingerprint     = var.fingerprint
    lineage         = var.lineage
    digests         = var.digests
    fips            = var.fips
    rke2_version    = var.rke2_version
    rke2_image_sets = var.rke2_image_sets
  }
  ansible_vars = {
    image_seal_manifest = local.image_manifest
    rke2_version        = var.rke2_version
    rke2_image_sets     = var.rke2_image_sets
    rke2_release_on     = "node"
    rke2_release_dir    = local.upload_dir
  }
}

build {
  name    = "node"
  sources = ["source.amazon-ebs.rocky9", "source.vsphere-clone.rocky9"]

  provisioner "shell" {
    environment_vars = ["FIPS=${var.fips}"]
    execute_command  = "sudo env {{ .Vars }} bash {{ .Path }}"
    script           = "${path.root}/../base/scripts/fips-check.sh"
  }

  provisioner "file" {
    direction   = "download"
    source      = "/etc/ssh/ssh_host_ecdsa_key.pub"
    destination = "${var.work_dir}/host_key.pub"
  }

  provisioner "shell" {
    execute_command = "sudo env {{ .Vars }} bash {{ .Path }}"
    inline          = ["install -d -m 0755 /var/lib/rancher", "install -d -m 0700 -o '${var.ssh_username}' ${local.upload_dir}"]
  }

  provisioner "file" {
    sources     = [for name in local.release_files : "${var.rke2_release_dir}/${name}"]
    destination = "${local.upload_dir}/"
  }

  provisioner "shell-local" {
    environment_vars = [
      "SRE_ANSIBLE_SCRIPT=${local.ansible_script}",
      "SRE_ANSIBLE_DIR=${local.ansible_dir}",
      "SRE_ANSIBLE_PLAYBOOK=${var.ansible_playbook}",
      "SRE_HOST=${build.Host}",
      "SRE_PORT=${build.Port}",
      "SRE_USER=${build.User}",
      "SRE_HOST_KEY_FILE=${var.work_dir}/host_key.pub",
      "SRE_BASTION=${jsonencode(var.ssh_bastion)}",
      "SRE_VARS_FILE=${var.ansible_vars_file}",
      "SRE_VARS=${jsonencode(local.ansible_vars)}",
    ]
    # What stands above becomes part of a command line, which everybody may read; this becomes a file in TMPDIR, 0700,
    # that gives the key through a pipe.
    inline = ["\"$SRE_ANSIBLE_SCRIPT\" node-image.yml <<'KEY'\n${build.SSHPrivateKey}\nKEY\n"]
  }

  # Once more over Packer's own connection, as the very last deed on the machine.
  provisioner "shell" {
    execute_command = "sudo env {{ .Vars }} bash {{ .Path }}"
    script          = "${local.ansible_dir}/roles/image_seal/files/image-check.sh"
  }

  post-processor "manifest" {
    output = var.manifest_path
    custom_data = {
      fingerprint  = var.fingerprint
      kind         = "node"
      rke2_version = var.rke2_version
    }
  }
}
