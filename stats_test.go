package tokenguard

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestStatsSayWhenTheLastTokenCameAndEnds(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		assert.Zero(t, r.Stats().Acquisitions.LastSuccess)
		assert.Zero(t, r.Stats().Cache.Expiry)
		r.must(Request{})
		time.Sleep(time.Hour)
		second := time.Now()
		r.must(Request{Scope: "eu"})
		s := r.Stats()
		assert.WithinDuration(t, second, s.Acquisitions.LastSuccess, 0)
		assert.WithinDuration(t, second.Add(allDay), s.Cache.Expiry, 0, "of the two the one that ends last")
		time.Sleep(allDay - time.Minute)
		s = r.Stats()
		assert.WithinDuration(t, second.Add(allDay), s.Cache.Expiry, 0)
		time.Sleep(time.Minute)
		s = r.Stats()
		assert.Zero(t, s.Cache.Expiry, "nothing serves any more")
		assert.WithinDuration(t, second, s.Acquisitions.LastSuccess, 0, "it still was")
	})
}
