# An image on vSphere that is made from a clone of a template: the node image always, the base image where there is a
# template to start from.

variable "template" {
  type        = string
  default     = ""
  description = "Template to start from, by name or by its path below the datacenter's folder of machines."
}

variable "cpus" {
  type        = number
  default     = 2
  description = "CPUs of the machine that builds."
}

variable "memory_mib" {
  type        = number
  default     = 4096
  description = "Memory of the machine that builds."
}

variable "resource_pool" {
  type        = string
  default     = ""
  description = "Resource pool of the machine; the cluster's own by default."
}

variable "guest_metadata" {
  type        = string
  default     = ""
  description = "What cloud-init of the machine is told through guestinfo: its name and a static address. Empty: DHCP."
}

source "vsphere-clone" "rocky9" {
  vcenter_server = var.vcenter_server
  username       = var.vcenter_user
  password       = var.vcenter_password
  datacenter     = var.datacenter
  cluster        = var.cluster
  datastore      = var.datastore
  folder         = var.folder
  template       = var.template
  network        = var.network

  vm_name       = var.image_name
  resource_pool = var.resource_pool
  # Packer can write no custom attributes: until they are set, the notes tell whose this is. A clone of it has them, too, and
  # another name.
  notes = jsonencode(merge(var.run_tags, var.tags, { "sre:machine" = var.image_name }))
  CPUs  = var.cpus
  RAM   = var.memory_mib
  configuration_parameters = {
    "guestinfo.metadata"          = base64encode(var.guest_metadata)
    "guestinfo.metadata.encoding" = "base64"
    "guestinfo.userdata"          = base64encode("#cloud-config\n${jsonencode({ ssh_authorized_keys = [var.ssh_public_key] })}\n")
    "guestinfo.userdata.encoding" = "base64"
  }

  communicator                 = "ssh"
  ssh_username                 = var.ssh_username
  ssh_timeout                  = var.ssh_timeout
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
