# Plans only, by the real provider with credentials that are none: nothing is asked over the network.
provider "aws" {
  region                      = "us-east-1"
  access_key                  = "none"
  secret_key                  = "none"
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  skip_requesting_account_id  = true
  skip_region_validation      = true
}

override_data {
  target = data.aws_caller_identity.current
  values = { account_id = "111122223333" }
}

variables {
  environment_id = "5b1e7c1f0a2b4c3d"
  name           = "dev"
  cidr           = "10.20.0.0/16"
  zones          = ["us-east-1a", "us-east-1b", "us-east-1c"]
}

run "three_zones_share_one_nat_gateway" {
  command = plan

  assert {
    condition     = output.private_subnet_cidrs == ["10.20.0.0/18", "10.20.64.0/18", "10.20.128.0/18"]
    error_message = "private subnets are not the first three quarters: ${jsonencode(output.private_subnet_cidrs)}"
  }

  assert {
    condition     = output.public_subnet_cidrs == ["10.20.192.0/20", "10.20.208.0/20", "10.20.224.0/20"]
    error_message = "public subnets are not pieces of the last quarter: ${jsonencode(output.public_subnet_cidrs)}"
  }

  assert {
    condition     = output.balancer_subnet_cidrs == ["10.20.240.0/22", "10.20.244.0/22", "10.20.248.0/22"]
    error_message = "subnets of load balancers are not pieces of the last sixteenth: ${jsonencode(output.balancer_subnet_cidrs)}"
  }

  assert {
    condition     = keys(aws_nat_gateway.this) == ["us-east-1a"] && length(aws_route.private) == 3
    error_message = "three private routes should lead to one NAT gateway in the first zone"
  }

  assert {
    condition     = alltrue([for subnet in concat(values(aws_subnet.private), values(aws_subnet.balancer), values(aws_subnet.public)) : !subnet.map_public_ip_on_launch])
    error_message = "a subnet gives machines public addresses by itself"
  }

  assert {
    condition     = aws_flow_log.this[0].traffic_type == "ALL" && aws_cloudwatch_log_group.flow[0].retention_in_days == 30
    error_message = "flow logs of all traffic should be kept for 30 days"
  }

  assert {
    condition     = aws_iam_role.flow[0].path == "/sre/5b1e7c1f/"
    error_message = "the role of the flow logs is not under the environment's path"
  }

  assert {
    condition     = aws_vpc.this.tags["sre:environment"] == "5b1e7c1f0a2b4c3d" && aws_vpc.this.tags["Name"] == "dev"
    error_message = "the VPC does not carry the environment's tags"
  }
}

run "each_zone_may_have_its_own_nat_gateway" {
  command = plan

  variables {
    nat = "per_zone"
  }

  assert {
    condition     = length(aws_nat_gateway.this) == 3 && length(aws_eip.nat) == 3
    error_message = "three zones should have three NAT gateways"
  }
}

run "a_closed_network_has_no_way_out" {
  command = plan

  variables {
    zones            = ["us-east-1a"]
    nat              = "none"
    internet_gateway = false
    flow_logs        = null
  }

  assert {
    condition     = length(aws_nat_gateway.this) + length(aws_internet_gateway.this) + length(aws_route.private) + length(aws_route.public) == 0
    error_message = "a closed network has a gateway or a default route"
  }

  assert {
    condition     = length(aws_flow_log.this) + length(aws_iam_role.flow) + length(aws_cloudwatch_log_group.flow) == 0
    error_message = "without flow logs their role or log group is still made"
  }
}

run "another_zone_moves_no_subnet" {
  command = plan

  variables {
    zones = ["us-east-1a", "us-east-1b"]
  }

  assert {
    condition     = output.private_subnet_cidrs == ["10.20.0.0/18", "10.20.64.0/18"]
    error_message = "the first two subnets depend on the number of zones"
  }
}

run "nonsense_is_refused" {
  command = plan

  variables {
    environment_id = "DEV"
    name           = "Dev_1"
    cidr           = "10.20.0.1/24"
    zones          = []
    nat            = "per-zone"
    flow_logs      = { retention_days = 31 }
    tags           = { "sre:name" = "other" }
  }

  expect_failures = [var.environment_id, var.name, var.cidr, var.zones, var.nat, var.flow_logs, var.tags]
}

run "the_smallest_network_has_room_for_load_balancers" {
  command = plan

  variables {
    cidr = "10.20.4.0/22"
  }

  assert {
    condition     = output.balancer_subnet_cidrs == ["10.20.7.192/28", "10.20.7.208/28", "10.20.7.224/28"]
    error_message = "a load balancer needs a /28: ${jsonencode(output.balancer_subnet_cidrs)}"
  }
}

run "nat_needs_the_internet_gateway" {
  command = plan

  variables {
    internet_gateway = false
  }

  expect_failures = [var.internet_gateway]
}
