variable "environment_id" {
  description = "Id of the environment: the value of the tag `sre:environment` on everything the module makes. Its first eight characters, the short id, are part of names that must be unique in the account."
  type        = string

  validation {
    condition     = can(regex("^[0-9a-z]{8}[0-9a-z-]{0,56}$", var.environment_id))
    error_message = "environment_id must begin with eight lower-case letters or digits and go on with those or hyphens, 64 characters at most."
  }
}

variable "name" {
  description = "Name of the environment: the first part of every `Name` tag and the value of the tag `sre:name`. Names of load balancers and target groups, which AWS limits to 32 characters, carry its first 18."
  type        = string

  validation {
    condition     = can(regex("^[a-z]([a-z0-9-]{0,30}[a-z0-9])?$", var.name)) && !startswith(var.name, "internal-")
    error_message = "name must not begin with `internal-`, which AWS keeps for itself, and must be a lower-case DNS label of 32 characters at most that begins with a letter."
  }
}

variable "tags" {
  description = "More tags for every resource. Those of the provider's `default_tags` need no repeating."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for key in ["Name", "sre:environment", "sre:name"] : !contains(keys(var.tags), key)])
    error_message = "tags must not hold Name, sre:environment or sre:name: the module sets these."
  }
}

variable "vpc_id" {
  description = "VPC of the load balancer and its targets."
  type        = string
}

variable "subnet_ids" {
  description = "One subnet per availability zone, one to three, best of its own: the load balancer takes an address in each."
  type        = list(string)

  validation {
    condition     = length(var.subnet_ids) >= 1 && length(var.subnet_ids) <= 3
    error_message = "subnet_ids must hold one to three subnets."
  }
}

variable "target_cidrs" {
  description = "Ranges in which targets may live: all that the load balancer itself may connect to. Usually the private subnets."
  type        = list(string)

  validation {
    condition     = length(var.target_cidrs) > 0 && alltrue([for cidr in var.target_cidrs : can(cidrnetmask(cidr))])
    error_message = "target_cidrs must hold at least one IPv4 range."
  }
}

variable "node_cidrs" {
  description = "Ranges that nodes connect from: admitted to the supervisor (9345) and the Kubernetes API (6443). Usually the private subnets."
  type        = list(string)

  validation {
    condition     = alltrue([for cidr in var.node_cidrs : can(cidrnetmask(cidr))])
    error_message = "node_cidrs must be IPv4 ranges."
  }
}

variable "api_cidrs" {
  description = "Ranges that operators use the Kubernetes API (6443) from. With a jump machine: its subnet."
  type        = list(string)

  validation {
    condition     = alltrue([for cidr in var.api_cidrs : can(cidrnetmask(cidr)) && !endswith(cidr, "/0")])
    error_message = "api_cidrs must be IPv4 ranges, and not all of the internet."
  }
}

variable "ingress_cidrs" {
  description = "Ranges that use what the cluster serves on 80 and 443. Empty: the listeners exist, and no one is admitted."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for cidr in var.ingress_cidrs : can(cidrnetmask(cidr))])
    error_message = "ingress_cidrs must be IPv4 ranges."
  }
}

variable "deregistration_delay" {
  description = "Seconds that a target which was deregistered counts as draining: it gets no new connections, those it has go on."
  type        = number
  default     = 30

  validation {
    condition     = var.deregistration_delay >= 0 && var.deregistration_delay <= 3600 && floor(var.deregistration_delay) == var.deregistration_delay
    error_message = "deregistration_delay must be whole seconds from 0 to 3600."
  }
}

variable "connection_termination" {
  description = "Whether connections that a target still has at the end of the delay are closed. A server that is stopped closes its own; one that lost its power is cut off by its health check."
  type        = bool
  default     = false
}

variable "deletion_protection" {
  description = "Whether AWS refuses to delete the load balancer until this is taken back."
  type        = bool
  default     = false
}
