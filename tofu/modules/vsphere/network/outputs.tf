output "folder" {
  description = "Path of the environment's folder, below the datacenter's folder of machines."
  value       = vsphere_folder.this.path
}

output "network" {
  description = "Name of the port group."
  value       = data.vsphere_network.this.name
}

output "network_id" {
  description = "Managed object id of the port group."
  value       = data.vsphere_network.this.id
}

output "tag_ids" {
  description = "Ids of the environment's tags, for its machines; none unless `tagged`."
  value       = vsphere_tag.this[*].id
}
