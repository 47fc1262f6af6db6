package classify

import "time"

// What a rule asks for beyond ideas and statuses.

// bodyOnly: no status speaks, only the body does.
func bodyOnly(f *facts) bool { return f.status() < 400 }

// refusesNothing: that something is wrong, and no more, does not say that a
// refusal is the request's own fault.
func refusesNothing(f *facts) bool { return statusSilent(f) && f.status() != 403 }

// budgetOfAQuery: what is used up may be points that a query costs, which come
// back in seconds, or money.
func budgetOfAQuery(f *facts) bool { return f.says(param) && f.says(resource) }

// budgetBackSoon: it says itself that they come back in seconds.
func budgetBackSoon(f *facts) bool { return f.says(param) && shortWait(f) }

// nothingElse: not a word of the request, so that its status is a service's way
// to report a fault of its own.
func nothingElse(f *facts) bool { return f.said&^(faulty|failed|denied|resource|wait|temporary) == 0 }

// failsForNow: a failure that is said to pass, and not a word of whose.
func failsForNow(f *facts) bool {
	return bodyOnly(f) && f.said&^(failed|wait|temporary|resource|yours) == 0
}

// expired: it says of the credential that its time is over.
func expired(f *facts) bool { return f.says(ended) && f.says(deadCred) && !f.says(notToken|lapsed) }

func notUnauthorized(f *facts) bool { return f.status() != 401 }

func serversStatus(f *facts) bool { return f.status() >= 500 }

// statusSilent: the status names no other cause than a wrong request or a
// refusal.
func statusSilent(f *facts) bool {
	s := f.status()
	return s < 500 && s != 401 && s != 408 && s != 429
}

// serversSignIn: a sign-in failed, but the server's: it says so, or its status
// leaves no doubt of it, or the status belongs to another answer than the code.
func serversSignIn(f *facts) bool {
	s := f.status()
	return s > 500 || s == 500 && (f.says(faulty) || f.oauth)
}

// bodyOrServer: the status is the server's fault or says nothing.
func bodyOrServer(f *facts) bool {
	s := f.status()
	return s < 400 || s == 408 || s >= 500
}

// twoCauses: an "or" parts a cause that permits a new token from one that does
// not.
func twoCauses(f *facts) bool {
	return f.parted && !(f.says(pace|manyCalls) && f.says(wait)) // to wait is right for one and harmless for the other
}

// notAKey: what has expired is no credential, which one may be told to renew,
// too.
func notAKey(f *facts) bool { return !f.says(deadCred) || f.status() != 401 }

// serversOwn: room is missing at the server, not in the caller's pace.
func serversOwn(f *facts) bool {
	if f.status() == 429 && f.says(manyCalls) && f.says(short) {
		return false // "10 a minute, to keep the server from overload"
	}
	return !f.says(pace) || !f.says(yours)
}

// endsByItself: a block that is only a pause.
func endsByItself(f *facts) bool {
	return f.says(barred|noAddress) && (f.says(temporary) || f.says(manyCalls) && f.says(wait) || f.status() == 429 || statedWait(f))
}

// askedWait is the wait that the answer asks for. Several rules look at it, and it takes longer
// to find than all the words.
func (f *facts) askedWait() (time.Duration, bool) {
	if !f.waitRead {
		h := ReadHints(f.in, time.Time{})
		f.waitRead, f.stated, f.hasStated = true, h.RetryAfter, h.HasRetryAfter
	}
	return f.stated, f.hasStated
}

// statedWait: the answer says how long to wait, and no longer than a window of
// a pace is.
func statedWait(f *facts) bool {
	if f.status() >= 500 || !f.says(wait) {
		return false
	}
	d, ok := f.askedWait()
	return ok && d <= time.Hour
}

// shortWait: the answer itself asks for a wait of seconds, which is a pace
// whatever it is called. An allowance that is full again in minutes is one.
func shortWait(f *facts) bool {
	d, ok := f.askedWait()
	return ok && d <= time.Minute
}

// planWindowUsed: the headers show a plan's window as used up.
func planWindowUsed(f *facts) bool { return f.usedLong && !f.says(short) }

// windowUsed: the headers show a limit, which explains a status that says less.
func windowUsed(f *facts) bool {
	return (f.used || f.retry) && (f.in.StatusCode == 403 || f.in.StatusCode == 429)
}

// callerMustWait: "please wait" is about the caller's pace unless the server
// has a fault or the credential is what is wrong.
func callerMustWait(f *facts) bool {
	s := f.status()
	return !f.says(faulty|cred|loggedOut) && (s == 401 && !f.says(bad) || s == 403 || s == 429)
}
