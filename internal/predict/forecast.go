package predict

import (
	"fmt"
	"time"
)

// Forecast is what is expected of one token. Unlike a Level it can warn before
// the first refusal, once past tokens or the upstream have shown a limit.
type Forecast struct {
	Probability float64 `json:"probability"`            // that the next call is refused for quota
	HasUses     bool    `json:"has_uses"`               // whether UsesLeft is known
	UsesLeft    int64   `json:"uses_left"`              // successes still to come, the median
	ExhaustedAt int64   `json:"exhausted_at,omitempty"` // when they are used up at the present pace, or were; 0: no forecast
	Confidence  float64 `json:"confidence"`             // in [0,1), of UsesLeft
	Warn        bool    `json:"warn"`                   // the end is near, or there

	made    int64 // uses in the present life
	lives   int   // past lives of tokens that were looked at
	refused bool
	stated  bool // UsesLeft is the upstream's own word
}

// Forecast says what to expect of the token after what Learn has taken in.
//
// UsesLeft is the upstream's own word where there is one, else the median of
// what past tokens still gave at this point. Confidence is n/(n+1) where n is
// the number of past lives that ended in a refusal, each weighted by its age
// (below 6.3 in all): the weight of the evidence against the prior call in the
// hazard. The upstream's own word counts as 0.9.
//
// Warn is set if the next call is more likely refused than not, or if at most a
// fifth of the token's uses are left with a confidence of at least 1/2.
func (h *History) Forecast(u Usage, now int64) Forecast {
	const early = 5 // a fifth
	t := &u.Track
	now = max(clamp(now, 0, maxInstant), t.At)
	base := h.base()
	hz := newHazard(h.Lives, base)
	f := Forecast{Probability: base}
	if h.Weights != ([experts]float64{}) {
		f.Probability = h.mixed(h.opinions(&u, hz, base, now))
	}

	made, refused := t.Uses, t.Refused != 0
	if refused && u.reopened(now) {
		made, refused = 0, false
	}
	left, stated := u.left(now, h.Price)
	f.Confidence = hz.evidence / (hz.evidence + 1)
	if stated {
		f.Confidence = told
	}
	f.made, f.lives, f.refused, f.stated = made, len(h.Lives), refused, stated
	switch {
	case refused:
		f.HasUses, f.ExhaustedAt = true, t.Refused
	case stated:
		f.HasUses, f.UsesLeft = true, left
	default:
		if f.UsesLeft, f.HasUses = hz.left(made); !f.HasUses {
			f.Confidence = 0
		}
	}
	if f.HasUses && !refused {
		f.ExhaustedAt = u.reach(f.UsesLeft, now)
	}
	f.Warn = f.Probability > 0.5 || f.HasUses && f.Confidence >= 0.5 && early*f.UsesLeft <= f.UsesLeft+made
	return f
}

// Reason is the forecast in one sentence. Each outcome makes a forecast, and next to none is read.
func (f Forecast) Reason() string {
	var s string
	switch {
	case f.refused:
		s = fmt.Sprintf("it was refused after %s and has not recovered", uses(f.made))
	case f.stated:
		s = fmt.Sprintf("the upstream's own word leaves %s", uses(f.UsesLeft))
	case f.HasUses:
		s = fmt.Sprintf("%s made, about %d left, judging by earlier tokens (%d)", uses(f.made), f.UsesLeft, f.lives)
	case f.lives == 0:
		s = fmt.Sprintf("%s made; no earlier token is known to compare with", uses(f.made))
	default:
		s = fmt.Sprintf("%s made; of the earlier tokens (%d) none was refused that late", uses(f.made), f.lives)
	}
	return fmt.Sprintf("%s; the next call is refused with probability %.2f", s, f.Probability)
}

func uses(n int64) string {
	if n == 1 {
		return "1 use"
	}
	return fmt.Sprintf("%d uses", n)
}

// reach is the instant at which so many more successes are made at the present
// pace: that of the last 5 minutes if it holds 5 successes, else that of the
// present life. 0 if there is no pace yet, or it is beyond a year.
func (u *Usage) reach(uses, now int64) int64 {
	if uses == 0 {
		return now
	}
	made, span := u.Track.Uses, now-u.Track.Start
	c := u.between(millis(now)-windowMillis, millis(now))
	if n := c.Calls - c.Fails; n >= 5 {
		made, span = n, now-c.First*int64(time.Millisecond)
	}
	if made < 2 || span <= 0 {
		return 0
	}
	ahead := float64(uses) * float64(span) / float64(made)
	if ahead > float64(365*24*time.Hour) {
		return 0
	}
	return now + int64(ahead)
}
