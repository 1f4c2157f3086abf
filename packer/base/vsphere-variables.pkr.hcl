# Where and how to build on vSphere; both images.

variable "vcenter_server" {
  type        = string
  default     = env("VSPHERE_SERVER")
  description = "Name of the vCenter. Its certificate must be trusted by this machine (SSL_CERT_FILE)."
}

variable "vcenter_user" {
  type        = string
  default     = env("VSPHERE_USER")
  description = "User of the vCenter."
}

variable "vcenter_password" {
  type        = string
  default     = env("VSPHERE_PASSWORD")
  sensitive   = true
  description = "Password of the vCenter, by environment only."
}

variable "datacenter" {
  type        = string
  default     = ""
  description = "Datacenter to build in."
}

variable "cluster" {
  type        = string
  default     = ""
  description = "Compute cluster to build on."
}

variable "datastore" {
  type        = string
  default     = ""
  description = "Datastore of the machine's disk."
}

variable "folder" {
  type        = string
  default     = ""
  description = "Folder of machine and template."
}

variable "network" {
  type        = string
  default     = ""
  description = "Port group of the machine."
}
