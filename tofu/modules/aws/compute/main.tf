locals {
  short_id = substr(var.environment_id, 0, 8)
  prefix   = "${var.name}-${local.short_id}"
  tags     = merge(var.tags, { "sre:environment" = var.environment_id, "sre:name" = var.name })
}

resource "aws_key_pair" "this" {
  count = var.public_key == null ? 0 : 1

  key_name   = "${local.prefix}-${substr(sha256(trimspace(var.public_key)), 0, 8)}"
  public_key = trimspace(var.public_key)
  tags       = merge(local.tags, { Name = var.name })

  lifecycle {
    # AWS does not tell the key of a pair, so that an imported one would be replaced. Another key is another name.
    ignore_changes = [public_key]
  }
}

# Each node is a resource of its own with an image of its own: what changes for one changes for no other.
resource "aws_instance" "node" {
  for_each = var.nodes

  ami                         = each.value.image_id
  instance_type               = each.value.instance_type
  subnet_id                   = var.subnet_ids[each.value.subnet]
  private_ip                  = each.value.private_ip
  associate_public_ip_address = false
  vpc_security_group_ids      = [aws_security_group.node.id, aws_security_group.role[each.value.role].id]
  iam_instance_profile        = aws_iam_instance_profile.role[each.value.role].name
  key_name                    = one(aws_key_pair.this[*].key_name)
  user_data                   = each.value.user_data

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 2
  }

  root_block_device {
    volume_type           = "gp3"
    volume_size           = each.value.disk_gib
    encrypted             = true
    kms_key_id            = var.kms_key_id
    delete_on_termination = true
    tags                  = merge(local.tags, each.value.tags, { Name = "${var.name}-${each.key}", "sre:node" = each.key })
  }

  tags = merge(local.tags, each.value.tags, {
    Name       = "${var.name}-${each.key}"
    "sre:node" = each.key
    "sre:role" = each.value.role
  })

  lifecycle {
    # What counts at the first boot only, or what AWS cannot change on a machine: a new value is for nodes to come. Else
    # another key pair or disk key would replace every running node, and other user data would stop and start it.
    ignore_changes = [
      user_data, key_name, associate_public_ip_address, root_block_device[0].kms_key_id, root_block_device[0].tags,
    ]
  }

  # A machine that boots before its rules exist loses its first connections.
  depends_on = [
    aws_vpc_security_group_ingress_rule.this,
    aws_vpc_security_group_egress_rule.this,
  ]
}

resource "aws_instance" "jump" {
  count = var.jump == null ? 0 : 1

  ami                         = var.jump.image_id
  instance_type               = var.jump.instance_type
  subnet_id                   = var.jump.subnet_id
  private_ip                  = var.jump.private_ip
  associate_public_ip_address = true
  vpc_security_group_ids      = [aws_security_group.jump[0].id]
  key_name                    = one(aws_key_pair.this[*].key_name)
  user_data                   = var.jump.user_data

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  root_block_device {
    volume_type           = "gp3"
    volume_size           = var.jump.disk_gib
    encrypted             = true
    kms_key_id            = var.kms_key_id
    delete_on_termination = true
    tags                  = merge(local.tags, { Name = "${var.name}-jump", "sre:node" = "jump" })
  }

  tags = merge(local.tags, { Name = "${var.name}-jump", "sre:node" = "jump", "sre:role" = "jump" })

  lifecycle {
    # As for nodes; and a stopped machine has no public address, which reads as `false`.
    ignore_changes = [
      user_data, key_name, associate_public_ip_address, root_block_device[0].kms_key_id, root_block_device[0].tags,
    ]
  }

  depends_on = [
    aws_vpc_security_group_ingress_rule.this,
    aws_vpc_security_group_egress_rule.this,
  ]
}
