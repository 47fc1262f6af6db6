package predict

// Cost is what calls take from the quota that the upstream states. It counts
// credits, and many calls take several: Remaining falls by more than one a call,
// or by less where some calls are free, or by what others take meanwhile. All of
// that is the price of this token's uses as far as its end is concerned.
type Cost struct {
	First Hint  // the first that was said: only merging a batch needs it, which is never stored
	Spent int64 // credits by which Remaining fell
	Over  int64 // uses over which it did
	Most  int64 // the largest fall over a single use
}

// MarshalJSON writes the counts as an array.
func (c Cost) MarshalJSON() ([]byte, error) {
	numbers := [3]int64{c.Spent, c.Over, c.Most}
	return appendNumbers(make([]byte, 0, 32), numbers[:]), nil
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (c *Cost) UnmarshalJSON(data []byte) error {
	var a [3]int64
	if err := readNumbers(data, &a, a[:]); err != nil {
		return err
	}
	*c = Cost{Spent: a[0], Over: a[1], Most: a[2]}
	return nil
}

// hear counts the fall from one word of the upstream to the next. Where Remaining
// rises or the limit changes, another window has begun.
func (c *Cost) hear(before, now Hint) {
	if before.Limit <= 0 {
		c.First = Hint{Remaining: now.Remaining, Limit: now.Limit, Uses: now.Uses}
		return
	}
	fall, uses := before.Remaining-now.Remaining, now.Uses-before.Uses
	if before.Limit != now.Limit || fall < 0 || uses <= 0 {
		return
	}
	c.Spent, c.Over = min(c.Spent+fall, maxCount), min(c.Over+uses, maxCount)
	if uses == 1 {
		c.Most = max(c.Most, fall)
	}
}

// absorb adds what a batch counted that began after so many uses; last is the
// newest word before it.
func (c *Cost) absorb(last Hint, batch Cost, uses int64) {
	first := batch.First
	first.Uses += uses
	if last.Limit <= 0 {
		c.First = first
	} else {
		c.hear(last, first)
	}
	c.Spent, c.Over = min(c.Spent+batch.Spent, maxCount), min(c.Over+batch.Over, maxCount)
	c.Most = max(c.Most, batch.Most)
}

// price is what calls cost in the mean, learned over all tokens; it fades over
// priceMemory uses.
type price struct {
	Spent float64 `json:"c,omitempty"`
	Over  float64 `json:"u,omitempty"`
	Most  float64 `json:"m,omitempty"`
}

const (
	priceMemory = 500 // uses
	// priorUses is how many uses of one token outweigh what others taught.
	priorUses = 4
)

// learn applies what a batch added to a token's cost.
func (p *price) learn(before, after Cost) {
	over := float64(after.Over - before.Over)
	if over <= 0 {
		return
	}
	keep := max(0, 1-over/priceMemory)
	p.Spent = p.Spent*keep + float64(after.Spent-before.Spent)
	p.Over = p.Over*keep + over
	p.Most = max(p.Most, float64(after.Most))
}

func (p price) mean() float64 {
	return (p.Spent + 1) / (p.Over + 1)
}

// of is the mean cost of a use of one token, above 0, and the largest cost that
// is known: the same where all calls cost alike.
func (p price) of(c Cost) (mean, most float64) {
	mean = (float64(c.Spent) + priorUses*p.mean()) / (float64(c.Over) + priorUses)
	return mean, max(p.Most, float64(c.Most), mean)
}
