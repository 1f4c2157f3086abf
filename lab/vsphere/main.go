// The lab's vCenter: govmomi's simulator, with a command that stands for the hypervisor.
//
// A virtual machine that is powered on becomes a machine of the lab with its guestinfo applied, its address is reported as
// VMware Tools would, and what it writes to its guestinfo is there to read; power off, reset, destroy and clone do what they
// say, and a clone starts from the disk of what it was cloned from. See ../README.md.
package main

import (
	"encoding/json"
	"flag"
	"log"
	"net"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	_ "github.com/vmware/govmomi/pbm/simulator"
	_ "github.com/vmware/govmomi/vapi/cis/tasks/simulator"
	_ "github.com/vmware/govmomi/vapi/cluster/simulator"
	_ "github.com/vmware/govmomi/vapi/simulator"
	_ "github.com/vmware/govmomi/vapi/vm/simulator"
	_ "github.com/vmware/govmomi/vsan/simulator"
)

type settings struct {
	listen, doors, name, dir, machine, user, password, template, folder, delays string
	hosts                                                                       int
}

func arguments() settings {
	var s settings
	flag.StringVar(&s.listen, "listen", "127.0.0.1:443", "address of the vCenter")
	flag.StringVar(&s.doors, "doors", "127.0.0.1:8443", "address of the doors /lab/…, without TLS")
	flag.StringVar(&s.name, "name", "vcenter.example.internal", "name in the certificate")
	flag.StringVar(&s.dir, "dir", "", "what it writes: ca.pem, and what machines are started with")
	flag.StringVar(&s.machine, "machine", "", "the machine command; without it nothing boots")
	flag.StringVar(&s.user, "user", "", "the only user; anybody without")
	flag.StringVar(&s.password, "password", "", "the user's password")
	flag.StringVar(&s.template, "template", "rocky9-base", "the template that is there from the beginning")
	flag.StringVar(&s.folder, "folder", "sre", "a folder of machines that is there from the beginning")
	flag.StringVar(&s.delays, "delays", "", "JSON: method to milliseconds that its task takes")
	flag.IntVar(&s.hosts, "hosts", 3, "ESXi hosts of the cluster")
	flag.Parse()
	return s
}

// model is one datacenter with one cluster, whose first machine becomes the base template.
func model(s settings) (*simulator.Model, error) {
	m := simulator.VPX()
	m.Host, m.Cluster, m.ClusterHost, m.Datastore, m.Machine, m.Portgroup, m.Autostart = 0, 1, s.hosts, 1, 1, 1, false
	if s.delays != "" {
		delays := map[string]int{}
		if err := json.Unmarshal([]byte(s.delays), &delays); err != nil {
			return nil, err
		}
		m.DelayConfig.MethodDelay, simulator.TaskDelay.MethodDelay = delays, delays
	}
	return m, m.Create()
}

// findable lets a cluster be asked for by its id under its general type too, as a vCenter does.
func findable(reg *simulator.Registry) {
	for _, object := range reg.All("ClusterComputeResource") {
		general := object.(*simulator.ClusterComputeResource).ComputeResource
		general.Self.Type = "ComputeResource"
		reg.Put(&general)
	}
}

func template(ctx *simulator.Context, reg *simulator.Registry, name string) {
	vm := reg.Any("VirtualMachine").(*simulator.VirtualMachine)
	const guest = "rhel9_64Guest"
	ctx.Update(vm, []types.PropertyChange{
		{Name: "name", Val: name}, {Name: "config.name", Val: name}, {Name: "summary.config.name", Val: name},
		{Name: "config.guestId", Val: guest}, {Name: "summary.config.guestId", Val: guest},
		{Name: "config.firmware", Val: string(types.GuestOsDescriptorFirmwareTypeEfi)},
	})
	vm.MarkAsTemplate(&types.MarkAsTemplate{This: vm.Self})
}

// folder is what an administrator gives the account of a program: it may do in it what it likes.
func folder(ctx *simulator.Context, reg *simulator.Registry, name string) {
	datacenter := reg.Any("Datacenter").(*simulator.Datacenter)
	machines := reg.Get(datacenter.VmFolder).(interface {
		CreateFolder(*simulator.Context, *types.CreateFolder) soap.HasFault
	})
	ctx.WithLock(datacenter, func() {
		machines.CreateFolder(ctx, &types.CreateFolder{This: datacenter.VmFolder, Name: name})
	})
}

func main() {
	s := arguments()
	m, err := model(s)
	if err != nil {
		log.Fatal(err)
	}
	defer m.Remove()
	certificate, err := authority(s.dir, s.name, "127.0.0.1")
	if err != nil {
		log.Fatal(err)
	}
	m.Service.RegisterEndpoints = true
	m.Service.TLS = certificate
	m.Service.Listen = &url.URL{Host: s.listen}
	if s.user != "" {
		m.Service.Listen.User = url.UserPassword(s.user, s.password)
	}
	findable(m.Map())
	template(m.Service.Context, m.Map(), s.template)
	folder(m.Service.Context, m.Map(), s.folder)
	h := newHypervisor(m.Service.Context, m.Map(), strings.Fields(s.machine), filepath.Clean(s.dir), s.name)
	server := m.Service.NewServer()
	defer server.Close()
	h.network() // the vCenter's name is known before anybody learns that it serves
	open, err := net.Listen("tcp", s.doors)
	if err != nil {
		log.Fatal(err)
	}
	go doors(open, m.Service, h, newRights(m), newRoom(m.Service.Context, m.Map()))
	log.Printf("vcenter: serves https://%s, doors on %s", s.listen, s.doors)
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGINT, syscall.SIGTERM)
	<-stop
}
