package classify

// concept is a set of the ideas that the words of an answer carry. A phrase
// says one or more; the rules speak of ideas only, never of words.
type concept uint64

const (
	// Of allowances and paces.
	exceeded  concept = 1 << iota // a bound is met: exceeded, reached, over
	consumed                      // nothing is left: exhausted, used up, ran out
	lacking                       // too little is there: insufficient, not enough, no remaining
	allowance                     // quota, allocation, usage limit
	count                         // number of calls, which may be an allowance or a pace
	limit                         // limit, cap, maximum
	money                         // credits, balance, funds
	card                          // a payment card, whose funds are the request's own matter
	arrears                       // unpaid: by itself the account's paid allowance is gone
	long                          // per day and longer, or the plan's own period
	short                         // per second, minute or hour
	pace                          // rate limit, throttled, concurrency, too frequent
	manyCalls                     // "too many requests": also the mere name of status 429
	wait                          // wait, try again later
	raise                         // the cure is a higher quota: so it bounds a pace
	zeroLimit                     // a limit of nothing
	temporary                     // temporarily
	purchase                      // plan, subscription, upgrade
	many                          // too many, of whatever follows
	yours                         // you, your: the caller's own

	// Of credentials and rights.
	cred        // token, key, credential, login
	bad         // invalid, expired, missing
	ended       // expired: of a plan it means lapsed
	failed      // says little unless it stands right beside a credential
	unauth      // unauthorized: no more than status 401 says
	loggedOut   // by itself: the credential is missing or dead
	missing     // not found, does not exist
	barred      // banned, blocked
	wall        // a check for robots: captcha, unusual traffic
	noRight     // not allowed to, no permission
	refused     // forbidden, access denied: no more than status 403 says
	notIncluded // the plan or the account lacks the feature
	place       // region, country
	address     // the caller's network address
	denied      // not supported, not allowed, restricted
	party       // account, user, organisation
	off         // disabled, locked, frozen
	idle        // not active: of a credential it means dead, of an account a wall

	// Of the server and the request.
	overload  // capacity, busy
	network   // timeout, reset
	issuer    // the keys that tokens are verified with cannot be had
	faulty    // internal error, unavailable
	cancelled // the caller gave up
	measure   // length, size, bytes
	size      // too long, too large
	tooMuch   // too many tokens: too long or too fast
	content   // filtered for what it says
	param     // invalid parameter
	resource  // repository, model, page: what a request names
	stale     // timestamp, nonce
	stored    // a ceiling on kept objects
	either    // or

	// Found by pairs of the above that stand close together.
	spent     // allowance or money that is used up or lacking
	overLimit // a limit that is met
	deadCred  // a credential that is bad
	lostCred  // a credential that is not found
	lapsed    // a plan or package that has expired
	periodCap // a limit, allowance or pace per day or longer
	noPlace   // a region that is not served
	noAddress // an address that is not allowed
	shutOff   // an account or feature that is switched off
	lostThing // a resource that is not found
	notToken  // invalid or expired, but not of the token: a timestamp, a redirect address, a code verifier
	countOver // a number of calls that is over
)

// survivesAdvice is what still counts in a clause that only supposes ("if you
// have no key, ..."): nothing that could permit a new token.
const survivesAdvice = wait | temporary | either

// pair makes a new idea of two that stand at most gap bytes apart in a clause.
type pair struct {
	a, b concept // any of a with any of b
	gap  int32
	says concept
}

var pairs = []pair{
	{exceeded | consumed | lacking, allowance | money, 64, spent},
	{consumed | lacking, count, 48, spent},
	{exceeded, count, 48, countOver},
	{exceeded | consumed, limit | count, 64, overLimit},
	{many, count, 48, manyCalls},
	{measure, exceeded | limit | many, 40, size},
	{cred, bad, 36, deadCred},
	{cred, failed, 16, deadCred},
	{cred, missing, 36, lostCred},
	{purchase | allowance, ended, 40, lapsed},
	{long, limit | allowance | money | pace | count | manyCalls | exceeded, 64, periodCap},
	{long, consumed | lacking, 24, periodCap},
	{place, denied | refused | barred, 60, noPlace},
	{address, refused | barred | noRight | bad | unauth, 40, noAddress},
	{party | cred | purchase | resource, off, 56, shutOff},
	{party, idle, 40, shutOff},
	{cred, idle, 24, deadCred},
	{resource, missing, 48, lostThing},
	{party, missing, 48, param},
	{resource, ended, 16, param},
	{stale, bad | exceeded | denied, 48, notToken},
}
