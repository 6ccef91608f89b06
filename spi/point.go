package spi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/sirupsen/logrus"
)

// Env is what the framework lends an extension. Fields may be added.
type Env struct {
	Log  logrus.FieldLogger // never nil when an extension is opened; carries its kind and name
	Role Role               // the side that opens it; "" where that makes no difference
}

// Point is one extension point: the named implementations of contract T. Make one
// with [NewPoint]. It is safe for concurrent use. The life of an extension, in order:
//
//  1. Look up: the name or alias of the [Ref] is found, or the error names the
//     nearest and all known names.
//  2. Check keys: every key of the configuration must be one that the extension
//     declares, appear once and hold a value of its type.
//  3. Decode: the defaults are copied and the configuration is laid over them, as
//     [Raw] says.
//  4. Validate: if *C has a method Validate() error, it is called.
//  5. Open: the extension builds T. If it fails it leaves nothing running. The
//     context bounds this step only.
//  6. Use: by as many goroutines as the contract says.
//  7. Close: if T implements [io.Closer], whoever opened it closes it, once, after
//     the last use.
//
// Steps 1 to 4 have no side effects; [Point.Resolve] stops there.
type Point[T any] struct {
	kind string

	mu      sync.RWMutex
	exts    map[string]extension[T]
	aliases map[string]string // alias → name
	refused map[string]string // name → why
	linked  map[string]string // known name that is not linked in → import path
	missing []string          // what else to say of a name that is unknown
}

type extension[T any] struct {
	info   Info
	at     string                     // where it was registered, for the duplicate error
	decode func(ref Ref) (any, error) // steps 3 and 4
	open   func(context.Context, Env, any) (T, error)
}

// NewPoint returns an empty extension point. kind is what errors and listings call
// it, and its configuration key.
func NewPoint[T any](kind string) *Point[T] {
	return &Point[T]{kind: kind, exts: map[string]extension[T]{}, aliases: map[string]string{}, refused: map[string]string{}, linked: map[string]string{}}
}

// Kind returns what errors and listings call the point.
func (p *Point[T]) Kind() string { return p.kind }

// Register adds an extension, configured by a struct C whose fields carry `json`
// and `doc` tags. defaults holds the value of every key that the configuration
// does not give; it must survive a round trip through JSON.
//
// Names match [a-z][a-z0-9-]* and have at most 64 characters. Errors: [ErrInvalid]
// for a bad name, a nil open, defaults that JSON loses a part of or a C that
// configuration cannot express, [ErrDuplicate] for a name that is taken, naming
// both places. A name is never silently replaced.
//
// It is a function because Go methods take no type parameters.
func Register[T, C any](p *Point[T], name, doc string, defaults C, open func(context.Context, Env, C) (T, error)) error {
	source, at := caller()
	fail := func(err error) error {
		return fmt.Errorf("%w: %s %q from %s: %w", ErrInvalid, p.kind, name, at, err)
	}
	fields, err := Fields(defaults)
	if err != nil {
		return fail(err)
	}
	base, err := json.Marshal(defaults)
	if err != nil {
		return fail(err)
	}
	var back C
	if err := json.Unmarshal(base, &back); err != nil || !reflect.DeepEqual(back, defaults) {
		return fail(fmt.Errorf("the defaults do not survive JSON, which every configuration goes through: %+v becomes %s", defaults, base))
	}
	if open == nil {
		return fail(errors.New("nothing to open it with"))
	}
	top := Field{Type: typeObject, Fields: fields}
	return p.add(extension[T]{
		info: Info{Name: name, Doc: doc, Source: source, Fields: fields},
		at:   at,
		decode: func(ref Ref) (any, error) {
			var cfg C
			document, err := top.overlay(base, ref.With.given())
			if err == nil {
				err = json.Unmarshal(document, &cfg)
			}
			if err != nil {
				return nil, ref.errorf(fmt.Errorf("%w: %w", ErrInvalid, err), "configuration of %s %q: %v", p.kind, name, err)
			}
			if v, ok := any(&cfg).(interface{ Validate() error }); ok {
				if err := v.Validate(); err != nil {
					return nil, ref.errorf(fmt.Errorf("%w: %w", ErrInvalid, err), "%s %q: %v", p.kind, name, err)
				}
			}
			return cfg, nil
		},
		open: func(ctx context.Context, env Env, cfg any) (T, error) { return open(ctx, env, cfg.(C)) },
	})
}

// Add registers an extension from its description, for those that live in another
// process; [Register] is the usual, typed way in. open receives the checked
// configuration as JSON, nil for none; the defaults are its own affair. A failed Add
// leaves nothing behind. info's lists belong to the point. The errors are those of
// Register.
func (p *Point[T]) Add(info Info, open func(ctx context.Context, env Env, with []byte) (T, error)) error {
	if open == nil {
		return fmt.Errorf("%w: %s %q from %s: nothing to open it with", ErrInvalid, p.kind, info.Name, info.Source)
	}
	others := info.Aliases
	info.Aliases = nil
	return p.add(extension[T]{
		info:   info,
		at:     info.Source,
		decode: func(ref Ref) (any, error) { return ref.With.given(), nil },
		open:   func(ctx context.Context, env Env, cfg any) (T, error) { return open(ctx, env, cfg.([]byte)) },
	}, others...)
}

func (p *Point[T]) add(e extension[T], others ...string) error {
	e.info.Kind = p.kind
	if !names.MatchString(e.info.Name) {
		return fmt.Errorf("%w: %s %q from %s: a name is lower-case letters, digits and dashes, a letter first, 64 at most", ErrInvalid, p.kind, e.info.Name, e.at)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.taken(e.info.Name, e.at); err != nil {
		return err
	}
	return p.store(e, others)
}

// store puts e in place with further names, all of them or none. mu is held, and
// e's own name is its own.
func (p *Point[T]) store(e extension[T], others []string) error {
	for i, alias := range others {
		if !aliases.MatchString(alias) {
			return fmt.Errorf("%w: alias %q of %s %q from %s: an alias is lower-case letters, digits, dashes and underscores, a letter first, 64 at most", ErrInvalid, alias, p.kind, e.info.Name, e.at)
		}
		if err := p.taken(alias, e.at); err != nil {
			return err
		}
		if alias == e.info.Name || slices.Contains(others[:i], alias) {
			return fmt.Errorf("%w: %s %q, twice by %s", ErrDuplicate, p.kind, alias, e.at)
		}
	}
	e.info.Aliases = slices.Concat(e.info.Aliases, others) // a new list: Infos handed out share the old one
	slices.Sort(e.info.Aliases)
	for _, alias := range others {
		p.aliases[alias] = e.info.Name
	}
	p.exts[e.info.Name] = e
	return nil
}

// taken is called with mu held.
func (p *Point[T]) taken(name, at string) error {
	if target, ok := p.aliases[name]; ok {
		return fmt.Errorf("%w: %s %q, by %s and as an alias of %q by %s", ErrDuplicate, p.kind, name, at, target, p.exts[target].at)
	}
	if old, ok := p.exts[name]; ok {
		return fmt.Errorf("%w: %s %q, by %s and by %s", ErrDuplicate, p.kind, name, old.at, at)
	}
	return nil
}

// Alias gives a registered extension further names, which may hold underscores,
// all of them or none. The errors are those of [Register]; [ErrUnknown] if there is
// no extension called name.
func (p *Point[T]) Alias(name string, others ...string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	e, ok := p.exts[name]
	if !ok {
		return fmt.Errorf("%w: %s %q cannot be given the names %s", ErrUnknown, p.kind, name, strings.Join(others, ", "))
	}
	return p.store(e, others)
}

// Remove forgets a name and its aliases, so that a plugin that is gone leaves
// nothing behind. Values already opened are not affected. Removing an unknown
// name does nothing.
func (p *Point[T]) Remove(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.exts, name)
	maps.DeleteFunc(p.aliases, func(_, target string) bool { return target == name })
}

// Refuse makes a name an error that explains itself, for what users may look for
// and cannot have: why follows kind and name, as in `serializer "jdk" is …`. A
// registered extension of that name, or with that alias, wins.
func (p *Point[T]) Refuse(name, why string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refused[name] = why
}

// Elsewhere makes a name that is not registered an error that says which import
// provides it. A name that is refused stays refused.
func (p *Point[T]) Elsewhere(name, importPath string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.linked[name] = importPath
}

// absent adds to what is said of a name that is unknown.
func (p *Point[T]) absent(note string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.missing = append(p.missing, note)
}

// Resolved is an extension that was found and whose configuration is good.
type Resolved struct {
	Info   Info
	Config []byte // what is in force, as JSON: defaults included, but for an extension of [Point.Add], which knows them itself; nil if nothing was given to such a one
}

// Resolve does steps 1 to 4 of the life of an extension and has no side effects.
// Errors are *[ConfigError], possibly several joined: [ErrUnknown], [ErrRefused],
// [ErrNotLinked], [ErrInvalid].
func (p *Point[T]) Resolve(ref Ref) (Resolved, error) {
	e, cfg, err := p.resolve(ref)
	if err != nil {
		return Resolved{}, err
	}
	if given, ok := cfg.([]byte); ok {
		return Resolved{e.info, given}, nil
	}
	effective, err := json.Marshal(cfg)
	return Resolved{e.info, effective}, err
}

func (p *Point[T]) resolve(ref Ref) (extension[T], any, error) {
	e, err := p.find(ref)
	if err != nil {
		return e, nil, err
	}
	if err := ref.check(e.info); err != nil {
		return e, nil, err
	}
	cfg, err := e.decode(ref)
	return e, cfg, err
}

func (p *Point[T]) find(ref Ref) (extension[T], error) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	name := ref.Use
	if target, ok := p.aliases[name]; ok {
		name = target
	}
	if e, ok := p.exts[name]; ok {
		return e, nil
	}
	if why, ok := p.refused[name]; ok {
		return extension[T]{}, ref.errorf(ErrRefused, "%s %q %s", p.kind, name, why)
	}
	if importPath, ok := p.linked[name]; ok {
		return extension[T]{}, ref.errorf(ErrNotLinked, "%s %q is not linked into this program; import %q and pass its Register to bhrpc.Open", p.kind, name, importPath)
	}
	known := slices.Sorted(maps.Keys(p.exts))
	candidates := slices.Concat(known, slices.Sorted(maps.Keys(p.aliases)), slices.Sorted(maps.Keys(p.linked)))
	message := fmt.Sprintf("no %s named %q", p.kind, ref.Use)
	if ref.Use == "" {
		message = fmt.Sprintf("a %s needs a name", p.kind)
	} else if near := Nearest(ref.Use, candidates); near != "" {
		message += fmt.Sprintf("; did you mean %q?", near)
	}
	if len(known) == 0 {
		known = []string{"none"}
	}
	message += fmt.Sprintf("\n  known: %s      plugins loaded: %s", strings.Join(known, ", "), p.plugins())
	for _, note := range p.missing {
		message += "\n  " + note
	}
	return extension[T]{}, ref.errorf(ErrUnknown, "%s", message)
}

// plugins lists the plugins that bring extensions of this kind. mu is held.
func (p *Point[T]) plugins() string {
	var loaded []string
	for _, e := range p.exts {
		if name, ok := strings.CutPrefix(e.info.Source, "plugin "); ok {
			loaded = append(loaded, name)
		}
	}
	if len(loaded) == 0 {
		return "none"
	}
	slices.Sort(loaded)
	return strings.Join(slices.Compact(loaded), ", ")
}

// Open builds the extension that ref names. The caller owns the result and closes
// it if it implements [io.Closer]. env.Log may be nil. Errors: those of
// [Point.Resolve], and what the extension returns, with its kind, name and place.
func (p *Point[T]) Open(ctx context.Context, env Env, ref Ref) (T, error) {
	var none T
	e, cfg, err := p.resolve(ref)
	if err != nil {
		return none, err
	}
	if env.Log == nil {
		env.Log = silent()
	}
	env.Log = env.Log.WithFields(logrus.Fields{"kind": p.kind, "name": e.info.Name})
	v, err := e.open(ctx, env, cfg)
	if err != nil {
		return none, ref.errorf(err, "open %s %q: %v", p.kind, e.info.Name, err)
	}
	if any(v) == nil {
		return none, ref.errorf(ErrInvalid, "open %s %q: it returned nothing, and no error", p.kind, e.info.Name)
	}
	return v, nil
}

func silent() logrus.FieldLogger {
	log := logrus.New()
	log.Out = io.Discard
	return log
}

// List describes every extension of the point, sorted by name. What the Infos hold
// must not be modified.
func (p *Point[T]) List() []Info {
	p.mu.RLock()
	defer p.mu.RUnlock()
	infos := make([]Info, 0, len(p.exts))
	for _, name := range slices.Sorted(maps.Keys(p.exts)) {
		infos = append(infos, p.exts[name].info)
	}
	return infos
}
