package predict

import (
	"fmt"
	"math"
	"time"
)

const (
	hour = int64(time.Hour)
	day  = 24 * hour
	// demandMemory is in days: a profile of the hours is that old on average.
	demandMemory = 14
	budgetStep   = 10 * int64(time.Minute)
)

// demand counts the guard's own starts by hour of the day, with the time over
// which they were counted.
type demand struct {
	At     int64       `json:"a,omitempty"` // counted up to this instant
	Counts [24]float64 `json:"n,omitzero"`
	Hours  [24]float64 `json:"h,omitzero"`
}

// Started learns that an acquisition was started at this instant. Up to
// closedUntil (0: not closed) the limits permit no further one, so nothing can
// be learned of what is wanted then: that time counts as unknown, not as calm.
func (h *History) Started(at, closedUntil int64) {
	at, closedUntil = clamp(at, 0, maxInstant), clamp(closedUntil, 0, maxInstant)
	d := &h.Demand
	if d.At != 0 {
		d.observe(at)
	}
	d.Counts[hourOf(at)]++
	d.At = max(d.At, at, min(closedUntil, at+2*day))
}

// observe counts the time up to now, at the rate of fading of demandMemory.
func (d *demand) observe(now int64) {
	const keep = 1 - 1.0/demandMemory
	// What is older than that has faded away.
	d.At = max(d.At, now-10*demandMemory*day)
	for d.At < now {
		end := min(now, (floorDiv(d.At, hour)+1)*hour)
		i, part := hourOf(d.At), hours(end-d.At)
		fade := math.Pow(keep, part)
		d.Counts[i] *= fade
		d.Hours[i] = d.Hours[i]*fade + part
		d.At = end
	}
}

// rate is the mean and variance of the starts per hour at this hour of the day:
// the Gamma posterior after n starts in t hours, mean (n+a)/(t+b) and variance
// (n+a)/(t+b)^2, whose prior is one hour at the overall mean.
func (d *demand) rate(i int) (mean, variance float64) {
	const prior = 1.0 // hours
	n, t := 0.5, 24.0 // nothing known: half a start a day
	for j := range d.Counts {
		n += d.Counts[j]
		t += d.Hours[j]
	}
	a := n / t * prior
	mean = (d.Counts[i] + a) / (d.Hours[i] + prior)
	return mean, mean / (d.Hours[i] + prior)
}

// BudgetForecast says whether the guard's own limits will be reached.
type BudgetForecast struct {
	Hour WindowForecast `json:"hour"`
	Day  WindowForecast `json:"day"`
}

// WindowForecast is about one sliding window.
type WindowForecast struct {
	Used        int     `json:"used"`
	Limit       int     `json:"limit"`
	Expected    float64 `json:"expected"`               // starts expected over the window's length from now
	Probability float64 `json:"probability"`            // that the limit is reached within that time
	ExhaustedAt int64   `json:"exhausted_at,omitempty"` // when it is more likely reached than not; 0: not
	Reason      string  `json:"reason"`
}

// Budget forecasts the hour and the day window from the instants that they
// count now, in any order, and the limits. Nothing starts before from: the
// guard is closed until then.
func (h *History) Budget(now, from int64, counted []int64, perHour, perDay int) BudgetForecast {
	now = clamp(now, 0, maxInstant)
	d := h.Demand
	if d.At != 0 {
		d.observe(now)
	}
	return BudgetForecast{
		Hour: d.window(now, from, counted, hour, perHour),
		Day:  d.window(now, from, counted, day, perDay),
	}
}

// window looks for the first instant at which the limit is reached with a
// chance of at least 1/2. At t it is reached if at least limit - (counted
// starts that are still inside at t) new ones came by then. Their number is
// Poisson with a Gamma-distributed mean, hence negative binomial; the means of
// several hours are summed and matched by one Gamma of the same mean and
// variance. The chance of having reached the limit at some t is at least the
// largest chance over t, which is what is given.
func (d *demand) window(now, from int64, counted []int64, length int64, limit int) WindowForecast {
	f := WindowForecast{Limit: limit}
	for _, at := range counted {
		if at > now-length {
			f.Used++
		}
	}
	if f.Used >= limit {
		f.Probability, f.ExhaustedAt = 1, now
	}
	mean, variance := 0.0, 0.0
	for t := now; t < now+length; t += budgetStep {
		if t+budgetStep > from {
			m, v := d.rate(hourOf(t))
			part := hours(budgetStep)
			mean += m * part
			variance += v * part * part
		}
		stay := 0
		for _, at := range counted {
			if at > t+budgetStep-length {
				stay++
			}
		}
		p := atLeast(limit-stay, mean, variance)
		f.Probability = max(f.Probability, p)
		if p >= 0.5 && f.ExhaustedAt == 0 {
			f.ExhaustedAt = t + budgetStep
		}
	}
	f.Expected = mean
	f.Reason = fmt.Sprintf("%d of %d used, %.1f more expected in %v: full with probability %.2f",
		f.Used, limit, mean, time.Duration(length), f.Probability)
	return f
}

// atLeast is the chance of n or more under the negative binomial that a Poisson
// count has when its mean is Gamma-distributed with this mean and variance: with
// r = mean^2/variance and q = mean/(mean+variance),
// P(0) = q^r and P(j+1) = P(j) (1-q) (r+j)/(j+1).
func atLeast(n int, mean, variance float64) float64 {
	if n <= 0 {
		return 1
	}
	if mean <= 0 || variance <= 0 || float64(n) > 10+mean+10*math.Sqrt(mean+variance) {
		return 0
	}
	r, q := mean*mean/variance, mean/(mean+variance)
	p, below := math.Pow(q, r), 0.0
	for j := range n {
		below += p
		p *= (1 - q) * (r + float64(j)) / float64(j+1)
	}
	return clamp(1-below, 0, 1)
}
