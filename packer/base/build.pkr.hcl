# Base image: Rocky Linux 9, FIPS mode, hardened, sealed.

variable "fips" {
  type        = bool
  default     = true
  description = "Convert the system to FIPS mode (from an AMI or a template; from an ISO it is installed so)."
}

locals {
  ansible_dir    = var.ansible_dir == "" ? "${path.root}/../../ansible" : var.ansible_dir
  ansible_script = var.ansible_script == "" ? "${path.root}/../ansible.sh" : var.ansible_script
  image_manifest = {
    version     = 1
    kind        = "base"
    name        = var.image_name
    fingerprint = var.fingerprint
    lineage     = var.lineage
    digests     = var.digests
    fips        = var.fips
    # A system that was converted after its installation passes the check, but not the wording of the STIG.
    fips_method = var.fips ? (var.source_ami == "" && var.template == "" ? "installed" : "converted") : "none"
  }
}

build {
  name    = "base"
  sources = ["source.amazon-ebs.rocky9", "source.vsphere-iso.rocky9", "source.vsphere-clone.rocky9"]

  provisioner "shell" {
    only              = ["amazon-ebs.rocky9", "vsphere-clone.rocky9"]
    environment_vars  = ["FIPS=${var.fips}"]
    execute_command   = "sudo env {{ .Vars }} bash {{ .Path }}"
    script            = "${path.root}/scripts/fips-enable.sh"
    expect_disconnect = true
    skip_clean        = true
  }

  # Retried while the machine restarts.
  provisioner "shell" {
    environment_vars    = ["FIPS=${var.fips}"]
    execute_command     = "sudo env {{ .Vars }} bash {{ .Path }}"
    script              = "${path.root}/scripts/fips-check.sh"
    start_retry_timeout = "5m"
    max_retries         = 5
  }

  # Ansible's connection is checked against the key that this connection fetches.
  provisioner "file" {
    direction   = "download"
    source      = "/etc/ssh/ssh_host_ecdsa_key.pub"
    destination = "${var.work_dir}/host_key.pub"
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
      "SRE_VARS=${jsonencode({ image_seal_manifest = local.image_manifest, os_hardening_fips = var.fips })}",
    ]
    # What stands above becomes part of a command line, which everybody may read; this becomes a file in TMPDIR, 0700,
    # that gives the key through a pipe.
    inline = ["\"$SRE_ANSIBLE_SCRIPT\" base.yml <<'KEY'\n${build.SSHPrivateKey}\nKEY\n"]
  }

  # Once more over Packer's own connection, as the very last deed on the machine.
  provisioner "shell" {
    execute_command = "sudo env {{ .Vars }} bash {{ .Path }}"
    script          = "${local.ansible_dir}/roles/image_seal/files/image-check.sh"
  }

  post-processor "manifest" {
    output = var.manifest_path
    custom_data = {
      fingerprint = var.fingerprint
      kind        = "base"
    }
  }
}
