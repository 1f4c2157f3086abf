# A load balancer for RKE2 in a network of its own, open to one office range: `tofu init && tofu apply`.

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

locals {
  environment_id = "5b1e7c1f0a2b4c3d"
  name           = "dev"
}

module "vpc" {
  source = "../../../vpc"

  environment_id = local.environment_id
  name           = local.name
  cidr           = "10.20.0.0/16"
  zones          = ["us-east-1a", "us-east-1b", "us-east-1c"]
}

module "nlb" {
  source = "../.."

  environment_id = local.environment_id
  name           = local.name
  vpc_id         = module.vpc.vpc_id
  subnet_ids     = module.vpc.balancer_subnet_ids
  target_cidrs   = module.vpc.private_subnet_cidrs
  node_cidrs     = module.vpc.private_subnet_cidrs
  api_cidrs      = ["198.51.100.0/24"]
  ingress_cidrs  = ["198.51.100.0/24"]
}

output "api" {
  description = "Where the Kubernetes API answers once servers are registered."
  value       = "https://${module.nlb.dns_name}:6443"
}
