package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// Where the guest's vmware-rpctool keeps what it is told to set, below the machine's own layer: a clone has none of it.
const written = "upper/var/lib/lab/guestinfo"

// What the guest may not write to, as it is its own beginning.
var given = []string{"guestinfo.metadata", "guestinfo.userdata", "guestinfo.vendordata"}

// seed is what a machine is started with.
type seed struct {
	address            string
	metadata, userdata []byte
}

// What Linux calls the first VMXNET 3 card, by the slot that vSphere gives it.
const card = "ens192"

// static tells the address that metadata in JSON gives to the card: by its name, as cloud-init's renderers on Rocky know no
// patterns. None where it gives none.
func static(metadata []byte) string {
	var told struct {
		Network struct {
			Ethernets map[string]struct {
				Match     map[string]string
				Addresses []string
			}
		}
	}
	if json.Unmarshal(metadata, &told) != nil {
		return ""
	}
	if one := told.Network.Ethernets[card]; len(one.Match) == 0 && len(one.Addresses) > 0 {
		if address, _, err := net.ParseCIDR(one.Addresses[0]); err == nil {
			return address.String()
		}
	}
	return ""
}

// seed reads guestinfo as cloud-init's data source VMware does; without an address in it the machine gets one by itself,
// as from DHCP. The caller holds the virtual machine's lock.
func (h *hypervisor) seed(vm *mo.VirtualMachine) seed {
	var s seed
	for _, option := range vm.Config.ExtraConfig {
		value, _ := option.GetOptionValue().Value.(string)
		switch option.GetOptionValue().Key {
		case "guestinfo.metadata":
			s.metadata = decoded(value)
		case "guestinfo.userdata":
			s.userdata = decoded(value)
		}
	}
	h.lock.Lock()
	defer h.lock.Unlock()
	if s.address = h.addresses[vm.Self.Value]; s.address != "" {
		return s
	}
	if vm.Guest != nil && vm.Guest.IpAddress != "" { // of a customisation specification
		s.address = vm.Guest.IpAddress
	} else if s.address = static(s.metadata); s.address == "" {
		h.next++
		s.address = fmt.Sprintf("10.98.200.%d", 10+h.next%240)
	}
	if !bytes.Contains(s.metadata, []byte("instance-id")) {
		s.metadata = append(s.metadata, fmt.Sprintf("\ninstance-id: %s\n", vm.Self.Value)...)
	}
	return s
}

// write leaves the files that the machine command takes: public keys, user data, metadata.
func (s seed) write(dir string) ([]string, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	var files []string
	for _, part := range []struct {
		name string
		text []byte
	}{{"keys", nil}, {"user-data", s.userdata}, {"meta-data", s.metadata}} {
		file := filepath.Join(dir, part.name)
		if err := os.WriteFile(file, part.text, 0o600); err != nil {
			return nil, err
		}
		files = append(files, file)
	}
	return files, nil
}

func decoded(text string) []byte {
	plain, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return []byte(text)
	}
	if packed, err := gzip.NewReader(bytes.NewReader(plain)); err == nil {
		if unpacked, err := io.ReadAll(packed); err == nil {
			return unpacked
		}
	}
	return plain
}

// guestinfo takes over what the guest wrote.
func (h *hypervisor) guestinfo(id string) {
	files, _ := filepath.Glob(filepath.Join(h.consoleFolder, id, written, "guestinfo.*"))
	news := map[string]string{}
	for _, file := range files {
		if text, err := os.ReadFile(file); err == nil {
			news[filepath.Base(file)] = strings.TrimRight(string(text), "\n")
		}
	}
	for _, own := range given {
		delete(news, own)
	}
	vm := h.vm(id)
	if vm == nil || len(news) == 0 {
		return
	}
	ctx := h.context()
	ctx.WithLock(vm, func() {
		options, changed := merged(vm.Config.ExtraConfig, news)
		if changed {
			ctx.Update(vm, []types.PropertyChange{{Name: "config.extraConfig", Val: options}})
		}
	})
}

func merged(old []types.BaseOptionValue, news map[string]string) ([]types.BaseOptionValue, bool) {
	options, changed := append([]types.BaseOptionValue(nil), old...), false
	for key, value := range news {
		at := -1
		for index, option := range options {
			if option.GetOptionValue().Key == key {
				at = index
			}
		}
		switch {
		case at < 0:
			options, changed = append(options, &types.OptionValue{Key: key, Value: value}), true
		case options[at].GetOptionValue().Value != value:
			options[at], changed = &types.OptionValue{Key: key, Value: value}, true
		}
	}
	return options, changed
}

func (h *hypervisor) context() *simulator.Context {
	return &simulator.Context{Context: context.Background(), Map: h.reg, Session: h.ctx.Session}
}

// guest fills what VMware Tools report, or clears it; locked says that the caller is within the virtual machine's update.
func (h *hypervisor) guest(id, address string, locked bool) {
	vm := h.vm(id)
	if vm == nil {
		return
	}
	if locked {
		h.ctx.Update(vm, report(vm, address))
		return
	}
	ctx := h.context()
	ctx.WithLock(vm, func() { ctx.Update(vm, report(vm, address)) })
}

func report(vm *simulator.VirtualMachine, address string) []types.PropertyChange {
	tools, state := "guestToolsNotRunning", "notRunning"
	nets := append([]types.GuestNicInfo(nil), vm.Guest.Net...)
	var stack []types.GuestStackInfo
	for index := range nets {
		nets[index].IpAddress, nets[index].IpConfig = nil, nil
	}
	if address != "" {
		tools, state = "guestToolsRunning", "running"
		cards := object.VirtualDeviceList(vm.Config.Hardware.Device).SelectByType((*types.VirtualEthernetCard)(nil))
		for index := range nets {
			if index < len(cards) {
				card := cards[index].(types.BaseVirtualEthernetCard).GetVirtualEthernetCard()
				nets[index].DeviceConfigId, nets[index].MacAddress = card.Key, card.MacAddress
			}
			nets[index].Connected = true
		}
		if len(nets) > 0 {
			nets[0].IpAddress = []string{address}
			nets[0].IpConfig = &types.NetIpConfigInfo{IpAddress: []types.NetIpConfigInfoIpAddress{{IpAddress: address, PrefixLength: 24, State: "preferred"}}}
		}
		gateway := types.NetIpRouteConfigInfoGateway{IpAddress: address[:strings.LastIndex(address, ".")] + ".1", Device: "0"}
		stack = []types.GuestStackInfo{{IpRouteConfig: &types.NetIpRouteConfigInfo{IpRoute: []types.NetIpRouteConfigInfoIpRoute{
			{Network: "0.0.0.0", PrefixLength: 0, Gateway: gateway}}}}}
	}
	return []types.PropertyChange{
		{Name: "guest.toolsRunningStatus", Val: tools}, {Name: "summary.guest.toolsRunningStatus", Val: tools},
		{Name: "guest.toolsVersionStatus2", Val: "guestToolsUnmanaged"}, {Name: "guest.guestState", Val: state},
		// In this order: the provider forgets addresses that it saw before the gateway.
		{Name: "guest.ipStack", Val: stack}, {Name: "guest.net", Val: nets},
		{Name: "guest.ipAddress", Val: address}, {Name: "summary.guest.ipAddress", Val: address},
	}
}
