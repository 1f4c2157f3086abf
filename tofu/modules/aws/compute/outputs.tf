output "nodes" {
  description = "The nodes by name: id, private address, role, zone, and the image and instance type they really have."
  value = {
    for name, node in aws_instance.node : name => {
      id            = node.id
      private_ip    = node.private_ip
      role          = var.nodes[name].role
      image         = node.ami
      instance_type = node.instance_type
      zone          = node.availability_zone
    }
  }
}

output "node_security_group_id" {
  description = "Security group of every node."
  value       = aws_security_group.node.id
}

output "server_security_group_id" {
  description = "Security group of servers, beside that of every node."
  value       = aws_security_group.role["server"].id
}

output "agent_security_group_id" {
  description = "Security group of agents, beside that of every node."
  value       = aws_security_group.role["agent"].id
}

output "role_arns" {
  description = "ARNs of the IAM roles by role of the node."
  value       = { for name, role in aws_iam_role.role : name => role.arn }
}

output "key_name" {
  description = "Name of the key pair, null without one."
  value       = one(aws_key_pair.this[*].key_name)
}

output "jump" {
  description = "The jump machine, null without one."
  value = var.jump == null ? null : {
    id                = aws_instance.jump[0].id
    public_ip         = aws_instance.jump[0].public_ip
    private_ip        = aws_instance.jump[0].private_ip
    security_group_id = aws_security_group.jump[0].id
  }
}
