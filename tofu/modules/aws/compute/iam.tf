# A role per kind of node, so that a right that only servers need is not given to agents. Without `policies` both are empty.

locals {
  policies = merge([for role in ["server", "agent"] : {
    for name, policy in var.policies[role] : "${role}-${name}" => { role = role, name = name, policy = policy }
  }]...)
}

resource "aws_iam_role" "role" {
  for_each = toset(["server", "agent"])

  name                 = "sre-${local.short_id}-${each.key}"
  path                 = "/sre/${local.short_id}/"
  permissions_boundary = var.permissions_boundary
  tags                 = merge(local.tags, { Name = "${var.name}-${each.key}" })

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "ec2.amazonaws.com" }
    }]
  })
}

resource "aws_iam_role_policy" "role" {
  for_each = local.policies

  role   = aws_iam_role.role[each.value.role].name
  name   = each.value.name
  policy = each.value.policy
}

resource "aws_iam_instance_profile" "role" {
  for_each = toset(["server", "agent"])

  name = "sre-${local.short_id}-${each.key}"
  path = "/sre/${local.short_id}/"
  role = aws_iam_role.role[each.key].name
  tags = merge(local.tags, { Name = "${var.name}-${each.key}" })
}
