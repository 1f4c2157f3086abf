variable "name" {
  description = "Name of the environment: the first part of the name of its anti-affinity rule."
  type        = string

  validation {
    condition     = can(regex("^[a-z]([a-z0-9-]{0,30}[a-z0-9])?$", var.name))
    error_message = "name must be a lower-case DNS label of 32 characters at most that begins with a letter."
  }
}

variable "environment_id" {
  description = "Id of the environment. Its first eight characters, the short id, are part of names that must be unique in a cluster."
  type        = string

  validation {
    condition     = can(regex("^[0-9a-z]{8}[0-9a-z-]{0,56}$", var.environment_id))
    error_message = "environment_id must begin with eight lower-case letters or digits and go on with those or hyphens, 64 characters at most."
  }
}

variable "datacenter" {
  description = "Name of the datacenter."
  type        = string
}

variable "cluster" {
  description = "Name of the compute cluster."
  type        = string
}

variable "resource_pool" {
  description = "Path of a resource pool, such as `CLUSTER/Resources/POOL`; null for the cluster's own."
  type        = string
  default     = null
}

variable "datastore" {
  description = "Name of the datastore."
  type        = string
}

variable "storage_policy" {
  description = "Name of a storage policy for machines and disks; null for what the datastore has by default."
  type        = string
  default     = null
}

variable "network" {
  description = "Name of the port group."
  type        = string
}

variable "folder" {
  description = "Folder of the machines, below the datacenter's."
  type        = string
}

variable "nodes" {
  description = "The nodes by name: `role` is server or agent; `template` a template's path below the datacenter's folder of machines; `address` its own and static; `metadata` and `user_data` what cloud-init is told through guestinfo, without secrets; `attributes` custom attributes, whose names the vCenter knows already."
  type = map(object({
    role       = string
    template   = string
    cpus       = number
    memory_gib = number
    disk_gib   = number
    address    = string
    metadata   = string
    user_data  = string
    attributes = optional(map(string), {})
  }))

  validation {
    condition     = alltrue([for node in values(var.nodes) : contains(["server", "agent"], node.role)])
    error_message = "Each node's role must be server or agent."
  }

  validation {
    condition     = length(distinct([for node in values(var.nodes) : node.address])) == length(var.nodes)
    error_message = "Each node must have an address of its own."
  }
}

variable "secure_boot" {
  description = "Whether machines boot only what is signed; their templates must have EFI firmware. Null leaves it as the provider has it: off."
  type        = bool
  default     = null
}

variable "hardware_version" {
  description = "Version of the virtual hardware; null for that of the template. It can be raised later, and never lowered."
  type        = number
  default     = null

  validation {
    condition     = var.hardware_version == null || try(var.hardware_version >= 13 && floor(var.hardware_version) == var.hardware_version, false)
    error_message = "hardware_version must be a whole number from 13, which is that of vSphere 6.5."
  }
}

variable "tag_ids" {
  description = "Ids of vCenter tags for the machines, such as the network module's."
  type        = list(string)
  default     = []
}

variable "guest_net_timeout" {
  description = "Minutes that a new machine may take to tell its address."
  type        = number
  default     = 10
}
