# Two machines in a folder of their own: `tofu init && tofu apply`, with VSPHERE_SERVER, VSPHERE_USER and VSPHERE_PASSWORD
# set, and SSL_CERT_FILE where the vCenter's authority is not known to this machine.

terraform {
  required_version = ">= 1.9"

  required_providers {
    vsphere = {
      source  = "hashicorp/vsphere"
      version = "= 1.26.0"
    }
  }
}

provider "vsphere" {}

locals {
  environment_id = "5b1e7c1f0a2b4c3d"
  addresses      = { server-1 = "10.98.7.11", server-2 = "10.98.7.12" }
}

module "network" {
  source = "../../../network"

  environment_id = local.environment_id
  name           = "dev"
  datacenter     = "DC0"
  network        = "DC0_DVPG0"
  folder         = "sre"
}

module "compute" {
  source = "../.."

  environment_id = local.environment_id
  name           = "dev"
  datacenter     = "DC0"
  cluster        = "DC0_C0"
  datastore      = "LocalDS_0"
  network        = module.network.network
  folder         = module.network.folder

  nodes = {
    for name, address in local.addresses : name => {
      role       = "server"
      template   = "rocky9-base"
      cpus       = 2
      memory_gib = 8
      disk_gib   = 40
      address    = address
      user_data  = "#cloud-config\n{}\n"
      metadata = jsonencode({
        instance-id    = name
        local-hostname = name
        network        = { version = 2, ethernets = { ens192 = { addresses = ["${address}/24"] } } }
      })
    }
  }
}

output "nodes" {
  description = "The machines."
  value       = module.compute.nodes
}
