package main

import (
	"encoding/json"
	"fmt"
	"log"
	"net"
	"net/http"
	"reflect"
	"sort"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// planted is a rule of govmomi's simulator whose fault is told by its name in the vSphere API, such as `NoDiskSpace`.
type planted struct {
	simulator.FaultInjectionRule
	Fault string
}

func (p *planted) rule() (*simulator.FaultInjectionRule, error) {
	if p.Fault == "" {
		return &p.FaultInjectionRule, nil
	}
	kind, ok := types.TypeFunc()(p.Fault)
	if !ok {
		return nil, fmt.Errorf("no type %s", p.Fault)
	}
	fault, ok := reflect.New(kind).Interface().(types.BaseMethodFault)
	if !ok {
		return nil, fmt.Errorf("%s is no fault", p.Fault)
	}
	p.FaultInjectionRule.Fault, p.FaultType = fault, simulator.FaultTypeCustom
	return &p.FaultInjectionRule, nil
}

// doors serves what only a lab has: POST /lab/off/VM (the guest switched itself off), POST and DELETE /lab/fault (rules of
// govmomi's simulator), PUT /lab/refused (privileges that nobody has), PUT /lab/attribute (a custom attribute of
// everything that has it), PUT /lab/forget/NAME (a machine loses its attributes), PUT /lab/mute (whether machines that boot from now on
// report nothing), PUT /lab/room (how much there is of everything), GET /lab/inventory (everything that an environment could leave behind).
func doors(at net.Listener, service *simulator.Service, h *hypervisor, r *rights, room *room) {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /lab/off/{vm}", func(w http.ResponseWriter, req *http.Request) {
		vm := h.vm(req.PathValue("vm"))
		if vm == nil {
			http.NotFound(w, req)
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
	mux.HandleFunc("POST /lab/fault", func(w http.ResponseWriter, req *http.Request) {
		told := &planted{FaultInjectionRule: simulator.FaultInjectionRule{ObjectType: "*", ObjectName: "*", Probability: 1, Enabled: true}}
		err := json.NewDecoder(req.Body).Decode(told)
		var rule *simulator.FaultInjectionRule
		if err == nil {
			rule, err = told.rule()
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		service.AddFaultRule(rule)
	})
	mux.HandleFunc("DELETE /lab/fault", func(http.ResponseWriter, *http.Request) {
		service.ClearFaultRules()
		r.refuse(nil)
		h.mute.Store(false)
		room.set(plenty)
	})
	mux.HandleFunc("PUT /lab/room", func(w http.ResponseWriter, req *http.Request) {
		told := plenty
		if err := json.NewDecoder(req.Body).Decode(&told); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		room.set(told)
	})
	mux.HandleFunc("PUT /lab/refused", func(w http.ResponseWriter, req *http.Request) {
		var privileges []string
		if err := json.NewDecoder(req.Body).Decode(&privileges); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		r.refuse(privileges)
	})
	mux.HandleFunc("PUT /lab/attribute", func(w http.ResponseWriter, req *http.Request) {
		told := map[string]string{}
		if err := json.NewDecoder(req.Body).Decode(&told); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		for name, value := range told {
			set(h.context(), h.reg, name, value)
		}
	})
	mux.HandleFunc("PUT /lab/forget/{name}", func(w http.ResponseWriter, req *http.Request) {
		for _, thing := range h.reg.All("VirtualMachine") {
			if vm := thing.(*simulator.VirtualMachine); vm.Name == req.PathValue("name") {
				ctx := h.context()
				ctx.WithLock(vm, func() {
					none := []types.BaseCustomFieldValue{}
					ctx.Update(vm, []types.PropertyChange{{Name: "customValue", Val: none}, {Name: "value", Val: none}, {Name: "config.annotation", Val: ""}})
				})
			}
		}
	})
	mux.HandleFunc("PUT /lab/mute", func(http.ResponseWriter, *http.Request) { h.mute.Store(true) })
	mux.HandleFunc("GET /lab/inventory", func(w http.ResponseWriter, _ *http.Request) {
		if err := json.NewEncoder(w).Encode(inventory(h.reg)); err != nil {
			log.Printf("vcenter: %v", err)
		}
	})
	log.Print(http.Serve(at, mux))
}

// set gives a custom attribute this value on everything that has one.
func set(ctx *simulator.Context, reg *simulator.Registry, name, value string) {
	manager := reg.CustomFieldsManager()
	for _, field := range manager.Field {
		if field.Name != name {
			continue
		}
		for _, thing := range append(reg.All("VirtualMachine"), reg.All("Folder")...) {
			for _, have := range thing.Entity().CustomValue {
				if have.GetCustomFieldValue().Key == field.Key {
					manager.SetField(ctx, &types.SetField{This: manager.Self, Entity: thing.Reference(), Key: field.Key, Value: value})
					break
				}
			}
		}
	}
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
