# Three servers and an agent behind a load balancer, reached through a jump machine:
# `tofu init && tofu apply -var image_id=ami-… -var "public_key=$(cat key.pub)"`.

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

variable "image_id" {
  description = "Image of all machines."
  type        = string
}

variable "public_key" {
  description = "SSH public key of the operator, RSA or Ed25519."
  type        = string
}

locals {
  environment_id = "5b1e7c1f0a2b4c3d"
  name           = "dev"
  operators      = ["198.51.100.0/24"]

  server = { role = "server", image_id = var.image_id, instance_type = "m6i.xlarge", disk_gib = 100 }
}

module "vpc" {
  source = "../../../vpc"

  environment_id = local.environment_id
  name           = local.name
  cidr           = "10.20.0.0/16"
  zones          = ["us-east-1a", "us-east-1b", "us-east-1c"]
}

module "nlb" {
  source = "../../../nlb"

  environment_id = local.environment_id
  name           = local.name
  vpc_id         = module.vpc.vpc_id
  subnet_ids     = module.vpc.balancer_subnet_ids
  target_cidrs   = module.vpc.private_subnet_cidrs
  node_cidrs     = module.vpc.private_subnet_cidrs
  api_cidrs      = concat(local.operators, [module.vpc.public_subnet_cidrs[0]])
}

module "compute" {
  source = "../.."

  environment_id = local.environment_id
  name           = local.name
  vpc_id         = module.vpc.vpc_id
  subnet_ids     = module.vpc.private_subnet_ids
  public_key     = var.public_key
  load_balancer  = { nlb = { security_group_id = module.nlb.security_group_id } }
  egress         = { https = { from_port = 443, to_port = 443, cidr = "0.0.0.0/0" } }

  nodes = {
    server-1  = merge(local.server, { subnet = 0 })
    server-2  = merge(local.server, { subnet = 1 })
    server-3  = merge(local.server, { subnet = 2 })
    general-1 = merge(local.server, { subnet = 0, role = "agent", instance_type = "m6i.2xlarge" })
  }

  jump = {
    image_id  = var.image_id
    subnet_id = module.vpc.public_subnet_ids[0]
    ssh_cidrs = local.operators
  }
}

output "nodes" {
  description = "The nodes by name."
  value       = module.compute.nodes
}

output "jump" {
  description = "The way in."
  value       = module.compute.jump
}
