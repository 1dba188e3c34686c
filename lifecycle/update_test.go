package lifecycle

import (
	"reflect"
	"testing"

	"tare/spec"
)

func TestMerge(t *testing.T) {
	type res = spec.Resources
	pages := func(size string, limit uint64) spec.Hugepage { return spec.Hugepage{PageSize: size, Limit: limit} }
	tests := []struct {
		name             string
		old, asked, want *res
	}{
		{"nothing before", nil, &res{CPUShares: 2, CpusetCpus: "0"}, &res{CPUShares: 2, CpusetCpus: "0"}},
		{"nothing asked", &res{Memory: 1, OOMScoreAdj: 5}, &res{}, &res{Memory: 1, OOMScoreAdj: 5}},
		{"some", &res{CPUPeriod: 1, CPUQuota: 2, CPUShares: 3}, &res{CPUQuota: -1}, &res{CPUPeriod: 1, CPUQuota: -1, CPUShares: 3}},
		{"no swap follows memory", &res{Memory: 100, MemorySwap: 100}, &res{Memory: 200}, &res{Memory: 200, MemorySwap: 200}},
		{"swap follows memory", &res{Memory: 100, MemorySwap: 150}, &res{Memory: 80}, &res{Memory: 80, MemorySwap: 130}},
		{"swap is named", &res{Memory: 100, MemorySwap: 150}, &res{Memory: 80, MemorySwap: 80}, &res{Memory: 80, MemorySwap: 80}},
		{"unlimited swap stays", &res{Memory: 100, MemorySwap: -1}, &res{Memory: 80}, &res{Memory: 80, MemorySwap: -1}},
		{"unlimited memory", &res{Memory: 100, MemorySwap: 100}, &res{Memory: -1}, &res{Memory: -1, MemorySwap: -1}},
		{"unified", &res{Unified: map[string]string{"a.b": "1", "c.d": "2"}}, &res{Unified: map[string]string{"c.d": "3", "e.f": "4"}},
			&res{Unified: map[string]string{"a.b": "1", "c.d": "3", "e.f": "4"}}},
		{"huge pages", &res{Hugepages: []spec.Hugepage{pages("2MB", 1), pages("1GB", 2)}}, &res{Hugepages: []spec.Hugepage{pages("1GB", 3)}},
			&res{Hugepages: []spec.Hugepage{pages("2MB", 1), pages("1GB", 3)}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var before res
			if tt.old != nil {
				before = *tt.old
				before.Hugepages = append([]spec.Hugepage(nil), tt.old.Hugepages...)
			}
			change := *tt.asked
			change.MemorySwap = followMemory(tt.old, tt.asked)
			if got := merge(tt.old, &change); !reflect.DeepEqual(got, tt.want) {
				t.Errorf("%+v, want %+v", got, tt.want)
			}
			if tt.old != nil && !reflect.DeepEqual(*tt.old, before) {
				t.Error("the record was changed")
			}
		})
	}
}
