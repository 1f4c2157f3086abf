# A folder for the machines of one environment: `tofu init && tofu apply`, with VSPHERE_SERVER, VSPHERE_USER and
# VSPHERE_PASSWORD set, and SSL_CERT_FILE where the vCenter's authority is not known to this machine.

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

module "network" {
  source = "../.."

  environment_id = "5b1e7c1f0a2b4c3d"
  name           = "dev"
  datacenter     = "DC0"
  network        = "DC0_DVPG0"
  folder         = "sre"
}

output "folder" {
  description = "Where the machines belong."
  value       = module.network.folder
}
