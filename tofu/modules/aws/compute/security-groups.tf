# Who may talk to whom. Every rule stands once in the table below and becomes one resource; what is not in it is refused.
# `node` is on every node; `server` and `agent` add what only their role needs.

locals {
  groups = {
    node   = aws_security_group.node.id
    server = aws_security_group.role["server"].id
    agent  = aws_security_group.role["agent"].id
    jump   = one(aws_security_group.jump[*].id)
  }

  cni_ports = {
    none    = {}
    canal   = { vxlan = ["udp", 8472, 8472], cni-health = ["tcp", 9099, 9099] }
    calico  = { bgp = ["tcp", 179, 179], vxlan = ["udp", 4789, 4789], typha = ["tcp", 5473, 5473], cni-health = ["tcp", 9098, 9099] }
    cilium  = { vxlan = ["udp", 8472, 8472], cni-health = ["tcp", 4240, 4240], wireguard = ["udp", 51871, 51871], ping = ["icmp", 8, 0] }
    flannel = { vxlan = ["udp", 4789, 4789] }
  }[var.cni]

  # between groups: name = [from, to, protocol, first port, last port]; made as egress of `from` and ingress of `to`
  between = merge(
    {
      kubelet    = ["node", "node", "tcp", 10250, 10250]
      passing    = ["node", "node", "tcp", 9344, 9344]
      api        = ["node", "server", "tcp", 6443, 6443]
      supervisor = ["node", "server", "tcp", 9345, 9345]
      etcd       = ["server", "server", "tcp", 2379, 2380]
    },
    { for name, port in local.cni_ports : name => concat(["node", "node"], port) },
    var.jump == null ? {} : { jump-ssh = ["jump", "node", "tcp", 22, 22] },
    var.jump == null || length(var.load_balancer) > 0 ? {} : { jump-api = ["jump", "server", "tcp", 6443, 6443] },
  )

  # with the load balancer: name = [group, port]
  balanced = merge(
    { api = ["server", 6443], supervisor = ["server", 9345] },
    merge([for role in var.ingress_roles : { "${role}-http" = [role, 80], "${role}-https" = [role, 443] }]...),
  )
  to_balancer = merge(
    { api = ["node", 6443], supervisor = ["node", 9345] },
    var.jump == null ? {} : { jump-api = ["jump", 6443] },
  )

  ingress = merge(
    { for name, r in local.between : name => { group = r[1], peer = r[0], protocol = r[2], from = r[3], to = r[4] } },
    merge([for peer, p in var.load_balancer : {
      for name, r in local.balanced : "balancer-${peer}-${name}" => { group = r[0], protocol = "tcp", from = r[1], to = r[1], cidr = p.cidr, id = p.security_group_id }
    }]...),
    { for cidr in var.ssh_cidrs : "ssh-${cidr}" => { group = "node", protocol = "tcp", from = 22, to = 22, cidr = cidr } },
    { for cidr in var.api_cidrs : "api-${cidr}" => { group = "server", protocol = "tcp", from = 6443, to = 6443, cidr = cidr } },
    { for cidr in try(var.jump.ssh_cidrs, []) : "jump-${cidr}" => { group = "jump", protocol = "tcp", from = 22, to = 22, cidr = cidr } },
  )

  egress = merge(
    { for name, r in local.between : name => { group = r[0], peer = r[1], protocol = r[2], from = r[3], to = r[4] } },
    merge([for peer, p in var.load_balancer : {
      for name, r in local.to_balancer : "balancer-${peer}-${name}" => { group = r[0], protocol = "tcp", from = r[1], to = r[1], cidr = p.cidr, id = p.security_group_id }
    }]...),
    { for name, r in var.egress : "out-${name}" => { group = "node", protocol = r.protocol, from = r.from_port, to = r.to_port, cidr = r.cidr, list = r.prefix_list_id } },
  )
}

resource "aws_security_group" "node" {
  name        = "${local.prefix}-node"
  description = "Every node of ${var.name}"
  vpc_id      = var.vpc_id
  tags        = merge(local.tags, { Name = "${var.name}-node" })
}

resource "aws_security_group" "role" {
  for_each = toset(["server", "agent"])

  name        = "${local.prefix}-${each.key}"
  description = "Nodes of ${var.name} that are ${each.key}s"
  vpc_id      = var.vpc_id
  tags        = merge(local.tags, { Name = "${var.name}-${each.key}" })
}

resource "aws_security_group" "jump" {
  count = var.jump == null ? 0 : 1

  name        = "${local.prefix}-jump"
  description = "Jump machine of ${var.name}"
  vpc_id      = var.vpc_id
  tags        = merge(local.tags, { Name = "${var.name}-jump" })
}

resource "aws_vpc_security_group_ingress_rule" "this" {
  for_each = local.ingress

  security_group_id            = local.groups[each.value.group]
  ip_protocol                  = each.value.protocol
  from_port                    = each.value.from
  to_port                      = each.value.to
  cidr_ipv4                    = try(each.value.cidr, null)
  referenced_security_group_id = try(local.groups[each.value.peer], each.value.id, null)
  tags                         = merge(local.tags, { Name = "${var.name}-in-${each.key}" })
}

resource "aws_vpc_security_group_egress_rule" "this" {
  for_each = local.egress

  security_group_id            = local.groups[each.value.group]
  ip_protocol                  = each.value.protocol
  from_port                    = each.value.from
  to_port                      = each.value.to
  cidr_ipv4                    = try(each.value.cidr, null)
  prefix_list_id               = try(each.value.list, null)
  referenced_security_group_id = try(local.groups[each.value.peer], each.value.id, null)
  tags                         = merge(local.tags, { Name = "${var.name}-out-${each.key}" })
}
