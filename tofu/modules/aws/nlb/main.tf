locals {
  short_id = substr(var.environment_id, 0, 8)
  tags     = merge(var.tags, { "sre:environment" = var.environment_id, "sre:name" = var.name })

  # 32 characters are all that AWS allows: what makes a name unique is the short id.
  stem = trim(substr(var.name, 0, 18), "-")

  # What listens, and how AWS can tell that a target serves: the supervisor says pong to anyone; the API answers 401 to
  # who has no credentials, so that only its port can be asked.
  listeners = {
    api        = { port = 6443, health = "TCP", clients = distinct(concat(var.api_cidrs, var.node_cidrs)) }
    supervisor = { port = 9345, health = "HTTPS", clients = var.node_cidrs }
    http       = { port = 80, health = "TCP", clients = var.ingress_cidrs }
    https      = { port = 443, health = "TCP", clients = var.ingress_cidrs }
  }

  admitted = merge([for name, listener in local.listeners : {
    for cidr in toset(listener.clients) : "${name}-${cidr}" => { port = listener.port, cidr = cidr }
  }]...)
  connects = merge([for name, listener in local.listeners : {
    for cidr in toset(var.target_cidrs) : "${name}-${cidr}" => { port = listener.port, cidr = cidr }
  }]...)
}

resource "aws_lb" "this" {
  name               = "${local.stem}-nlb-${local.short_id}"
  load_balancer_type = "network"
  internal           = true
  subnets            = var.subnet_ids
  security_groups    = [aws_security_group.this.id]

  # With fewer servers than zones a zone without a healthy target would else answer nobody.
  enable_cross_zone_load_balancing = true
  enable_deletion_protection       = var.deletion_protection

  tags = merge(local.tags, { Name = "${var.name}-nlb" })
}

# Without members: who serves is registered at the moment it can, and deregistered before it stops.
resource "aws_lb_target_group" "this" {
  for_each = local.listeners

  name        = "${local.stem}-${each.value.port}-${local.short_id}"
  vpc_id      = var.vpc_id
  target_type = "instance"
  protocol    = "TCP"
  port        = each.value.port

  # A node that calls the load balancer and is sent to itself would see a packet from its own address and drop it.
  preserve_client_ip     = false
  deregistration_delay   = var.deregistration_delay
  connection_termination = var.connection_termination

  health_check {
    protocol            = each.value.health
    port                = "traffic-port"
    path                = each.value.health == "HTTPS" ? "/ping" : null
    matcher             = each.value.health == "HTTPS" ? "200" : null
    interval            = 10
    timeout             = 6
    healthy_threshold   = 2
    unhealthy_threshold = 2
  }

  tags = merge(local.tags, { Name = "${var.name}-${each.key}" })
}

resource "aws_lb_listener" "this" {
  for_each = local.listeners

  load_balancer_arn = aws_lb.this.arn
  protocol          = "TCP"
  port              = each.value.port

  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.this[each.key].arn
  }

  tags = merge(local.tags, { Name = "${var.name}-${each.key}" })
}

resource "aws_security_group" "this" {
  name        = "${var.name}-nlb-${local.short_id}"
  description = "Load balancer of ${var.name}: who may use the API, the supervisor and the ingress"
  vpc_id      = var.vpc_id
  tags        = merge(local.tags, { Name = "${var.name}-nlb" })
}

resource "aws_vpc_security_group_ingress_rule" "clients" {
  for_each = local.admitted

  security_group_id = aws_security_group.this.id
  ip_protocol       = "tcp"
  from_port         = each.value.port
  to_port           = each.value.port
  cidr_ipv4         = each.value.cidr
  tags              = merge(local.tags, { Name = "${var.name}-nlb-in-${each.key}" })
}

resource "aws_vpc_security_group_egress_rule" "targets" {
  for_each = local.connects

  security_group_id = aws_security_group.this.id
  ip_protocol       = "tcp"
  from_port         = each.value.port
  to_port           = each.value.port
  cidr_ipv4         = each.value.cidr
  tags              = merge(local.tags, { Name = "${var.name}-nlb-out-${each.key}" })
}
