# The three modules in one root, where every id is unknown until it is made.
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
  target = module.vpc.data.aws_caller_identity.current
  values = { account_id = "111122223333" }
}

run "the_example_can_be_planned_at_once" {
  command = plan

  module {
    source = "./examples/three-servers"
  }

  variables {
    image_id   = "ami-0123456789abcdef0"
    public_key = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAB operator"
  }

  assert {
    condition     = length(output.nodes) == 4
    error_message = "the example does not make four nodes"
  }
}
