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

variable "vpc_id" {
  description = "VPC of the nodes."
  type        = string
}

variable "subnet_ids" {
  description = "Private subnets for nodes; a node names its own by index in this list."
  type        = list(string)

  validation {
    condition     = length(var.subnet_ids) > 0
    error_message = "subnet_ids must hold at least one subnet."
  }
}

variable "nodes" {
  description = <<-EOT
    The nodes by name, each on its own: taking one out removes that one only.
    `image_id` and `instance_type` are what *this* node has, not what new ones get: another image replaces the node,
    another type stops and starts it. `subnet` is an index into `subnet_ids`, `private_ip` an address in it or null.
    `user_data` is read at the first boot only; a change is ignored for a node that exists. It is readable for everyone
    on the node and ends up in the state: no secrets.
  EOT
  type = map(object({
    role          = string
    image_id      = string
    instance_type = string
    disk_gib      = number
    subnet        = number
    private_ip    = optional(string)
    user_data     = optional(string)
    tags          = optional(map(string), {})
  }))

  validation {
    condition     = alltrue([for name in keys(var.nodes) : can(regex("^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", name))])
    error_message = "nodes: every name must be a lower-case DNS label."
  }

  validation {
    condition     = length(setintersection(keys(var.nodes), ["jump", "node", "server", "agent"])) == 0
    error_message = "nodes: jump, node, server and agent are names of other things of the module."
  }

  validation {
    condition     = alltrue([for node in values(var.nodes) : contains(["server", "agent"], node.role)])
    error_message = "nodes: role must be server or agent."
  }

  validation {
    condition     = alltrue([for node in values(var.nodes) : can(regex("^ami-[0-9a-f]{8,17}$", node.image_id))])
    error_message = "nodes: image_id must be the id of an image, such as ami-0123456789abcdef0."
  }

  validation {
    condition     = alltrue([for node in values(var.nodes) : node.disk_gib >= 20 && node.disk_gib <= 16384 && floor(node.disk_gib) == node.disk_gib])
    error_message = "nodes: disk_gib must be whole GiB from 20 to 16384."
  }

  validation {
    condition     = alltrue([for node in values(var.nodes) : node.subnet >= 0 && node.subnet < length(var.subnet_ids) && floor(node.subnet) == node.subnet])
    error_message = "nodes: subnet must be an index into subnet_ids."
  }

  validation {
    condition     = alltrue([for node in values(var.nodes) : length(coalesce(node.user_data, "-")) <= 16384])
    error_message = "nodes: user_data must not be longer than 16 KiB."
  }
}

variable "public_key" {
  description = "SSH public key, in OpenSSH's form, that becomes an EC2 key pair for the first user of every machine; null for none. EC2 takes RSA (for FIPS: 4096 bits) and Ed25519; an ECDSA key goes into `user_data` instead. The private half is no business of OpenTofu."
  type        = string
  default     = null

  validation {
    condition     = var.public_key == null || can(regex("^(ssh-rsa|ssh-ed25519) [A-Za-z0-9+/]+={0,3}( .*)?$", trimspace(coalesce(var.public_key, "-"))))
    error_message = "public_key must be one line such as `ssh-rsa AAAA… comment`; EC2 takes RSA and Ed25519 keys only."
  }
}

variable "cni" {
  description = "Network of the pods, which decides the ports that nodes need among each other: canal, calico, cilium, flannel or none."
  type        = string
  default     = "canal"

  validation {
    condition     = contains(["canal", "calico", "cilium", "flannel", "none"], var.cni)
    error_message = "cni must be canal, calico, cilium, flannel or none."
  }
}

variable "ssh_cidrs" {
  description = "Ranges that may connect to the nodes by SSH. With a jump machine of this module: empty."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for cidr in var.ssh_cidrs : can(cidrnetmask(cidr)) && !endswith(cidr, "/0")])
    error_message = "ssh_cidrs must be IPv4 ranges, and not all of the internet."
  }
}

variable "api_cidrs" {
  description = "Ranges that may connect to the servers' API (6443) past the load balancer. Needed only where there is none."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for cidr in var.api_cidrs : can(cidrnetmask(cidr)) && !endswith(cidr, "/0")])
    error_message = "api_cidrs must be IPv4 ranges, and not all of the internet."
  }
}

variable "load_balancer" {
  description = "The load balancer as a peer of the nodes: by name of one's choice either a `cidr` that it has addresses in or its `security_group_id`. Empty: there is none."
  type = map(object({
    cidr              = optional(string)
    security_group_id = optional(string)
  }))
  default = {}
}

variable "ingress_roles" {
  description = "Roles whose nodes take 80 and 443 from the load balancer: those that run the ingress controller."
  type        = set(string)
  default     = ["agent"]

  validation {
    condition     = length(setsubtract(var.ingress_roles, ["server", "agent"])) == 0
    error_message = "ingress_roles may hold server and agent."
  }
}

variable "egress" {
  description = "What nodes may connect to besides each other, by name of one's choice: `protocol` tcp or udp, a range of ports, and a `cidr` or a `prefix_list_id`. Empty: nothing, an air gap. The Amazon name, time and metadata services need no rule."
  type = map(object({
    protocol       = optional(string, "tcp")
    from_port      = number
    to_port        = number
    cidr           = optional(string)
    prefix_list_id = optional(string)
  }))
  default = {}

  validation {
    condition     = alltrue([for rule in values(var.egress) : contains(["tcp", "udp"], rule.protocol) && rule.from_port >= 1 && rule.from_port <= rule.to_port && rule.to_port <= 65535])
    error_message = "egress: protocol must be tcp or udp, and 1 <= from_port <= to_port <= 65535."
  }
}

variable "kms_key_id" {
  description = "KMS key for the disks, null for the account's default key of EBS."
  type        = string
  default     = null
}

variable "policies" {
  description = "IAM policies of the nodes, as JSON, by role and name. Empty: the machines may do nothing, which is all that RKE2 needs."
  type = object({
    server = optional(map(string), {})
    agent  = optional(map(string), {})
  })
  default = {}

  validation {
    condition     = alltrue([for policy in concat(values(var.policies.server), values(var.policies.agent)) : can(jsondecode(policy).Statement)])
    error_message = "policies must be policy documents in JSON."
  }
}

variable "permissions_boundary" {
  description = "ARN of a policy that bounds the roles of the nodes, where the account asks for one."
  type        = string
  default     = null
}

variable "jump" {
  description = "A small machine with a public address that SSH goes through, or null. `subnet_id` is a public subnet, `ssh_cidrs` are the ranges that may connect to it."
  type = object({
    image_id      = string
    instance_type = optional(string, "t3.small")
    disk_gib      = optional(number, 20)
    subnet_id     = string
    private_ip    = optional(string)
    ssh_cidrs     = list(string)
    user_data     = optional(string)
  })
  default = null

  validation {
    condition     = var.jump == null || try(length(var.jump.ssh_cidrs) > 0 && alltrue([for cidr in var.jump.ssh_cidrs : can(cidrnetmask(cidr)) && !endswith(cidr, "/0")]), false)
    error_message = "jump.ssh_cidrs must hold IPv4 ranges, and not all of the internet."
  }
}
