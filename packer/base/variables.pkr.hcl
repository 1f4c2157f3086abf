# Variables of both images on both platforms. None of them is secret but those marked sensitive.

variable "image_name" {
  type        = string
  description = "Name of the AMI or template. Must not exist."
  validation {
    condition     = can(regex("^[A-Za-z0-9 ()./_-]{3,80}$", var.image_name))
    error_message = "The image_name must be 3 to 80 letters, digits, spaces or ()./_- characters."
  }
}

variable "fingerprint" {
  type        = string
  description = "Digest over everything the image is made of; written into /etc/sre-image.json."
  validation {
    condition     = can(regex("^[0-9a-f]{16,64}$", var.fingerprint))
    error_message = "The fingerprint must be 16 to 64 lower-case hexadecimal digits."
  }
}

variable "lineage" {
  type        = list(string)
  default     = []
  description = "Ids of the images this one stems from, oldest first; written into /etc/sre-image.json."
}

variable "digests" {
  type        = map(string)
  default     = {}
  description = "Digests of what went into the image, by name; written into /etc/sre-image.json."
}

variable "tags" {
  type        = map(string)
  default     = {}
  description = "Tags of the finished image and its snapshots."
  validation {
    condition     = alltrue([for value in values(var.tags) : !can(regex("\\{\\{", value))])
    error_message = "The tags must not contain two opening braces: Packer would evaluate them."
  }
}

variable "run_tags" {
  type        = map(string)
  default     = {}
  description = "Tags of everything temporary: machine, volumes, key pair, security group."
  validation {
    condition     = alltrue([for value in values(var.run_tags) : !can(regex("\\{\\{", value))])
    error_message = "The run_tags must not contain two opening braces: Packer would evaluate them."
  }
}

variable "manifest_path" {
  type        = string
  description = "Where to write Packer's manifest. A fresh path for each run."
}

variable "work_dir" {
  type        = string
  description = "Folder for what this run needs to remember, such as the machine's host key. A fresh one for each run."
}

variable "ansible_playbook" {
  type        = string
  default     = "ansible-playbook"
  description = "The ansible-playbook program, ansible-core 2.19 or later."
}

variable "ansible_script" {
  type        = string
  default     = ""
  description = "Path of ansible.sh. Default is the one beside the folder of this template."
}

variable "ansible_vars_file" {
  type        = string
  default     = ""
  description = "File (JSON or YAML) with further variables of the roles."
}

variable "ansible_dir" {
  type        = string
  default     = ""
  description = "Folder with playbooks and roles. Default is `ansible` beside the folder `packer`."
}

variable "ssh_username" {
  type        = string
  default     = "rocky"
  description = "User that builds; must be allowed to use sudo without a password."
}

variable "ssh_private_key_file" {
  type        = string
  default     = ""
  description = "Private key to log in with, RSA of at least 3072 bits or ECDSA. Empty on AWS: a temporary key pair of EC2 (RSA, 2048 bits)."
}

variable "ssh_public_key" {
  type        = string
  default     = ""
  description = "Public half of ssh_private_key_file, handed to the machine by cloud-init (AWS) or kickstart (vSphere)."
  validation {
    condition     = var.ssh_public_key == "" || can(regex("^(ssh-rsa|ecdsa-sha2-nistp(256|384|521)) [A-Za-z0-9+/=]+", var.ssh_public_key))
    error_message = "The ssh_public_key must be an RSA or ECDSA key: others do not work in FIPS mode."
  }
}

variable "ssh_timeout" {
  type        = string
  default     = "10m"
  description = "How long to wait for the machine's SSH service."
}

variable "ssh_bastion" {
  type = object({
    host             = string
    port             = number
    username         = string
    private_key_file = string
    known_hosts_file = string
  })
  default     = null
  description = "Jump machine through which the machine is reached; null for none. Its host key is checked against known_hosts_file (by Ansible's connection)."
}

variable "ssh_key_exchange_algorithms" {
  type        = list(string)
  default     = ["ecdh-sha2-nistp256", "ecdh-sha2-nistp384", "ecdh-sha2-nistp521"]
  description = "Key exchange of Packer's own connection; the default works in FIPS mode."
}

variable "ssh_ciphers" {
  type        = list(string)
  default     = ["aes256-gcm@openssh.com", "aes128-gcm@openssh.com", "aes256-ctr", "aes128-ctr"]
  description = "Ciphers of Packer's own connection; the default works in FIPS mode."
}
