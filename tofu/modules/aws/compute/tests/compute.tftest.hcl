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
  public_key     = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAB dev"
  load_balancer  = { first = { cidr = "10.20.0.0/18" } }

  nodes = {
    server-1  = { role = "server", image_id = "ami-00000000000000001", instance_type = "m6i.xlarge", disk_gib = 100, subnet = 0, private_ip = "10.20.0.11" }
    server-2  = { role = "server", image_id = "ami-00000000000000002", instance_type = "m6i.2xlarge", disk_gib = 120, subnet = 1 }
    general-1 = { role = "agent", image_id = "ami-00000000000000001", instance_type = "m6i.large", disk_gib = 80, subnet = 1, tags = { "sre:pool" = "general" } }
  }
}

run "each_node_is_what_it_was_given" {
  command = plan

  assert {
    condition     = aws_instance.node["server-1"].ami == "ami-00000000000000001" && aws_instance.node["server-2"].ami == "ami-00000000000000002"
    error_message = "nodes share an image"
  }

  assert {
    condition     = aws_instance.node["server-2"].instance_type == "m6i.2xlarge" && aws_instance.node["server-2"].root_block_device[0].volume_size == 120
    error_message = "a node has another size or disk than it was given"
  }

  assert {
    condition     = aws_instance.node["server-1"].private_ip == "10.20.0.11" && aws_instance.node["server-2"].subnet_id == "subnet-0123456789abcdef1"
    error_message = "a node is not where it should be"
  }

  assert {
    condition     = aws_instance.node["general-1"].tags["sre:pool"] == "general" && aws_instance.node["general-1"].tags["sre:role"] == "agent"
    error_message = "a node lacks its tags"
  }
}

run "machines_are_closed_by_default" {
  command = plan

  assert {
    condition     = alltrue([for node in aws_instance.node : node.metadata_options[0].http_tokens == "required" && node.metadata_options[0].http_put_response_hop_limit == 2])
    error_message = "a node answers version 1 of the metadata service, or not to a pod's network"
  }

  assert {
    condition     = alltrue([for node in aws_instance.node : node.root_block_device[0].encrypted && node.root_block_device[0].volume_type == "gp3" && !node.associate_public_ip_address])
    error_message = "a node has a clear disk or a public address"
  }

  assert {
    condition     = length(aws_iam_role_policy.role) == 0 && aws_iam_role.role["server"].path == "/sre/5b1e7c1f/"
    error_message = "roles of nodes may do something, or lie outside the environment's path"
  }

  assert {
    condition     = !anytrue([for rule in aws_vpc_security_group_ingress_rule.this : rule.from_port == 22])
    error_message = "someone is admitted by SSH"
  }

  assert {
    condition     = !anytrue([for rule in aws_vpc_security_group_egress_rule.this : rule.cidr_ipv4 == "0.0.0.0/0"])
    error_message = "nodes may connect to the internet"
  }
}

run "the_rules_are_exactly_these" {
  command = plan

  variables {
    ssh_cidrs = ["192.0.2.10/32"]
    egress    = { https = { from_port = 443, to_port = 443, cidr = "0.0.0.0/0" } }
  }

  assert {
    condition = toset([for name, rule in local.ingress : "${rule.group} ${rule.protocol}/${rule.from}-${rule.to} < ${try(rule.peer, rule.cidr)}"]) == toset([
      "node tcp/10250-10250 < node",
      "node tcp/9344-9344 < node",
      "node udp/8472-8472 < node",
      "node tcp/9099-9099 < node",
      "node tcp/22-22 < 192.0.2.10/32",
      "server tcp/6443-6443 < node",
      "server tcp/9345-9345 < node",
      "server tcp/2379-2380 < server",
      "server tcp/6443-6443 < 10.20.0.0/18",
      "server tcp/9345-9345 < 10.20.0.0/18",
      "agent tcp/80-80 < 10.20.0.0/18",
      "agent tcp/443-443 < 10.20.0.0/18",
    ])
    error_message = "other ingress rules: ${jsonencode(keys(local.ingress))}"
  }

  assert {
    condition = toset([for name, rule in local.egress : "${rule.group} ${rule.protocol}/${rule.from}-${rule.to} > ${try(rule.peer, rule.cidr)}"]) == toset([
      "node tcp/10250-10250 > node",
      "node tcp/9344-9344 > node",
      "node udp/8472-8472 > node",
      "node tcp/9099-9099 > node",
      "node tcp/6443-6443 > server",
      "node tcp/9345-9345 > server",
      "server tcp/2379-2380 > server",
      "node tcp/6443-6443 > 10.20.0.0/18",
      "node tcp/9345-9345 > 10.20.0.0/18",
      "node tcp/443-443 > 0.0.0.0/0",
    ])
    error_message = "other egress rules: ${jsonencode(keys(local.egress))}"
  }

  assert {
    condition     = length(aws_vpc_security_group_ingress_rule.this) == length(local.ingress) && length(aws_vpc_security_group_egress_rule.this) == length(local.egress)
    error_message = "a rule of the table is not made"
  }
}

run "the_pod_network_decides_ports" {
  command = plan

  variables {
    cni = "cilium"
  }

  assert {
    condition     = toset([for rule in local.cni_ports : "${rule[0]} ${rule[1]}"]) == toset(["udp 8472", "tcp 4240", "udp 51871", "icmp 8"])
    error_message = "cilium needs other ports: ${jsonencode(local.cni_ports)}"
  }
}

run "one_server_without_a_load_balancer_is_reached_directly" {
  command = plan

  variables {
    load_balancer = {}
    api_cidrs     = ["192.0.2.0/24"]
    jump          = { image_id = "ami-00000000000000001", subnet_id = "subnet-0123456789abcdef2", ssh_cidrs = ["192.0.2.0/24"] }
  }

  assert {
    condition     = contains(keys(local.ingress), "api-192.0.2.0/24") && contains(keys(local.ingress), "jump-api")
    error_message = "the API of the server cannot be reached"
  }
}

run "a_jump_machine_is_the_only_way_in" {
  command = plan

  variables {
    jump = { image_id = "ami-00000000000000001", subnet_id = "subnet-0123456789abcdef2", ssh_cidrs = ["192.0.2.0/24"] }
  }

  assert {
    condition     = [for rule in local.ingress : "${rule.group} < ${try(rule.peer, rule.cidr)}" if rule.from == 22] == ["jump < 192.0.2.0/24", "node < jump"]
    error_message = "SSH is admitted otherwise: ${jsonencode([for rule in local.ingress : rule if rule.from == 22])}"
  }

  assert {
    condition     = toset([for rule in local.egress : rule.from if rule.group == "jump"]) == toset([22, 6443])
    error_message = "the jump machine may connect to more than SSH of nodes and the API"
  }

  assert {
    condition     = aws_instance.jump[0].associate_public_ip_address && aws_instance.jump[0].metadata_options[0].http_tokens == "required"
    error_message = "the jump machine has no public address or an open metadata service"
  }
}

run "rights_are_given_by_role" {
  command = plan

  variables {
    policies = { server = { volumes = "{\"Version\":\"2012-10-17\",\"Statement\":[]}" } }
  }

  assert {
    condition     = keys(aws_iam_role_policy.role) == ["server-volumes"]
    error_message = "the policy of servers is not on their role alone"
  }
}

run "nonsense_is_refused" {
  command = plan

  variables {
    public_key    = "ecdsa-sha2-nistp256 AAAA"
    cni           = "weave"
    ssh_cidrs     = ["0.0.0.0/0"]
    ingress_roles = ["worker"]
    egress        = { all = { from_port = 0, to_port = 0, cidr = "0.0.0.0/0" } }
    policies      = { agent = { broken = "{" } }
    nodes         = { "Server_1" = { role = "master", image_id = "rocky", instance_type = "m6i.large", disk_gib = 8, subnet = 0 } }
    jump          = { image_id = "ami-00000000000000001", subnet_id = "subnet-0123456789abcdef2", ssh_cidrs = [] }
  }

  expect_failures = [var.public_key, var.cni, var.ssh_cidrs, var.ingress_roles, var.egress, var.policies, var.nodes, var.jump]
}
