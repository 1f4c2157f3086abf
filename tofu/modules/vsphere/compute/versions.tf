terraform {
  required_version = ">= 1.9"

  required_providers {
    vsphere = {
      source  = "hashicorp/vsphere"
      version = ">= 1.26, < 3"
    }
  }
}
