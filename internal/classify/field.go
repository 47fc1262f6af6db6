package classify

import (
	"strings"
	"time"
)

// fieldKind says what the value of a body's field is.
type bodyKind int

const (
	kindNone    bodyKind = iota
	kindDelay            // how long: a number is one of seconds
	kindInstant          // when: a small number means nothing
	kindEither           // the name leaves open which
)

// The names of fields about time, in lower case and without separators, without
// the unit at the end and the words before that only say whose limit it is.
// advice says when to come back; the rest say when a window ends.
var fieldNames = buildFieldNames()

type fieldName struct {
	kind   bodyKind
	advice bool
}

func buildFieldNames() map[string]fieldName {
	names := map[string]fieldName{}
	add := func(f fieldName, words string) {
		for word := range strings.FieldsSeq(words) {
			names[word] = f
		}
	}
	add(fieldName{kindDelay, true}, `retryafter retryafterin retryin retrydelay retrywait retrybackoff tryagainin tryagainafter tryafter wait waittime waitfor waitduration
		timetowait estimatedtime backoff backofftime backoffdelay cooldown cooldowntime cooldownremaining cooldownin remainingcooldown cooldownleft
		availablein unlocksin unlockin unblocksin unblockin lockedfor blockedfor bannedfor lockoutremaining lockoutduration
		nextrequestin nextattemptin nextretryin allowedin nextallowedin resumesin resumein retrypushback untilretry toretry towait untilunlock untilnext
		remainingwait waitremaining`)
	add(fieldName{kindDelay, false}, `resetsin resetin resetafter resetdelay resetsafter timetoreset timeuntilreset timetillreset clearsin clearin
		refreshesin refreshin renewsin replenishesin refillsin refillin untilreset tillreset toreset untilrefresh untilrenewal`)
	add(fieldName{kindInstant, true}, `retryat retryaftertime retryaftertimestamp retryafterdate retryafterat tryagainat nextaccesstime nextallowedat nextallowedtime
		nextallowed nextretrytime nextretryat nextretry nextattemptat nextattempt nextrequestat nextrequesttime availableat availableagainat availableafter availableuntil
		blockeduntil banneduntil lockeduntil lockuntil lockoutuntil disableduntil suspendeduntil limiteduntil throttleduntil cooldownuntil until
		pauseduntil unlockat unlocksat unlocktime unblockat unblocksat unblocktime liftsat banexpiresat blockexpiresat lockexpiresat lockoutexpiresat
		banend banendsat lockoutend cooldownendsat cooldownexpiresat resumesat resumeat notbefore`)
	add(fieldName{kindInstant, false}, `resetsat resetat resetdate resettimestamp resetson reseton resetts resetepoch resetunix nextreset nextresetat
		nextresettime refreshat refreshesat nextrefresh nextrefreshat nextrefreshtime nextflushtime renewsat renewat replenishesat clearsat
		ratelimitnext windowend windowendsat resetsatunix resetattimestamp`)
	add(fieldName{kindEither, true}, "retrytime")
	add(fieldName{kindEither, false}, "reset resets resettime")
	delete(names, "availableuntil") // that is when it ends
	return names
}

// fieldWhose are words before a name that say whose limit it is. A word that is
// not here makes another time of it: lastResetAt, maxRetryDelay, passwordResetAt.
var fieldWhose = []string{
	"rate", "limit", "limits", "quota", "usage", "window", "api", "next", "request", "requests", "token", "tokens", "daily", "weekly", "monthly", "hourly",
	"account", "user", "ip", "ban", "block", "lock", "lockout", "login", "suggested", "recommended", "estimated", "minimum", "min", "is", "error", "throttle", "throttling",
	"credit", "credits", "plan", "x", "primary", "secondary", "the", "current", "app", "model", "approx", "approximate", "server", "upstream", "grpc", "total", "free", "budget",
}

// fieldUnits are the units at the end of a name, or at its start.
var fieldUnits = []struct {
	text   string
	length time.Duration
	apart  bool // only as a word of its own
}{
	{"nanoseconds", time.Nanosecond, false}, {"microseconds", time.Microsecond, false},
	{"milliseconds", time.Millisecond, false}, {"millisecond", time.Millisecond, false}, {"millis", time.Millisecond, false}, {"msec", time.Millisecond, false}, {"ms", time.Millisecond, false},
	{"seconds", time.Second, false}, {"second", time.Second, false}, {"secs", time.Second, false}, {"sec", time.Second, false}, {"s", time.Second, true},
	{"minutes", time.Minute, false}, {"minute", time.Minute, false}, {"mins", time.Minute, false}, {"min", time.Minute, true}, {"m", time.Minute, true},
	{"hours", time.Hour, false}, {"hour", time.Hour, false}, {"hrs", time.Hour, false}, {"h", time.Hour, true},
	{"days", day, false},
}

// fieldEnds are the last two letters of names and units, by which most other
// fields are told apart at once. What stands before a unit of one letter may be
// anything.
var fieldEnds = func() (ends [32][32]bool) {
	for name := range fieldNames {
		ends[name[len(name)-2]&31][name[len(name)-1]&31] = true
	}
	for _, u := range fieldUnits {
		if len(u.text) > 1 {
			ends[u.text[len(u.text)-2]&31][u.text[len(u.text)-1]&31] = true
			continue
		}
		for _, before := range []byte("_-abcdefghijklmnopqrstuvwxyz") {
			ends[before&31][u.text[0]&31] = true
		}
	}
	return ends
}()

const (
	longestField  = 40
	shortestField = len("wait")
)

// field is a field of a body that is about time.
type field struct {
	fieldName
	unit   time.Duration // of a number; the name's own if stated
	stated bool          // the name states the unit
	camel  bool
}

// knownField reads the name of a field.
func knownField(name string) (field, bool) {
	if len(name) < shortestField || len(name) > longestField || !fieldEnds[lowerByte(name[len(name)-2])&31][lowerByte(name[len(name)-1])&31] {
		return field{}, false
	}
	f := field{unit: time.Second}
	var buf [longestField]byte
	n, apart := 0, false // apart: a separator or a hump stands before the last byte
	for i := range len(name) {
		c := name[i]
		switch {
		case c == '_' || c == '-' || c == ' ' || c == '.':
			continue
		case isUpper(c) && i > 0 && (isLower(name[i-1]) || isDigit(name[i-1])):
			f.camel = true
		}
		buf[n] = lowerByte(c)
		n++
	}
	key := buf[:n]
	if n == 0 {
		return field{}, false
	}
	for i := range fieldUnits {
		u := &fieldUnits[i]
		if key[n-1] != u.text[len(u.text)-1] && key[0] != u.text[0] { // it neither ends nor begins with it
			continue
		}
		at := len(name) - len(u.text)
		if u.apart {
			if apart = at > 0 && (name[at-1] == '_' || name[at-1] == '-' || isUpper(name[at]) && isLower(name[at-1])); !apart {
				continue
			}
		}
		if rest, ok := cutSuffix(key, u.text); ok {
			if named, ok := lookField(rest); ok && named.kind != kindInstant {
				f.fieldName, f.unit, f.stated = named, u.length, true
				if f.kind == kindEither {
					f.kind = kindDelay
				}
				return f, true
			}
		}
		if len(key) > len(u.text) && string(key[:len(u.text)]) == u.text && !u.apart { // seconds_until_reset
			if named, ok := fieldNames[string(key[len(u.text):])]; ok && named.kind == kindDelay {
				f.fieldName, f.unit, f.stated = named, u.length, true
				return f, true
			}
		}
	}
	named, ok := lookField(key)
	f.fieldName = named
	return f, ok
}

func cutSuffix(key []byte, suffix string) ([]byte, bool) {
	if len(key) <= len(suffix) || string(key[len(key)-len(suffix):]) != suffix {
		return key, false
	}
	return key[:len(key)-len(suffix)], true
}

// lookField finds a name behind words that only say whose limit it is.
func lookField(key []byte) (fieldName, bool) {
	for len(key) > 0 { // a name may be separators alone
		if f, ok := fieldNames[string(key)]; ok {
			return f, true
		}
		whose := 0
		for _, word := range fieldWhose {
			if word[0] != key[0] {
				continue
			}
			if len(key) > len(word) && string(key[:len(word)]) == word && len(word) > whose {
				whose = len(word)
			}
		}
		if whose == 0 {
			break
		}
		key = key[whose:]
	}
	return fieldName{}, false
}
