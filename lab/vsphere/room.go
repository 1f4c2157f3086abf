package main

import (
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// amounts are what the vCenter says there is: of each host the CPUs and the memory and what of it is used, of the datastore
// what is free; and how many of the hosts are in maintenance.
type amounts struct {
	CPUs, MemoryGiB, MemoryUsedGiB, FreeGiB, InMaintenance int
}

// plenty is what a lab begins with: govmomi's own hosts have 4 GiB.
var plenty = amounts{CPUs: 32, MemoryGiB: 256, FreeGiB: 8192}

type room struct {
	ctx *simulator.Context
	reg *simulator.Registry
}

func newRoom(ctx *simulator.Context, reg *simulator.Registry) *room {
	r := &room{ctx, reg}
	r.set(plenty)
	return r
}

func (r *room) set(a amounts) {
	const gib = int64(1) << 30
	for index, thing := range r.reg.All("HostSystem") {
		host := thing.(*simulator.HostSystem)
		r.ctx.WithLock(host, func() {
			hardware := *host.Summary.Hardware // shared by all hosts until now
			hardware.NumCpuCores, hardware.NumCpuThreads, hardware.CpuMhz = int16(a.CPUs), int16(a.CPUs), 2000
			hardware.MemorySize = int64(a.MemoryGiB) * gib
			used := host.Summary.QuickStats
			used.OverallCpuUsage, used.OverallMemoryUsage = 0, int32(a.MemoryUsedGiB)*1024
			r.ctx.Update(host, []types.PropertyChange{
				{Name: "summary.hardware", Val: &hardware}, {Name: "summary.quickStats", Val: used},
				{Name: "runtime.inMaintenanceMode", Val: index < a.InMaintenance},
			})
		})
	}
	for _, thing := range r.reg.All("Datastore") {
		store := thing.(*simulator.Datastore)
		r.ctx.WithLock(store, func() {
			r.ctx.Update(store, []types.PropertyChange{{Name: "summary.freeSpace", Val: int64(a.FreeGiB) * gib}})
		})
	}
}
