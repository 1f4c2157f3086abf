# The base image on vSphere is installed from an ISO, with fips=1 from the first boot of the installer.

variable "iso_path" {
  type        = string
  default     = ""
  description = "Installation ISO on a datastore: `[datastore] path/Rocky-9-x86_64-dvd.iso`. Used instead of iso_url."
  validation {
    condition     = var.iso_path == "" || can(regex("^\\[[^\\]]+\\] ?[^ ].*\\.iso$", var.iso_path))
    error_message = "The iso_path must name a datastore in brackets and a file that ends in .iso: [datastore] path/file.iso."
  }
}

variable "iso_url" {
  type        = string
  default     = ""
  description = "Installation ISO to be uploaded."
}

variable "iso_checksum" {
  type        = string
  default     = ""
  description = "Checksum of iso_url, `sha256:<64 hex>`."
  validation {
    condition     = var.iso_checksum == "" || can(regex("^sha256:[0-9a-f]{64}$", var.iso_checksum))
    error_message = "The iso_checksum must be sha256: and 64 hexadecimal digits."
  }
}

variable "disk_size" {
  type        = number
  default     = 102400
  description = "Size of the disk in MiB, laid out by the kickstart file."
  validation {
    condition     = var.disk_size >= 102400
    error_message = "The disk_size must be at least 102400: the kickstart file lays out 100 GiB."
  }
}

source "vsphere-iso" "rocky9" {
  vcenter_server = var.vcenter_server
  username       = var.vcenter_user
  password       = var.vcenter_password
  datacenter     = var.datacenter
  cluster        = var.cluster
  datastore      = var.datastore
  folder         = var.folder

  vm_name              = var.image_name
  notes                = jsonencode(merge(var.tags, { "sre:machine" = var.image_name }))
  guest_os_type        = "rhel9_64Guest"
  firmware             = "efi-secure"
  CPUs                 = 2
  RAM                  = 4096
  disk_controller_type = ["pvscsi"]
  storage {
    disk_size             = var.disk_size
    disk_thin_provisioned = true
  }
  network_adapters {
    network      = var.network
    network_card = "vmxnet3"
  }

  iso_paths    = var.iso_path == "" ? null : [var.iso_path]
  iso_url      = var.iso_url == "" ? null : var.iso_url
  iso_checksum = var.iso_checksum == "" ? null : var.iso_checksum
  remove_cdrom = true

  # Anaconda finds ks.cfg by itself on a volume of this label.
  cd_label = "OEMDRV"
  cd_content = {
    "ks.cfg" = templatefile("${abspath(path.root)}/http/ks.cfg.pkrtpl.hcl", { ssh_username = var.ssh_username, ssh_public_key = var.ssh_public_key })
  }
  boot_order = "disk,cdrom"
  boot_wait  = "5s"
  # To the end of the kernel line of the first menu entry.
  boot_command = ["<up>e<down><down><end>", " inst.text fips=1", "<leftCtrlOn>x<leftCtrlOff>"]

  communicator                 = "ssh"
  ssh_username                 = var.ssh_username
  ssh_timeout                  = "60m"
  ssh_private_key_file         = var.ssh_private_key_file == "" ? null : var.ssh_private_key_file
  ssh_key_exchange_algorithms  = var.ssh_key_exchange_algorithms
  ssh_ciphers                  = var.ssh_ciphers
  ssh_bastion_host             = var.ssh_bastion == null ? null : var.ssh_bastion.host
  ssh_bastion_port             = var.ssh_bastion == null ? null : var.ssh_bastion.port
  ssh_bastion_username         = var.ssh_bastion == null ? null : var.ssh_bastion.username
  ssh_bastion_private_key_file = var.ssh_bastion == null ? null : var.ssh_bastion.private_key_file
  shutdown_command             = "sudo systemctl poweroff"
  convert_to_template          = true
}
