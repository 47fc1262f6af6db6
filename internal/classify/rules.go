package classify

import (
	"slices"
	"strings"
)

// rule names a class when the answer says something of any and of also, and
// nothing of none. Empty sets ask for nothing. Some rules ask for more.
type rule struct {
	class string
	any   concept
	also  concept
	none  concept
	in    []int // statuses; empty: any
	when  func(*facts) bool
	sure  bool   // the model is not asked
	code  string // of the rules for error codes: the code and whose it is
}

func (r *rule) fits(f *facts) bool {
	return (r.any == 0 || f.says(r.any)) && (r.also == 0 || f.says(r.also)) && !f.says(r.none) &&
		(len(r.in) == 0 || slices.Contains(r.in, f.status())) && (r.when == nil || r.when(f))
}

// rules are tried from the top; the first that fits decides. Above all stand
// the causes that a token has nothing to do with, then what bars the caller,
// then allowances before paces, then credentials, last the words that say no
// more than a status does.
var rules = []rule{
	// Where nothing was sent, or the answer is the proxy's, nothing is said of
	// the token.
	{class: Transient, when: neverSent, sure: true},
	{class: Unknown, when: unreadable, sure: true},
	{class: Unknown, when: endedBySignal, sure: true},
	{class: Transient, in: []int{407}, sure: true},

	// The caller gave up. A client's own timeout also says "canceled".
	{class: ClientError, any: cancelled, none: network},

	// What is too large for the status that says so is not in doubt.
	{class: ClientError, any: size | measure, in: []int{413, 414}},

	// "Invalid key or quota exceeded": nobody can tell.
	{class: Unknown, any: either, when: twoCauses},

	// A check for robots is one whatever the status. Where the keys that tokens
	// are verified with cannot be had, the token is not what is wrong.
	{class: Forbidden, any: wall, sure: true},
	{class: Transient, any: issuer, sure: true},

	// A stale timestamp says "expired", but not of the token.
	{class: ClientError, any: notToken},

	// Requests that no idle minute lets through.
	{class: ClientError, any: size, none: long | manyCalls | spent | arrears},
	{class: ClientError, any: tooMuch, none: long | short | pace | wait | spent | arrears},
	{class: ClientError, any: content, none: pace | manyCalls | spent | arrears, when: notUnauthorized},

	// The funds of a customer's card are not the caller's.
	{class: ClientError, any: card, also: arrears | lacking},

	// The network, and a server without room: whose fault it is beats what it is called.
	{class: Transient, any: network, none: deadCred | loggedOut | spent | arrears | periodCap | noRight},
	{class: Transient, any: overload, none: arrears | periodCap | notIncluded | barred, when: serversOwn},

	// Who is unpaid is often told "suspended", but money is what cures it.
	{class: QuotaExhausted, any: arrears, none: card | notIncluded | lapsed},

	// A token that has expired is what status 401 speaks of, whatever right is
	// missing for it.
	{class: AuthInvalid, any: deadCred | loggedOut, none: wall | barred | shutOff | spent | arrears | periodCap | purchase | party, in: []int{401}, when: expired},

	// Walls: bans, regions, addresses, things switched off. A block that ends
	// by itself after too many calls is a pace.
	{class: RateLimited, any: pace | manyCalls, none: long | shutOff, when: endsByItself},
	{class: Transient, any: shutOff, also: wait | temporary, none: barred | noRight | noPlace | noAddress, when: serversStatus},
	{class: Transient, any: off, also: temporary, none: party | cred | barred | noRight | noPlace | noAddress | pace | manyCalls | spent},
	{class: QuotaExhausted, any: spent, none: noPlace | noAddress | noRight | notIncluded | deadCred | zeroLimit | lapsed | stored, in: []int{402}},
	{class: QuotaExhausted, any: overLimit, also: periodCap, none: noPlace | noAddress | deadCred | loggedOut | unauth | zeroLimit | notIncluded | barred | stored | short | wall},
	{class: QuotaExhausted, any: spent, also: periodCap, none: noPlace | noAddress | noRight | notIncluded | deadCred | zeroLimit},
	{class: ClientError, any: notIncluded | off | denied, none: barred | wall | party | noPlace | noAddress | noRight | pace | manyCalls, in: []int{409, 428}},
	{class: Forbidden, any: barred | noPlace | noAddress | shutOff},

	// Nothing was consumed where nothing was ever granted, or the grant has lapsed.
	{class: Forbidden, any: zeroLimit, also: exceeded | allowance | limit},
	{class: Forbidden, any: lapsed, none: spent | loggedOut | pace, when: notAKey},
	{class: Forbidden, any: notIncluded, none: spent | periodCap | arrears | pace},

	// A ceiling on what is kept, not on what is called.
	{class: ClientError, any: stored, also: exceeded | spent | limit, none: pace | short | long | count},

	// An allowance is used up: per day or longer, in money, or plainly.
	{class: AuthInvalid, any: loggedOut, also: periodCap},
	{class: QuotaExhausted, any: periodCap, also: exceeded | consumed | lacking | limit | pace | manyCalls, none: deadCred | noRight},
	{class: RateLimited, any: spent | overLimit, also: short, none: long | arrears | lacking},
	{class: RateLimited, any: money, also: spent, none: arrears | purchase | yours | party, when: budgetBackSoon},
	{class: Unknown, any: money, also: spent, none: arrears | purchase | yours | party, when: budgetOfAQuery},
	{class: QuotaExhausted, any: arrears | money, also: spent, none: card | lapsed},
	{class: RateLimited, any: exceeded | limit | allowance | pace, also: short},
	{class: RateLimited, any: spent, also: pace | raise},
	{class: RateLimited, any: spent, when: shortWait},
	{class: QuotaExhausted, any: spent, none: noRight | deadCred},

	// A plan's window that the headers show as used up beats a vague text.
	{class: QuotaExhausted, when: planWindowUsed, sure: true},

	// Too much in too little time.
	{class: RateLimited, any: pace | manyCalls},
	{class: RateLimited, any: wait, also: short, none: faulty | network | overload | cred},
	{class: RateLimited, any: wait, when: callerMustWait},

	// Headers that close a window or ask for a wait explain a bare 403.
	{class: RateLimited, none: noRight | deadCred | loggedOut, when: windowUsed, sure: true},

	// Rights, credentials and resources.
	{class: ClientError, any: param, none: cred | unauth | loggedOut, in: []int{400, 422}},
	{class: ClientError, any: lostThing, in: []int{404}},
	{class: ClientError, any: noRight, in: []int{405}},
	{class: Forbidden, any: noRight},
	{class: ClientError, any: lostThing, none: lostCred},
	{class: Transient, any: deadCred | loggedOut, when: serversSignIn},
	{class: AuthInvalid, any: deadCred | loggedOut},
	{class: AuthInvalid, any: lostCred, in: []int{400, 401, 403}},

	// Buying is the cure and nothing was used up: it is not in the plan.
	{class: Forbidden, any: purchase, none: exceeded | limit | consumed | faulty | param, when: statusSilent},

	// What is left says little more than the status.
	{class: QuotaExhausted, any: allowance, also: limit, none: faulty | param | cred, in: []int{402, 403, 429}},
	{class: RateLimited, any: countOver, also: wait, none: long},
	{class: Unknown, any: countOver, when: bodyOnly},
	{class: RateLimited, any: overLimit, in: []int{0, 200, 402, 403, 429}},
	{class: Transient, any: faulty, when: bodyOrServer},
	{class: Transient, any: faulty, in: []int{400}, when: nothingElse},
	{class: AuthInvalid, any: unauth, in: []int{0, 200, 401}},
	{class: Forbidden, any: refused | unauth, when: statusSilent},
	{class: RateLimited, any: wait, none: faulty | network | missing | bad, when: statedWait},
	{class: Transient, any: failed, also: wait, when: failsForNow},
	{class: ClientError, any: param | missing | size | stored, none: cred | faulty | loggedOut | deadCred, when: statusSilent},
	{class: ClientError, any: bad, none: cred | faulty | loggedOut | deadCred, when: refusesNothing},
}

// judgement is a class and who says so.
type judgement struct {
	class string
	rule  *rule // nil: no rule fits, and the bare status decides
	model modelSays
}

// decide takes the class of an error code, else of the first rule that fits,
// else the meaning of the bare status.
func (ev *evidence) decide() {
	if ev.rule = ev.code(); ev.rule == nil {
		ev.rule = ev.firstRule()
	}
	if ev.rule != nil {
		ev.class = ev.rule.class
	} else {
		ev.class = byStatus(ev.status())
	}
}

// judge asks the model where what was decided is unknown, or is not what the
// status says.
func (ev *evidence) judge() judgement {
	j := judgement{class: ev.class, rule: ev.rule}
	if j.rule != nil && (j.rule.sure || j.rule.code != "") || ev.in.Text == "" || ev.parted {
		return j
	}
	whole := len(ev.in.Text) <= 2*modelText // what it did not read it may not contradict
	agreed := j.class == byStatus(ev.in.StatusCode) || j.class == QuotaExhausted && ev.in.StatusCode == 402
	if j.class == Unknown || whole && !agreed {
		j.class, j.model = ev.ask(j.class)
	}
	return j
}

// code is the rule of an error code in the text. Under a server's own status a
// code says nothing of the token, and an invalid grant whose description is of
// a parameter is the request's fault; the ideas decide then.
func (ev *evidence) code() *rule {
	r := findCode(ev.in.Text)
	if r == nil || neverSent(&ev.facts) {
		return nil
	}
	ev.oauth = true
	switch {
	case ev.in.StatusCode == 407:
		return nil // the proxy's own words
	case strings.HasSuffix(r.code, " of GraphQL") && (byStatus(ev.in.StatusCode) != ClientError && ev.in.StatusCode >= 300 || speaks(ev.in.Text)):
		return nil // beside another error, or a status that says more
	case strings.HasSuffix(r.code, " of OAuth 2.0") && (ev.in.StatusCode >= 500 || ev.in.StatusCode == 0 && (ev.inText >= 500 || holdsOne(ev.in.Text, serversOwnStatus))):
		return serversCode
	}
	if ev.status() >= 500 || r.code == invalidRequestCode && (ev.status() != 400 || ev.says(loggedOut)) || permits(r.class) && ev.says(notToken|wall|either|manyCalls) {
		return nil
	}
	if r.class == Forbidden && ev.status() == 401 && expired(&ev.facts) {
		return nil // refused for the want of a token that lives
	}
	if permits(r.class) && ev.says(barred|shutOff) && ev.near(pair{party, barred | off, 40, shutOff}) {
		return nil // the grant is refused because of whose it is
	}
	if permits(r.class) && ev.says(param|size) && ev.saysOfRequest() {
		return invalidRequest
	}
	return r
}

// invalidRequestCode is used by others, too, and for anything.
const invalidRequestCode = "invalid_request of OAuth 2.0"

var serversOwnStatus = []string{"500 Internal Server Error", "502 Bad Gateway", "503 Service Unavailable", "504 Gateway Time"}

// serversCode: a token endpoint that fails cannot know what it says of a grant.
var serversCode = &rule{class: Transient, code: "an error code of OAuth 2.0 under a server's own status"}

var invalidRequest = &rule{class: ClientError, code: "a code for a credential whose description is of a parameter"}

// saysOfRequest reports a description that speaks of a parameter in the clause
// of what is wrong with it.
func (ev *evidence) saysOfRequest() bool {
	return ev.near(pair{param, bad | missing | denied, 24, param})
}

// firstRule is the first rule that fits, nil if none does.
func (f *facts) firstRule() *rule {
	for i := range rules {
		if rules[i].fits(f) {
			return &rules[i]
		}
	}
	return nil
}

// status is the HTTP status, or what the text says of it where the transport
// shows none or success.
func (f *facts) status() int {
	switch {
	case f.in.StatusCode >= 400 || f.inText == 0:
		return f.in.StatusCode
	case f.inText == 401 && f.said&^(failed|faulty) != 0 && !f.says(cred|unauth|loggedOut|noRight|refused):
		return f.in.StatusCode // a service's own number: the words are of something else
	case f.inText >= 500 && f.says(deadCred|loggedOut|spent|arrears|noRight) && !f.says(faulty|network|overload|issuer|wait):
		return f.in.StatusCode
	}
	return f.inText
}

func (f *facts) says(c concept) bool { return f.said&c != 0 }
