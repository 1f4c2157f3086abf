variable "environment_id" {
  description = "Id of the environment: the value of the tag `sre:environment` on everything the module makes. Its first eight characters, the short id, are part of names that must be unique in the account."
  type        = string

  validation {
    condition     = can(regex("^[0-9a-z]{8}[0-9a-z-]{0,56}$", var.environment_id))
    error_message = "environment_id must begin with eight lower-case letters or digits and go on with those or hyphens, 64 characters at most."
  }
}

variable "name" {
  description = "Name of the environment: the first part of every `Name` tag and the value of the tag `sre:name`."
  type        = string

  validation {
    condition     = can(regex("^[a-z]([a-z0-9-]{0,30}[a-z0-9])?$", var.name))
    error_message = "name must be a lower-case DNS label of 32 characters at most that begins with a letter."
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

variable "cidr" {
  description = "IPv4 range of the VPC, /16 to /22. It must not overlap the pod and service ranges of the cluster (RKE2: 10.42.0.0/16 and 10.43.0.0/16)."
  type        = string

  validation {
    condition = (
      can(cidrnetmask(var.cidr)) &&
      try(cidrsubnet(var.cidr, 0, 0) == var.cidr && tonumber(split("/", var.cidr)[1]) >= 16 && tonumber(split("/", var.cidr)[1]) <= 22, false)
    )
    error_message = "cidr must be an IPv4 network from /16 to /22 without host bits, such as 10.20.0.0/16."
  }
}

variable "zones" {
  description = "Names of one to three availability zones, in the order of the subnets. Names instead of a number, so that a zone that AWS adds later moves nothing."
  type        = list(string)

  validation {
    condition     = length(var.zones) >= 1 && length(var.zones) <= 3 && length(distinct(var.zones)) == length(var.zones)
    error_message = "zones must name one to three different availability zones."
  }
}

variable "nat" {
  description = "How private subnets reach the internet: `single` (one NAT gateway in the first zone), `per_zone` (one in each, no zone depends on another) or `none`."
  type        = string
  default     = "single"

  validation {
    condition     = contains(["single", "per_zone", "none"], var.nat)
    error_message = "nat must be single, per_zone or none."
  }
}

variable "internet_gateway" {
  description = "Whether the VPC has an internet gateway and its public subnets a route to it. NAT and a jump machine with a public address need one; without it the VPC is closed."
  type        = bool
  default     = true

  validation {
    condition     = var.internet_gateway || var.nat == "none"
    error_message = "internet_gateway may be false only when nat is none."
  }
}

variable "flow_logs" {
  description = "Flow logs of all traffic of the VPC to CloudWatch, or null for none. `retention_days` is one of the periods CloudWatch knows; `kms_key_arn` a key that CloudWatch may use, null for its own."
  type = object({
    retention_days = optional(number, 30)
    kms_key_arn    = optional(string)
  })
  default = {}

  validation {
    condition = var.flow_logs == null || contains(
      [1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653],
      try(var.flow_logs.retention_days, 0),
    )
    error_message = "flow_logs.retention_days must be a period that CloudWatch knows, such as 14, 30, 90 or 365."
  }
}

variable "permissions_boundary" {
  description = "ARN of a policy that bounds the role of the flow logs, where the account asks for one."
  type        = string
  default     = null
}
