locals {
  short_id   = substr(var.environment_id, 0, 8)
  servers    = sort([for name, node in var.nodes : name if node.role == "server"])
  templates  = toset([for node in values(var.nodes) : node.template])
  attributes = toset(flatten([for node in values(var.nodes) : keys(node.attributes)]))
}

data "vsphere_datacenter" "this" {
  name = var.datacenter
}

data "vsphere_compute_cluster" "this" {
  name          = var.cluster
  datacenter_id = data.vsphere_datacenter.this.id
}

data "vsphere_resource_pool" "this" {
  count = var.resource_pool == null ? 0 : 1

  name          = var.resource_pool
  datacenter_id = data.vsphere_datacenter.this.id
}

data "vsphere_datastore" "this" {
  name          = var.datastore
  datacenter_id = data.vsphere_datacenter.this.id
}

data "vsphere_storage_policy" "this" {
  count = var.storage_policy == null ? 0 : 1

  name = var.storage_policy
}

data "vsphere_network" "this" {
  name          = var.network
  datacenter_id = data.vsphere_datacenter.this.id
}

data "vsphere_custom_attribute" "this" {
  for_each = local.attributes

  name = each.key
}

data "vsphere_virtual_machine" "template" {
  for_each = local.templates

  name          = each.key
  datacenter_id = data.vsphere_datacenter.this.id
}

# One resource per node: each has a template, and a life, of its own.
resource "vsphere_virtual_machine" "node" {
  for_each = var.nodes

  name             = each.key
  folder           = var.folder
  resource_pool_id = var.resource_pool == null ? data.vsphere_compute_cluster.this.resource_pool_id : data.vsphere_resource_pool.this[0].id
  datastore_id     = data.vsphere_datastore.this.id

  storage_policy_id = one(data.vsphere_storage_policy.this[*].id)

  num_cpus = each.value.cpus
  memory   = each.value.memory_gib * 1024

  guest_id  = data.vsphere_virtual_machine.template[each.value.template].guest_id
  scsi_type = data.vsphere_virtual_machine.template[each.value.template].scsi_type
  firmware  = data.vsphere_virtual_machine.template[each.value.template].firmware

  efi_secure_boot_enabled = var.secure_boot
  hardware_version        = var.hardware_version

  # By it a disk is found inside of the machine.
  enable_disk_uuid = true

  network_interface {
    network_id = data.vsphere_network.this.id
  }

  disk {
    label            = "disk0"
    size             = max(each.value.disk_gib, data.vsphere_virtual_machine.template[each.value.template].disks[0].size)
    thin_provisioned = data.vsphere_virtual_machine.template[each.value.template].disks[0].thin_provisioned
    eagerly_scrub    = data.vsphere_virtual_machine.template[each.value.template].disks[0].eagerly_scrub

    storage_policy_id = one(data.vsphere_storage_policy.this[*].id)
  }

  clone {
    template_uuid = data.vsphere_virtual_machine.template[each.value.template].id
  }

  extra_config = {
    "guestinfo.metadata"          = base64encode(each.value.metadata)
    "guestinfo.metadata.encoding" = "base64"
    "guestinfo.userdata"          = base64encode(each.value.user_data)
    "guestinfo.userdata.encoding" = "base64"
  }

  custom_attributes = { for name, value in each.value.attributes : data.vsphere_custom_attribute.this[name].id => value }

  tags = var.tag_ids

  wait_for_guest_net_timeout  = var.guest_net_timeout
  wait_for_guest_net_routable = false

  lifecycle {
    # What a template left in the notes tells of the template; what is told at the first boot counts there only, and the
    # provider would restart a machine to tell it again. For other firmware or hardware it would switch off all at once.
    ignore_changes = [annotation, extra_config, efi_secure_boot_enabled, hardware_version]

    precondition {
      condition     = var.secure_boot != true || data.vsphere_virtual_machine.template[each.value.template].firmware == "efi"
      error_message = "secure_boot needs a template with EFI firmware; ${each.value.template} has ${data.vsphere_virtual_machine.template[each.value.template].firmware}."
    }
  }
}

# Servers on hosts of their own, as long as there are enough hosts.
resource "vsphere_compute_cluster_vm_anti_affinity_rule" "servers" {
  count = length(local.servers) > 1 ? 1 : 0

  name                = "${var.name}-${local.short_id}-servers"
  compute_cluster_id  = data.vsphere_compute_cluster.this.id
  virtual_machine_ids = [for name in local.servers : vsphere_virtual_machine.node[name].id]
}
