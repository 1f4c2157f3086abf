# The port group is only looked up: it is there before an environment and stays after it.

data "vsphere_datacenter" "this" {
  name = var.datacenter
}

data "vsphere_network" "this" {
  name          = var.network
  datacenter_id = data.vsphere_datacenter.this.id
}

data "vsphere_custom_attribute" "this" {
  for_each = toset(keys(var.attributes))

  name = each.key
}

# A category of its own: one that others share could not go with the environment.
resource "vsphere_tag_category" "this" {
  count = var.tagged ? 1 : 0

  name             = "sre-${var.name}-${substr(var.environment_id, 0, 8)}"
  description      = "Environment ${var.name}, ${var.environment_id}"
  cardinality      = "SINGLE"
  associable_types = ["Folder", "VirtualMachine"]

  lifecycle {
    # Some vCenters give the types back under longer names.
    ignore_changes = [associable_types]
    # It goes after what carried it was told so, not before.
    create_before_destroy = true
  }
}

resource "vsphere_tag" "this" {
  count = var.tagged ? 1 : 0

  name        = var.environment_id
  description = "Environment ${var.name}"
  category_id = vsphere_tag_category.this[0].id

  lifecycle {
    create_before_destroy = true
  }
}

resource "vsphere_folder" "this" {
  path          = "${var.folder}/${var.name}-${substr(var.environment_id, 0, 8)}"
  type          = "vm"
  datacenter_id = data.vsphere_datacenter.this.id

  tags              = vsphere_tag.this[*].id
  custom_attributes = { for name, value in var.attributes : data.vsphere_custom_attribute.this[name].id => value }
}
