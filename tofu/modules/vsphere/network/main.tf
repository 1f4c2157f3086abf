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

resource "vsphere_folder" "this" {
  path          = "${var.folder}/${var.name}-${substr(var.environment_id, 0, 8)}"
  type          = "vm"
  datacenter_id = data.vsphere_datacenter.this.id

  custom_attributes = { for name, value in var.attributes : data.vsphere_custom_attribute.this[name].id => value }
}
