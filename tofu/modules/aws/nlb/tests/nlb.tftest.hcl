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

variables {
  environment_id = "5b1e7c1f0a2b4c3d"
  name           = "dev"
  vpc_id         = "vpc-0123456789abcdef0"
  subnet_ids     = ["subnet-0123456789abcdef0", "subnet-0123456789abcdef1"]
  target_cidrs   = ["10.20.0.0/18", "10.20.64.0/18"]
  node_cidrs     = ["10.20.0.0/18", "10.20.64.0/18"]
  api_cidrs      = ["192.0.2.0/24"]
}

run "it_listens_where_rke2_is_asked" {
  command = plan

  assert {
    condition     = { for name, listener in aws_lb_listener.this : name => listener.port } == { api = 6443, supervisor = 9345, http = 80, https = 443 }
    error_message = "the listeners are not 6443, 9345, 80 and 443"
  }

  assert {
    condition     = aws_lb.this.internal && aws_lb.this.load_balancer_type == "network" && aws_lb.this.enable_cross_zone_load_balancing
    error_message = "the load balancer is not internal, not of type network or not cross-zone"
  }

  assert {
    condition     = alltrue([for group in aws_lb_target_group.this : group.preserve_client_ip == "false" && group.target_type == "instance"])
    error_message = "a target group preserves client addresses: a node could not reach itself through the load balancer"
  }
}

run "health_checks_are_ones_rke2_can_pass" {
  command = plan

  assert {
    condition     = aws_lb_target_group.this["supervisor"].health_check[0].protocol == "HTTPS" && aws_lb_target_group.this["supervisor"].health_check[0].path == "/ping"
    error_message = "the supervisor should be asked for /ping by HTTPS"
  }

  assert {
    condition     = alltrue([for name in ["api", "http", "https"] : aws_lb_target_group.this[name].health_check[0].protocol == "TCP"])
    error_message = "the API answers 401 and the ingress 404 without a host: only their ports can be checked"
  }
}

run "only_the_named_ranges_are_admitted" {
  command = plan

  assert {
    condition     = toset([for rule in aws_vpc_security_group_ingress_rule.clients : "${rule.from_port} ${rule.cidr_ipv4}"]) == toset(["6443 192.0.2.0/24", "6443 10.20.0.0/18", "6443 10.20.64.0/18", "9345 10.20.0.0/18", "9345 10.20.64.0/18"])
    error_message = "the load balancer admits: ${jsonencode([for rule in aws_vpc_security_group_ingress_rule.clients : "${rule.from_port} ${rule.cidr_ipv4}"])}"
  }

  assert {
    condition     = length(aws_vpc_security_group_egress_rule.targets) == 8 && alltrue([for rule in aws_vpc_security_group_egress_rule.targets : contains(var.target_cidrs, rule.cidr_ipv4)])
    error_message = "the load balancer should connect to four ports in each range of targets and nowhere else"
  }
}

run "names_fit_into_32_characters" {
  command = plan

  variables {
    name = "abcdefghijklmnopq-stuvwxyz-0123"
  }

  assert {
    condition     = length(aws_lb.this.name) <= 32 && alltrue([for group in aws_lb_target_group.this : length(group.name) <= 32])
    error_message = "a name is longer than AWS allows"
  }

  assert {
    condition     = alltrue([for name in concat([aws_lb.this.name], values(aws_lb_target_group.this)[*].name) : endswith(name, "-5b1e7c1f")])
    error_message = "a name does not carry the environment's short id"
  }
}

run "nonsense_is_refused" {
  command = plan

  variables {
    name                 = "internal-dev"
    subnet_ids           = []
    target_cidrs         = []
    node_cidrs           = ["somewhere"]
    api_cidrs            = ["0.0.0.0/0"]
    deregistration_delay = 3601
  }

  expect_failures = [var.name, var.subnet_ids, var.target_cidrs, var.node_cidrs, var.api_cidrs, var.deregistration_delay]
}
