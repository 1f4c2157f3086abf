package main

import (
	"sync"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// rights stands in the place of the simulator's own, which grants everything to everybody.
type rights struct {
	simulator.AuthorizationManager
	lock    sync.Mutex
	refused map[string]bool
}

func newRights(m *simulator.Model) *rights {
	reg := m.Map()
	manager := reg.Get(*m.ServiceContent.AuthorizationManager).(*simulator.AuthorizationManager)
	r := &rights{AuthorizationManager: *manager, refused: map[string]bool{}}
	reg.Put(r)
	return r
}

// refuse takes these privileges, and no others, from every account. It is told to who asks; what is done without being
// allowed to is refused by a rule of the simulator.
func (r *rights) refuse(privileges []string) {
	r.lock.Lock()
	defer r.lock.Unlock()
	r.refused = map[string]bool{}
	for _, privilege := range privileges {
		r.refused[privilege] = true
	}
}

// HasUserPrivilegeOnEntities is a method of the vSphere API.
func (r *rights) HasUserPrivilegeOnEntities(req *types.HasUserPrivilegeOnEntities) soap.HasFault {
	r.lock.Lock()
	defer r.lock.Unlock()
	answer := &types.HasUserPrivilegeOnEntitiesResponse{}
	for _, entity := range req.Entities {
		told := types.EntityPrivilege{Entity: entity}
		for _, id := range req.PrivId {
			told.PrivAvailability = append(told.PrivAvailability, types.PrivilegeAvailability{PrivId: id, IsGranted: !r.refused[id]})
		}
		answer.Returnval = append(answer.Returnval, told)
	}
	return &methods.HasUserPrivilegeOnEntitiesBody{Res: answer}
}
