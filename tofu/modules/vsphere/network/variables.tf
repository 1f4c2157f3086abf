variable "name" {
  description = "Name of the environment: the first part of the folder's name."
  type        = string

  validation {
    condition     = can(regex("^[a-z]([a-z0-9-]{0,30}[a-z0-9])?$", var.name))
    error_message = "name must be a lower-case DNS label of 32 characters at most that begins with a letter."
  }
}

variable "environment_id" {
  description = "Id of the environment. Its first eight characters, the short id, are part of the folder's name."
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

variable "network" {
  description = "Name of the port group, which exists."
  type        = string
}

variable "folder" {
  description = "Folder of machines, below the datacenter's, in which the environment's is made. It exists."
  type        = string
}

variable "attributes" {
  description = "Custom attributes of the folder, by name. The vCenter knows these names already: they belong to no environment."
  type        = map(string)
  default     = {}
}

variable "tagged" {
  description = "Whether a tag category of the environment's own is made, with a tag that is its id, and put on the folder."
  type        = bool
  default     = false
}
