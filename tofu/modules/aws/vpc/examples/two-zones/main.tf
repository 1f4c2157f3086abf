# A network over two zones with one NAT gateway: `tofu init && tofu apply`.

terraform {
  required_version = ">= 1.9"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "= 5.100.0"
    }
  }
}

provider "aws" {
  region = "us-east-1"

  default_tags {
    tags = { owner = "platform" }
  }
}

module "vpc" {
  source = "../.."

  environment_id = "5b1e7c1f0a2b4c3d"
  name           = "dev"
  cidr           = "10.20.0.0/16"
  zones          = ["us-east-1a", "us-east-1b"]
  nat            = "single"
  flow_logs      = { retention_days = 14 }
}

output "private_subnet_ids" {
  description = "Where machines go."
  value       = module.vpc.private_subnet_ids
}
