package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// disk is what a virtual machine's disk is made of.
type disk struct {
	image   string // that it starts from, or the last one that was captured from it
	hosted, // a machine of the lab has it
	changed bool // since it was captured
}

// hypervisor turns changes of power into calls of the machine command: in order per virtual machine, in the background.
type hypervisor struct {
	command       []string
	dir, name     string
	ctx           *simulator.Context
	reg           *simulator.Registry
	self          types.ManagedObjectReference
	lock          sync.Mutex
	disks         map[string]*disk
	addresses     map[string]string
	plugged       map[string]bool // which of them are in the network: not those of what is off
	calls         map[string]chan func()
	notes         map[string]string // of clones that are asked for, by folder and name: the simulator drops them
	next, image   int
	networkBusy   sync.Mutex
	consoleFolder string
	mute          atomic.Bool // machines that boot report nothing: their Tools never came up
}

func newHypervisor(ctx *simulator.Context, reg *simulator.Registry, command []string, dir, name string) *hypervisor {
	h := &hypervisor{
		command: command, dir: dir, name: name, ctx: ctx, reg: reg,
		self:  types.ManagedObjectReference{Type: "Lab", Value: "hypervisor"},
		disks: map[string]*disk{}, addresses: map[string]string{}, plugged: map[string]bool{}, calls: map[string]chan func(){}, notes: map[string]string{},
		consoleFolder: filepath.Join(filepath.Dir(dir), "machines"),
	}
	reg.AddHandler(h)
	reg.Handler = h.called
	filter := types.EventFilterSpec{EventTypeId: []string{"VmClonedEvent"}}
	body, ok := reg.EventManager().CreateCollectorForEvents(ctx, &types.CreateCollectorForEvents{Filter: filter}).(*methods.CreateCollectorForEventsBody)
	if !ok || body.Fault_ != nil {
		log.Fatal("vcenter: no collector of events")
	}
	return h
}

// Reference, PutObject, UpdateObject and RemoveObject are what the simulator tells of every change.
func (h *hypervisor) Reference() types.ManagedObjectReference    { return h.self }
func (h *hypervisor) PutObject(*simulator.Context, mo.Reference) {}

func (h *hypervisor) UpdateObject(_ *simulator.Context, object mo.Reference, changes []types.PropertyChange) {
	for _, change := range changes {
		switch thing := object.(type) {
		case *mo.EventHistoryCollector:
			if events, ok := change.Val.(*types.ArrayOfEvent); ok {
				h.cloned(events.Event)
			}
		case *mo.VirtualMachine:
			if change.Name == "runtime.powerState" {
				h.power(thing, change.Val)
			}
		}
	}
}

func (h *hypervisor) RemoveObject(_ *simulator.Context, gone types.ManagedObjectReference) {
	if gone.Type != "VirtualMachine" {
		return
	}
	id := gone.Value
	h.soon(id, func() {
		d := h.disk(id)
		if d.hosted {
			_ = h.run(nil, "down", id)
		}
		if d.image != "" && strings.HasPrefix(d.image, id+"-") {
			_ = h.run(nil, "rmimage", d.image)
		}
		h.lock.Lock()
		delete(h.disks, id)
		delete(h.addresses, id)
		h.lock.Unlock()
		h.plug(id, false)
	})
}

// called sees every call before it is carried out.
func (h *hypervisor) called(ctx *simulator.Context, method *simulator.Method) (mo.Reference, types.BaseMethodFault) {
	clone, ok := method.Body.(*types.CloneVM_Task)
	if !ok {
		return nil, nil
	}
	notes := ""
	if source, found := ctx.Map.Get(clone.This).(*simulator.VirtualMachine); found && source.Config != nil {
		notes = source.Config.Annotation
	}
	if clone.Spec.Config != nil && clone.Spec.Config.Annotation != "" {
		notes = clone.Spec.Config.Annotation
	}
	h.lock.Lock()
	h.notes[clone.Folder.Value+"/"+clone.Name] = notes
	h.lock.Unlock()
	return nil, nil
}

// noted gives a new clone the notes that were asked for, else those of what it was cloned from; nobody else knows it yet.
func (h *hypervisor) noted(vm *simulator.VirtualMachine) {
	if vm == nil || vm.Parent == nil {
		return
	}
	h.lock.Lock()
	notes := h.notes[vm.Parent.Value+"/"+vm.Name]
	h.lock.Unlock()
	vm.Config.Annotation, vm.Summary.Config.Annotation = notes, notes
}

// cloned notes what a clone starts from; a source that ran since is captured first.
func (h *hypervisor) cloned(events []types.BaseEvent) {
	for _, event := range events {
		clone, ok := event.(*types.VmClonedEvent)
		if !ok || clone.Vm == nil {
			continue
		}
		id, source := clone.Vm.Vm.Value, clone.SourceVm.Vm.Value
		h.lock.Lock()
		_, known := h.disks[id]
		h.lock.Unlock()
		if known {
			continue
		}
		h.disk(id)
		h.noted(h.vm(id))
		captured := make(chan string, 1)
		h.soon(source, func() { captured <- h.capture(source) })
		h.soon(id, func() { h.disk(id).image = <-captured })
	}
}

func (h *hypervisor) capture(id string) string {
	d := h.disk(id)
	if !d.hosted || !d.changed {
		return d.image
	}
	h.lock.Lock()
	h.image++
	image := fmt.Sprintf("%s-%d", id, h.image)
	h.lock.Unlock()
	if h.run(nil, "image", image, id) != nil {
		return d.image
	}
	old := d.image
	d.image, d.changed = image, false
	if strings.HasPrefix(old, id+"-") {
		_ = h.run(nil, "rmimage", old)
	}
	return image
}

func (h *hypervisor) power(vm *mo.VirtualMachine, state types.AnyType) {
	id := vm.Self.Value
	switch state {
	case types.VirtualMachinePowerStatePoweredOn:
		vm.Config.SwapPlacement = "inherit" // the simulator drops it, and the provider would plan it again
		seed := h.seed(vm)
		h.soon(id, func() { h.on(id, seed) })
	case types.VirtualMachinePowerStatePoweredOff:
		h.guest(id, "", true)
		h.soon(id, func() {
			if h.disk(id).hosted {
				_ = h.run(nil, "stop", id)
			}
			h.plug(id, false)
		})
	}
}

func (h *hypervisor) on(id string, given seed) {
	files, err := given.write(filepath.Join(h.dir, "seeds", id))
	if err != nil {
		log.Printf("vcenter: %s: %v", id, err)
		return
	}
	d := h.disk(id)
	h.lock.Lock()
	h.addresses[id] = given.address
	h.lock.Unlock()
	h.plug(id, true)
	image := d.image
	if image == "" {
		image = "base"
	}
	if d.hosted {
		err = h.run(nil, "start", id)
	} else {
		err = h.run(nil, append([]string{"up", id, given.address, image}, files...)...)
	}
	if err != nil {
		return
	}
	d.hosted, d.changed = true, true
	if h.mute.Load() {
		return
	}
	h.guest(id, given.address, false)
	go h.tools(id, given.address)
}

// tools repeats what it reports, as the real ones do, and passes on what the guest wrote to its guestinfo.
func (h *hypervisor) tools(id, address string) {
	for h.isOn(id) {
		time.Sleep(time.Second)
		h.guestinfo(id)
		h.guest(id, address, false)
	}
}

func (h *hypervisor) isOn(id string) bool {
	vm := h.vm(id)
	return vm != nil && vm.Runtime.PowerState == types.VirtualMachinePowerStatePoweredOn
}

func (h *hypervisor) vm(id string) *simulator.VirtualMachine {
	vm, _ := h.reg.Get(types.ManagedObjectReference{Type: "VirtualMachine", Value: id}).(*simulator.VirtualMachine)
	return vm
}

// disk is only changed by the calls of its virtual machine, one after the other.
func (h *hypervisor) disk(id string) *disk {
	h.lock.Lock()
	defer h.lock.Unlock()
	if h.disks[id] == nil {
		h.disks[id] = &disk{}
	}
	return h.disks[id]
}

// soon carries calls of one virtual machine out, in their order.
func (h *hypervisor) soon(id string, call func()) {
	h.lock.Lock()
	calls := h.calls[id]
	if calls == nil {
		calls = make(chan func(), 256)
		h.calls[id] = calls
		go func() {
			for call := range calls {
				call()
			}
		}()
	}
	h.lock.Unlock()
	calls <- call
}

// plug tells the lab that a machine is in the network, or no longer: another one may have its address then.
func (h *hypervisor) plug(id string, in bool) {
	h.lock.Lock()
	if in {
		h.plugged[id] = true
	} else {
		delete(h.plugged, id)
	}
	h.lock.Unlock()
	h.network()
}

// floating is an address that machines may pass on among themselves; lab/machines/floating leads to who has it.
const floating = "10.98.1.250"

// network tells the lab which machines there are: one flat port group in which everybody reaches everybody.
func (h *hypervisor) network() {
	h.networkBusy.Lock()
	defer h.networkBusy.Unlock()
	type machine struct {
		ID     string   `json:"id"`
		IP     string   `json:"ip"`
		VPC    string   `json:"vpc"`
		Groups []string `json:"groups"`
	}
	machines := []machine{}
	h.lock.Lock()
	for id := range h.plugged {
		machines = append(machines, machine{id, h.addresses[id], "vsphere", []string{"vsphere"}})
	}
	h.lock.Unlock()
	everybody := []map[string]any{{"proto": "-1", "from": 0, "to": 0, "cidrs": []string{"0.0.0.0/0"}}}
	text, err := json.Marshal(map[string]any{
		"machines": machines,
		"floating": []map[string]string{{"address": floating, "vpc": "vsphere"}},
		"groups":   map[string]any{"vsphere": map[string]any{"ingress": everybody, "egress": everybody}},
		"names":    map[string]string{h.name: "127.0.0.1"},
	})
	if err == nil {
		_ = h.run(text, "network", "vsphere")
	}
}

func (h *hypervisor) run(given []byte, words ...string) error {
	if len(h.command) == 0 {
		return nil
	}
	started := time.Now()
	command := exec.Command(h.command[0], append(append([]string{}, h.command[1:]...), words...)...)
	command.Stdin, command.Env = bytes.NewReader(given), os.Environ()
	out, err := command.CombinedOutput()
	if err != nil || words[0] != "network" {
		log.Printf("machine %s %v %.2f s %s", strings.Join(words, " "), err, time.Since(started).Seconds(), bytes.TrimSpace(out))
	}
	return err
}
