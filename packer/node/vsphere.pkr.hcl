# The node image on vSphere is made from a clone of the base template.

variable "template" {
  type        = string
  default     = ""
  description = "Template of the base image, by name or inventory path."
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

  vm_name = var.image_name
  notes   = jsonencode(var.tags)
  CPUs    = 2
  RAM     = 4096
  configuration_parameters = {
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
