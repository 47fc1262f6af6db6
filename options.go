package tokenguard

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/tokenguard/tokenguard/internal/jsonconfig"
	"github.com/tokenguard/tokenguard/internal/ledger"
)

// Option sets one thing of a Guard. Options apply in order: a later one goes over an earlier one, field by field, and
// a zero field keeps what is set, so a boolean once set stays. New reports the mistakes of all of them together.
type Option func(*options)

type options struct {
	Config
	classifier   func(Failure) Class // nil: Classify
	personal     func(context.Context) (Token, error)
	renewal      RenewalFunc
	renewals     RenewalLimits
	timeout      time.Duration
	refreshAhead time.Duration
	freshness    time.Duration
	freshnessSet bool
	clockOnHit   bool // WithClockOnEachHit
	store        Store
	statePath    string
	stateFile    bool // WithStateFile, also with an empty path
	stateShared  bool // WithSharedStateFile
	keys         [][]byte
	noTokens     bool // WithoutTokenPersistence
	name         string
	named        bool
	clock        Clock
	logger       *slog.Logger
	observers    []func(Event)
	shadow       bool
	candidate    *Config
	sharing      bool           // WithFailOpenToLocalShare
	processes    int            // its argument
	policy       *ledger.Policy // what the rules read of the above
	problems     []error
}

// Clock tells the time. If it also has Sleep(ctx, d) error, Wait sleeps with it.
type Clock interface{ Now() time.Time }

const (
	maxTimeout      = time.Hour
	maxRefreshAhead = 24 * time.Hour
	maxFreshness    = time.Hour
	keySize         = 32
	maxName         = 64
)

// newOptions applies opts over the defaults. Its error joins a *ConfigError for each mistake.
func newOptions(opts []Option) (*options, error) {
	o := &options{
		Config:    Conservative(),
		renewals:  defaultRenewalLimits(),
		timeout:   30 * time.Second,
		freshness: time.Second,
		name:      "default",
		logger:    slog.New(slog.DiscardHandler),
	}
	for i, opt := range opts {
		if opt == nil {
			o.mistake(fmt.Sprintf("option %d", i+1), "nil", "an Option")
			continue
		}
		opt(o)
	}
	o.mistakes(o.backoffMistakes()...)
	if r := &o.renewals; r.MaxBackoff < r.BackoffBase {
		o.mistake("RenewalLimits.MaxBackoff", r.MaxBackoff.String(), fmt.Sprintf("at least BackoffBase, %v", r.BackoffBase))
	}
	o.completeCandidate()
	switch {
	case o.stateFile && o.store != nil:
		o.mistake("WithStateFile", fmt.Sprintf("%q beside WithStore", o.statePath), "the only store, or left out")
	case o.store != nil && !o.named:
		o.mistake("WithName", "missing", "set with WithStore: tokens and limits are shared by name")
	case o.stateFile && o.statePath == "" && !o.named:
		o.mistake("WithName", "missing", "set with an empty state file path: it names the file")
	}
	if o.clock != nil && !o.freshnessSet {
		o.freshness = 0
	}
	o.policy = o.rules()
	o.checkShare()
	if len(o.problems) > 0 {
		return nil, errors.Join(o.problems...)
	}
	return o, nil
}

// rules is the part of the options that decisions read.
func (o *options) rules() *ledger.Policy {
	return &ledger.Policy{
		RateLimit: ledger.LimitPolicy(o.RateLimit), Cache: ledger.CachePolicy(o.Cache), Dedup: ledger.DedupPolicy(o.Dedup),
		Manager: ledger.ManagerPolicy{MinTokenAge: o.Manager.MinTokenAge, RecentWindow: o.Manager.RecentWindow, Confirmation: o.Manager.Confirmation,
			ReplaceSpentEarly: o.Manager.ReplaceSpentEarly, RollingQuota: o.Manager.QuotaPeriod.p.Length()},
		Predictor:    ledger.PredictorPolicy(o.Predictor),
		RefreshAhead: o.refreshAhead, RequestTimeout: o.timeout,
		Renewal: ledger.RenewalPolicy(o.renewals), Renews: o.renewal != nil,
	}
}

func (o *options) mistake(field, value, bound string) {
	o.problems = append(o.problems, &ConfigError{Field: field, Value: value, Bound: bound})
}

func (o *options) mistakes(of ...jsonconfig.Mistake) {
	o.problems = append(o.problems, configErrors(of)...)
}

// given reports whether an argument is there, and notes the mistake where it is not.
func (o *options) given(ok bool, field, want string) bool {
	if !ok {
		o.mistake(field, "nil", want)
	}
	return ok
}

// within reports whether 0 <= d <= most, and notes the mistake where it is not.
func (o *options) within(field string, d, most time.Duration) bool {
	ok := d >= 0 && d <= most
	if !ok {
		o.mistake(field, d.String(), fmt.Sprintf("from 0 to %v", most))
	}
	return ok
}

// WithConfig sets everything that operators set, such as a preset or what ParseConfig returned. Fields that are zero
// keep what is set.
func WithConfig(c Config) Option {
	return func(o *options) {
		o.mistakes(configFields.Overlay(&o.Config, c)...)
	}
}

// WithRateLimits bounds the started acquisitions; see RateLimits for units, bounds and defaults.
func WithRateLimits(c RateLimits) Option { return WithConfig(Config{RateLimit: c}) }

// WithCache sets the token cache; see CacheConfig for units, bounds and defaults.
func WithCache(c CacheConfig) Option { return WithConfig(Config{Cache: c}) }

// WithDedup sets the dedup filter and the in-progress gate; see DedupConfig for units, bounds and defaults.
func WithDedup(c DedupConfig) Option { return WithConfig(Config{Dedup: c}) }

// WithManager sets the decision manager; see ManagerConfig for units, bounds and defaults.
func WithManager(c ManagerConfig) Option { return WithConfig(Config{Manager: c}) }

// WithPredictor sets the quota predictor; see PredictorConfig for units, bounds and defaults.
func WithPredictor(c PredictorConfig) Option { return WithConfig(Config{Predictor: c}) }

// WithClassifier replaces Classify. The function must be pure, since a decision may be computed again: the same class
// for the same failure, no I/O. It may call Classify for what it does not know itself. The limits
// hold whatever it says. It must not be nil.
func WithClassifier(classify func(Failure) Class) Option {
	return func(o *options) {
		if o.given(classify != nil, "WithClassifier", "a function") {
			o.classifier = classify
		}
	}
}

// WithPersonalToken sets the source of the account's own token, which goes before every anonymous one. It is called
// once per TTL or expiry, with the values of the context of a caller who needs it, and once at once after a rejection: the
// token may have been replaced where it comes from. A call that has an anonymous token waits at most 2 s for it, and not at
// all while it hangs. It must not be nil.
func WithPersonalToken(source func(context.Context) (Token, error)) Option {
	return func(o *options) {
		if o.given(source != nil, "WithPersonalToken", "a function") {
			o.personal = source
		}
	}
}

// WithRequestTimeout bounds one run of RequestFunc: up to 1 h, default 30 s; 0 keeps what is set. An attempt that a
// killed process left behind holds its place for a little longer than this.
func WithRequestTimeout(d time.Duration) Option {
	return func(o *options) {
		if o.within("WithRequestTimeout", d, maxTimeout) && d > 0 {
			o.timeout = d
		}
	}
}

// WithRefreshAhead lets one caller acquire the next token this long before the cached one expires, while the others
// keep the old one: 0 to 24 h, default 0, which waits for the expiry. At most half of a token's lifetime counts, so that
// a window longer than the lifetime does not refresh on each call. That caller waits for the result; if there is none,
// or the limits refuse, it is served with the old token. All limits hold as usual.
func WithRefreshAhead(d time.Duration) Option {
	return func(o *options) {
		if o.within("WithRefreshAhead", d, maxRefreshAhead) {
			o.refreshAhead = d
		}
	}
}

// WithFreshness sets how old the last look at the store may be when a call is answered without a start: 0 to 1 h,
// default 1 s; 0 looks on each call, as WithClock does by default. A start always reads the newest.
func WithFreshness(d time.Duration) Option {
	return func(o *options) {
		if o.within("WithFreshness", d, maxFreshness) {
			o.freshness, o.freshnessSet = d, true
		}
	}
}

// WithClockOnEachHit has each call read the clock, also one that a cached token answers. Without it a token that lasts
// well beyond the next second is handed out on the word of a timer, which does not run in time where the process is
// frozen between calls, as functions in the cloud and containers that are paused are: up to 64 calls for each of 64
// stripes of callers may then get a token that has expired. A hit takes about three times as long with it.
func WithClockOnEachHit() Option { return func(o *options) { o.clockOnHit = true } }

// WithStateFile keeps the state in a file that several processes on one machine share and that outlives them. An empty
// path means a file in the user's state folder named after the guard (XDG_STATE_HOME or ~/.local/state, on macOS and
// Windows the user's configuration folder; in it tokenguard/NAME.state), and requires WithName. A relative path is
// taken from the working directory at New. The file is made by the first call, so a path that cannot be used is no
// mistake that New reports: calls are refused with ErrStore. It excludes WithStore.
func WithStateFile(path string) Option {
	return func(o *options) { o.statePath, o.stateFile = path, true }
}

// WithSharedStateFile is WithStateFile for the users of one group: the file has the mode 0660 and its folder's group, and
// a folder that is made has the mode 2770. All guards on the file must use it. It has no effect on Windows.
func WithSharedStateFile(path string) Option {
	return func(o *options) { o.statePath, o.stateFile, o.stateShared = path, true, true }
}

// WithStore keeps the state in a store of the caller's, who also closes it. It requires WithName and excludes
// WithStateFile. The default is a NewMemoryStore.
func WithStore(s Store) Option {
	return func(o *options) {
		if o.given(s != nil, "WithStore", "a Store") {
			o.store = s
		}
	}
}

// WithEncryption encrypts the tokens at rest (AES-256-GCM), and nothing else, so that a lost key lifts no limit. The
// first key encrypts; the others still decrypt what was written with them. Each is 32 random bytes, no passphrase; a
// copy is kept.
func WithEncryption(keys ...[]byte) Option {
	return func(o *options) {
		if len(keys) == 0 {
			o.mistake("WithEncryption", "without keys", "given at least one")
		}
		o.keys = nil
		for i, k := range keys {
			if len(k) != keySize {
				o.mistake(fmt.Sprintf("WithEncryption key %d", i+1), fmt.Sprintf("%d bytes", len(k)), fmt.Sprintf("%d bytes", keySize))
			}
			o.keys = append(o.keys, bytes.Clone(k))
		}
	}
}

// WithoutTokenPersistence keeps tokens out of the store; limits, backoff and evidence stay in it. Each process then
// has to acquire its own tokens, within the limits that all share.
func WithoutTokenPersistence() Option { return func(o *options) { o.noTokens = true } }

// WithName names the upstream and the account, since tokens and limits are shared by name: 1 to 64 ASCII letters,
// digits, and "-_.", not starting with a dot. The default is "default".
func WithName(name string) Option {
	return func(o *options) {
		o.name, o.named = name, true
		if !validName(name) {
			o.problems = append(o.problems, invalidName(name))
		}
	}
}

func invalidName(name string) *ConfigError {
	return &ConfigError{Field: "WithName", Value: jsonconfig.Shorten(strconv.Quote(name)), Bound: `1 to 64 letters, digits, "-", "_" and ".", not starting with a dot`}
}

func validName(name string) bool {
	if name == "" || len(name) > maxName || name[0] == '.' {
		return false
	}
	for _, c := range []byte(name) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == '.':
		default:
			return false
		}
	}
	return true
}

// WithClock replaces the system's clock, for tests and simulations. The state that a guard begins with it is marked in its
// store: guards on the machine's clock refuse it with ErrStore, and guards with a clock of their own refuse theirs.
func WithClock(c Clock) Option {
	return func(o *options) {
		if o.given(c != nil, "WithClock", "a Clock") {
			o.clock = c
		}
	}
}

// WithLogger sets where log records go. By default nothing is logged.
func WithLogger(l *slog.Logger) Option {
	return func(o *options) {
		if o.given(l != nil, "WithLogger", "a logger; leave it out for silence") {
			o.logger = l
		}
	}
}

// WithObserver adds a function that is called with each event, with no lock held. Several are called in the order of
// their options, even if one panics; the call that caused the event then meets that panic. It should return soon: it runs
// on the goroutine that caused the event. It may call the guard, but a token that it waits for while it is called with a start
// cannot come before it returns. It must not be nil.
func WithObserver(observe func(Event)) Option {
	return func(o *options) {
		if o.given(observe != nil, "WithObserver", "a function") {
			o.observers = append(o.observers, observe)
		}
	}
}

// WithShadowModeRefusingNothing lets a team look before it enforces. The guard decides, records and counts as usual, and
// hands out the tokens that it has, but a call that it would refuse goes to RequestFunc: on the caller's own context,
// once for each such call, as without a guard. What it returns is the caller's alone, with SourceShadow and the verdict
// of the refusal; it is neither charged nor cached, so that state, Explain and Stats are those of a guard that refuses.
//
// No limit holds meanwhile, nor does an upstream's Retry-After: the worst case is one run of RequestFunc for each call.
// Requests of Kind Personal and calls after Close are refused as usual.
func WithShadowModeRefusingNothing() Option { return func(o *options) { o.shadow = true } }

// WithCandidate judges other settings beside those in force, on the same calls. Fields of c that are zero are as in
// force. Nothing of it reaches a caller, and RequestFunc is not called for it: an acquisition that the candidate would
// start takes no time and ends as the last real one did, and what is reported of a real token is taken as said of the
// one that the candidate had in its place; nobody uses up the quota of one that the guard has not. So it answers how
// many calls c would have served, at most, and with how many acquisitions; see Stats.Candidate and EventCandidate.
//
// Its state is stored beside the guard's, in the same store under the guard's name and ".candidate", in a file of that
// suffix, or in memory. It begins as a copy of the guard's own, with names in place of the tokens. It costs each call
// a second decision, and each of its acquisitions two commits. The guard's name may then have at most 54 bytes.
func WithCandidate(c Config) Option { return func(o *options) { o.candidate = &c } }
