output "arn" {
  description = "ARN of the load balancer."
  value       = aws_lb.this.arn
}

output "name" {
  description = "Name of the load balancer."
  value       = aws_lb.this.name
}

output "dns_name" {
  description = "Name that the API, the supervisor and the ingress are reached under; belongs into `tls-san` of every server before its first start."
  value       = aws_lb.this.dns_name
}

output "zone_id" {
  description = "Hosted zone of `dns_name`, for an alias record."
  value       = aws_lb.this.zone_id
}

output "security_group_id" {
  description = "Security group of the load balancer."
  value       = aws_security_group.this.id
}

output "target_group_arns" {
  description = "ARNs of the target groups: `api` (6443) and `supervisor` (9345) for servers, `http` (80) and `https` (443) for nodes that run the ingress controller."
  value       = { for name, group in aws_lb_target_group.this : name => group.arn }
}

output "listener_arns" {
  description = "ARNs of the listeners by the same names."
  value       = { for name, listener in aws_lb_listener.this : name => listener.arn }
}
