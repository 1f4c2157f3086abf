package main

import (
	"encoding/json"
	"log"
	"net"
	"net/http"
	"sort"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// doors serves what only a lab has: POST /lab/off/VM (the guest switched itself off), POST and DELETE /lab/fault (rules of
// govmomi's simulator), GET /lab/inventory (everything that an environment could leave behind).
func doors(at net.Listener, service *simulator.Service, h *hypervisor) {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /lab/off/{vm}", func(w http.ResponseWriter, r *http.Request) {
		vm := h.vm(r.PathValue("vm"))
		if vm == nil {
			http.NotFound(w, r)
			return
		}
		ctx := h.context()
		ctx.WithLock(vm, func() {
			if vm.Runtime.PowerState == types.VirtualMachinePowerStatePoweredOn {
				off := types.VirtualMachinePowerStatePoweredOff
				ctx.Update(vm, []types.PropertyChange{{Name: "runtime.powerState", Val: off}, {Name: "summary.runtime.powerState", Val: off}})
			}
		})
	})
	mux.HandleFunc("POST /lab/fault", func(w http.ResponseWriter, r *http.Request) {
		rule := &simulator.FaultInjectionRule{ObjectType: "*", ObjectName: "*", Probability: 1, Enabled: true}
		if err := json.NewDecoder(r.Body).Decode(rule); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		service.AddFaultRule(rule)
	})
	mux.HandleFunc("DELETE /lab/fault", func(http.ResponseWriter, *http.Request) { service.ClearFaultRules() })
	mux.HandleFunc("GET /lab/inventory", func(w http.ResponseWriter, _ *http.Request) {
		if err := json.NewEncoder(w).Encode(inventory(h.reg)); err != nil {
			log.Printf("vcenter: %v", err)
		}
	})
	log.Print(http.Serve(at, mux))
}

func inventory(reg *simulator.Registry) map[string][]string {
	found := map[string][]string{"machines": {}, "folders": {}, "rules": {}}
	for _, thing := range reg.All("VirtualMachine") {
		found["machines"] = append(found["machines"], thing.(*simulator.VirtualMachine).Name)
	}
	for _, thing := range reg.All("Folder") {
		if folder, ok := thing.(interface{ Entity() *mo.ManagedEntity }); ok {
			found["folders"] = append(found["folders"], folder.Entity().Name)
		}
	}
	for _, thing := range reg.All("ClusterComputeResource") {
		if set, ok := thing.(*simulator.ClusterComputeResource).ConfigurationEx.(*types.ClusterConfigInfoEx); ok {
			for _, rule := range set.Rule {
				found["rules"] = append(found["rules"], rule.GetClusterRuleInfo().Name)
			}
		}
	}
	for _, names := range found {
		sort.Strings(names)
	}
	return found
}
