package classify

// rule names a class when the answer says something of any and of also, and
// nothing of none. Empty sets ask for nothing. Some rules also ask for a
// status or a property of the answer.
type rule struct {
	class string
	any   concept
	also  concept
	none  concept
	when  func(*evidence, Input) bool
}

// rules are tried from the top; the first that fits decides. Above all stand
// the causes that a token has nothing to do with, then what bars the caller,
// then allowances before paces, then credentials, last the words that say no
// more than a status does.
var rules = []rule{
	// The caller gave up. A client's own timeout also says "canceled".
	{class: ClientError, any: cancelled, none: network},

	// "Invalid key or quota exceeded": nobody can tell.
	{class: Unknown, any: either, also: deadCred | lostCred, when: twoCauses},

	// A stale timestamp says "expired", but not of the token.
	{class: ClientError, any: staleTime},

	// Requests that no idle minute lets through.
	{class: ClientError, any: size, none: long | manyCalls | spent | arrears},
	{class: ClientError, any: tooMuch, none: long | short | pace | wait | spent | arrears},
	{class: ClientError, any: content, none: pace | manyCalls | spent | arrears},

	// The network, and a server without room: whose fault it is beats what it is called.
	{class: Transient, any: network, none: deadCred | loggedOut | spent | arrears | periodCap | noRight},
	{class: Transient, any: overload, none: arrears | periodCap | notIncluded | barred, when: serversOwn},

	// Who is unpaid is often told "suspended", but money is what cures it.
	{class: QuotaExhausted, any: arrears, none: card | notIncluded | lapsed},

	// Walls: bans, regions, addresses, things switched off. A block that ends
	// by itself after too many calls is a pace.
	{class: RateLimited, any: temporary | wait, also: pace | manyCalls, none: long | shutOff, when: blockedForPace},
	{class: Forbidden, any: barred | noPlace | noAddress | shutOff},

	// Nothing was consumed where nothing was ever granted, or the grant has lapsed.
	{class: Forbidden, any: zeroLimit, also: exceeded | allowance | limit},
	{class: Forbidden, any: lapsed, none: spent | deadCred | loggedOut | pace},
	{class: Forbidden, any: notIncluded, none: spent | periodCap | arrears | pace},

	// A ceiling on what is kept, not on what is called.
	{class: ClientError, any: stored, also: exceeded | spent | limit, none: pace | short | long | count},

	// An allowance is used up: per day or longer, in money, or plainly.
	{class: AuthInvalid, any: loggedOut, also: periodCap},
	{class: QuotaExhausted, any: periodCap, also: exceeded | consumed | lacking | limit | pace | manyCalls, none: deadCred | noRight},
	{class: QuotaExhausted, any: arrears | money, also: spent, none: card | lapsed},
	{class: RateLimited, any: exceeded | limit | allowance | pace, also: short},
	{class: RateLimited, any: spent, also: pace | raise},
	{class: RateLimited, any: spent, when: shortWait},
	{class: QuotaExhausted, any: spent, none: noRight | deadCred},

	// A plan's window that the headers show as used up beats a vague text.
	{class: QuotaExhausted, when: longWindowUsed},

	// Too much in too little time.
	{class: RateLimited, any: pace | manyCalls},
	{class: RateLimited, any: wait, when: waitsForCaller},

	// Headers that close a window or ask for a wait explain a bare 403.
	{class: RateLimited, none: noRight | deadCred | loggedOut, when: windowUsed},

	// Rights, credentials and resources.
	{class: ClientError, any: param, none: cred | unauth | loggedOut, when: badRequestStatus},
	{class: Forbidden, any: noRight},
	{class: ClientError, any: lostThing, none: lostCred},
	{class: AuthInvalid, any: deadCred | loggedOut},
	{class: AuthInvalid, any: lostCred, when: refusedByServer},

	// Buying is the cure and nothing was used up: it is not in the plan.
	{class: Forbidden, any: purchase, none: exceeded | limit | consumed | faulty | param, when: noServerFault},

	// What is left says little more than the status.
	{class: QuotaExhausted, any: allowance, also: limit, none: faulty | param | cred, when: limitStatus},
	{class: Unknown, any: countOver, when: noStatus},
	{class: RateLimited, any: overLimit, when: limitStatus},
	{class: Transient, any: faulty, when: noClientStatus},
	{class: AuthInvalid, any: unauth, when: unauthStatus},
	{class: Forbidden, any: refused | unauth, when: noServerFault},
	{class: ClientError, any: param | lostParty | endedThing, when: noServerFault},
}
