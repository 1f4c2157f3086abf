output "vpc_id" {
  description = "Id of the VPC."
  value       = aws_vpc.this.id
}

output "vpc_cidr" {
  description = "IPv4 range of the VPC."
  value       = aws_vpc.this.cidr_block
}

output "zones" {
  description = "Availability zones in the order of the subnets."
  value       = var.zones
}

output "private_subnet_ids" {
  description = "Ids of the private subnets, in the order of `zones`."
  value       = [for zone in var.zones : aws_subnet.private[zone].id]
}

output "private_subnet_cidrs" {
  description = "Ranges of the private subnets, in the order of `zones`; known at plan time."
  value       = [for zone in var.zones : local.private_cidrs[zone]]
}

output "balancer_subnet_ids" {
  description = "Ids of the subnets of load balancers, in the order of `zones`."
  value       = [for zone in var.zones : aws_subnet.balancer[zone].id]
}

output "balancer_subnet_cidrs" {
  description = "Ranges of the subnets of load balancers, in the order of `zones`; known at plan time."
  value       = [for zone in var.zones : local.balancer_cidrs[zone]]
}

output "public_subnet_ids" {
  description = "Ids of the public subnets, in the order of `zones`."
  value       = [for zone in var.zones : aws_subnet.public[zone].id]
}

output "public_subnet_cidrs" {
  description = "Ranges of the public subnets, in the order of `zones`; known at plan time."
  value       = [for zone in var.zones : local.public_cidrs[zone]]
}

output "private_route_table_ids" {
  description = "Ids of the private route tables, in the order of `zones`."
  value       = [for zone in var.zones : aws_route_table.private[zone].id]
}

output "internet_gateway_id" {
  description = "Id of the internet gateway, null without one."
  value       = one(aws_internet_gateway.this[*].id)
}

output "nat_gateway_ids" {
  description = "Ids of the NAT gateways by zone; empty when `nat` is none."
  value       = { for zone, gateway in aws_nat_gateway.this : zone => gateway.id }
}

output "nat_public_ips" {
  description = "Public addresses by zone that private machines are seen under outside."
  value       = { for zone, address in aws_eip.nat : zone => address.public_ip }
}

output "s3_endpoint_id" {
  description = "Id of the S3 gateway endpoint."
  value       = aws_vpc_endpoint.s3.id
}

output "s3_prefix_list_id" {
  description = "Prefix list of S3, for egress rules of security groups."
  value       = aws_vpc_endpoint.s3.prefix_list_id
}

output "flow_log_group" {
  description = "Name of the CloudWatch log group of the flow logs, null without."
  value       = one(aws_cloudwatch_log_group.flow[*].name)
}
