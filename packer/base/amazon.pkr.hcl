# The machine on AWS. The same for both images: they differ in what they start from and what is done.

variable "region" {
  type        = string
  default     = ""
  description = "AWS region to build in."
}

variable "source_ami" {
  type        = string
  default     = ""
  description = "AMI to start from, by id: who looks it up also checks its owner."
  validation {
    condition     = var.source_ami == "" || can(regex("^ami-[0-9a-f]{8,17}$", var.source_ami))
    error_message = "The source_ami must be an AMI id such as ami-0123456789abcdef0."
  }
}

variable "instance_type" {
  type        = string
  default     = "m6i.large"
  description = "Instance type to build on."
}

variable "vpc_id" {
  type        = string
  default     = ""
  description = "VPC to build in."
}

variable "subnet_id" {
  type        = string
  default     = ""
  description = "Subnet to build in."
}

variable "ssh_interface" {
  type        = string
  default     = "private_ip"
  description = "Which of the machine's addresses is used: private_ip or public_ip."
  validation {
    condition     = contains(["private_ip", "public_ip"], var.ssh_interface)
    error_message = "The ssh_interface must be private_ip or public_ip."
  }
}

variable "security_group_ids" {
  type        = list(string)
  default     = []
  description = "Security groups of the machine. Empty: a temporary one that admits ssh_source_cidrs."
}

variable "ssh_source_cidrs" {
  type        = list(string)
  default     = []
  description = "Who may reach SSH of the machine, if it has a temporary security group. Nobody unless named."
  validation {
    condition     = alltrue([for cidr in var.ssh_source_cidrs : can(cidrnetmask(cidr)) && !can(regex("/0$", cidr))])
    error_message = "The ssh_source_cidrs must be IPv4 ranges, and not everybody."
  }
}

variable "iam_instance_profile" {
  type        = string
  default     = ""
  description = "Instance profile of the machine; none by default."
}

variable "root_device_name" {
  type        = string
  default     = "/dev/sda1"
  description = "Root device of the source image."
}

variable "volume_size" {
  type        = number
  default     = 40
  description = "Size of the root volume in GiB."
  validation {
    condition     = var.volume_size >= 10 && var.volume_size <= 1024
    error_message = "The volume_size must be between 10 and 1024."
  }
}

variable "kms_key_id" {
  type        = string
  default     = ""
  description = "KMS key of volume and snapshot. Empty: the account's default key for EBS."
}

variable "polling_seconds" {
  type        = number
  default     = 5
  description = "How often AWS is asked whether something is ready."
}

variable "polling_attempts" {
  type        = number
  default     = 720
  description = "How many times AWS is asked before the build fails."
}

source "amazon-ebs" "rocky9" {
  region        = var.region
  source_ami    = var.source_ami
  instance_type = var.instance_type
  vpc_id        = var.vpc_id
  subnet_id     = var.subnet_id

  ami_name         = var.image_name
  tags             = merge({ Name = var.image_name }, var.tags)
  snapshot_tags    = merge({ Name = var.image_name }, var.tags)
  run_tags         = merge({ Name = "build of ${var.image_name}" }, var.run_tags)
  run_volume_tags  = merge({ Name = "build of ${var.image_name}" }, var.run_tags)
  imds_support     = "v2.0"
  force_deregister = false

  iam_instance_profile        = var.iam_instance_profile
  associate_public_ip_address = var.ssh_interface == "public_ip"
  security_group_ids          = var.security_group_ids
  # An empty list would mean everybody to the plugin; this one means nobody.
  temporary_security_group_source_cidrs = length(var.security_group_ids) > 0 ? null : coalescelist(var.ssh_source_cidrs, ["127.0.0.1/32"])

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  launch_block_device_mappings {
    device_name           = var.root_device_name
    volume_type           = "gp3"
    volume_size           = var.volume_size
    encrypted             = true
    kms_key_id            = var.kms_key_id
    delete_on_termination = true
  }

  communicator                 = "ssh"
  ssh_interface                = var.ssh_interface
  ssh_username                 = var.ssh_username
  ssh_timeout                  = var.ssh_timeout
  ssh_private_key_file         = var.ssh_private_key_file
  temporary_key_pair_type      = "rsa"
  user_data                    = var.ssh_public_key == "" ? "" : "#cloud-config\n${jsonencode({ ssh_authorized_keys = [var.ssh_public_key] })}\n"
  ssh_key_exchange_algorithms  = var.ssh_key_exchange_algorithms
  ssh_ciphers                  = var.ssh_ciphers
  ssh_bastion_host             = var.ssh_bastion == null ? null : var.ssh_bastion.host
  ssh_bastion_port             = var.ssh_bastion == null ? null : var.ssh_bastion.port
  ssh_bastion_username         = var.ssh_bastion == null ? null : var.ssh_bastion.username
  ssh_bastion_private_key_file = var.ssh_bastion == null ? null : var.ssh_bastion.private_key_file

  aws_polling {
    delay_seconds = var.polling_seconds
    max_attempts  = var.polling_attempts
  }
}
