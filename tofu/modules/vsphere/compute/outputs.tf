output "nodes" {
  description = "The nodes by name: managed object id, address, role, template, and the CPUs and memory they have."
  value = {
    for name, node in vsphere_virtual_machine.node : name => {
      id         = node.moid
      uuid       = node.id
      address    = var.nodes[name].address
      role       = var.nodes[name].role
      template   = var.nodes[name].template
      cpus       = node.num_cpus
      memory_gib = floor(node.memory / 1024)
    }
  }
}
