package core_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bhrpc/bhrpc/core"
	"github.com/bhrpc/bhrpc/core/coretest"
	"github.com/bhrpc/bhrpc/spi"
)

// program is one random schedule of calls and faults, between sides that are set up
// at random.
type program struct {
	*world
	*rand.Rand
	journal  journal
	stands   []*stand
	spared   int // this one is up all the time, and takes what comes; -1: none
	drains   bool
	consumer *core.Consumer
	orders   []*order
	late     bool // the consumer was shut down while calls were under way
}

// stand is an address, where one provider follows another.
type stand struct {
	*program
	address string
	edit    func(*core.ProviderConfig)
	service *shop

	mu       sync.Mutex
	current  *core.Provider // nil: it is being shut down
	everyone []*core.Provider
}

const programAttempts = 3

func newProgram(t *testing.T, random *rand.Rand) *program {
	p := &program{world: newWorld(t), Rand: random, journal: journal{ran: make(map[string]int)}}
	p.spared, p.drains = p.IntN(4)-1, p.coin()
	queue := []spi.Size{64 << 10, 4 << 20}[p.IntN(2)]
	message := []spi.Size{16 << 20, 150 << 10}[p.IntN(2)]
	if p.spared >= 0 { // it takes what comes
		message = 16 << 20
	}
	var addresses []string
	for i, address := range []string{"a:1", "b:1", "c:1"} {
		took := time.Duration(p.IntN(80)) * time.Millisecond
		requests, checksum, compressor, large := 1+p.IntN(10), p.coin(), p.coin(), p.coin()
		s := &stand{program: p, address: address, service: &shop{journal: &p.journal, took: func(id string) time.Duration { return took * time.Duration(id[0]%4) }}}
		s.edit = func(cfg *core.ProviderConfig) {
			if i != p.spared {
				cfg.MaxRequests = requests
			}
			cfg.Checksum, cfg.Limits.WriteQueue = checksum, queue
			if compressor {
				cfg.Compressors = map[string]spi.Compressor{"runs": runs{}}
			}
			if large {
				cfg.Limits.Message = message
			}
		}
		s.open()
		p.stands = append(p.stands, s)
		addresses = append(addresses, address)
	}
	p.consumer = p.world.consumer(func(cfg *core.ConsumerConfig) {
		cfg.References = map[string]core.Reference{"shop": {Idempotent: []string{"Read"}}}
		if p.coin() {
			cfg.References["shop"] = core.Reference{Idempotent: []string{"Read"}, Hedge: spi.Duration(1+p.IntN(100)) * spi.Duration(time.Millisecond)}
		}
		cfg.Retry.Attempts = programAttempts
		if p.spared >= 0 {
			cfg.Retry.Budget = core.RetryBudget{Ratio: 1, Burst: 1000}
		}
		cfg.Reconnect.Cap = spi.Duration(time.Second)
		cfg.Checksum, cfg.Limits.WriteQueue = p.coin(), queue
		if p.coin() {
			cfg.CompressorName, cfg.Compressor = "runs", runs{}
		}
		if p.coin() {
			cfg.Limits.Message = message
		}
	}, addresses...)
	return p
}

func (p *program) coin() bool { return p.IntN(2) == 0 }

// open starts the stand's next provider.
func (s *stand) open() {
	l, err := s.network.Listen(s.address)
	for err != nil { // one that was shut down before it served still has the address
		<-time.After(time.Millisecond)
		l, err = s.network.Listen(s.address)
	}
	next := s.newProvider(s.edit, s.service)
	s.serve(next, l)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current = next
	s.everyone = append(s.everyone, next)
}

// drain shuts the stand's provider down, and starts the next.
func (s *stand) drain(within time.Duration) {
	s.mu.Lock()
	leaving := s.current
	s.current = nil
	s.mu.Unlock()
	if leaving == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	begin := time.Now()
	_ = leaving.Shutdown(ctx)
	if took, most := time.Since(begin), within+2*time.Second; took > most {
		s.Errorf("%s: shutting down took %v, want at most %v", s.address, took, most)
	}
	s.open()
}

// size is that of a body: most are small.
func (p *program) size() int {
	if p.IntN(8) > 0 {
		return p.IntN(100)
	}
	return p.IntN(mostOrdered)
}

func (p *program) order() *order {
	o := &order{method: []string{"Read", "Buy"}[p.IntN(2)], timeout: 10 * time.Second, texture: p.IntN(3), asks: p.size(), gets: p.size()}
	if p.IntN(5) == 0 {
		o.timeout = time.Duration(1+p.IntN(200)) * time.Millisecond
	}
	o.id = fmt.Sprint(p.IntN(10), "-", len(p.orders))
	p.orders = append(p.orders, o)
	return o
}

// harm does something to one endpoint, but not to the spared one.
func (p *program) harm() {
	i := p.IntN(len(p.stands))
	if i == p.spared {
		return
	}
	link := p.network.Link(p.stands[i].address)
	bytes := int64(p.IntN([]int{200, 2 * mostOrdered}[p.IntN(2)]))
	switch p.IntN(8) {
	case 0, 1:
		link.Cut()
	case 2, 3:
		link.ToProvider.CutAfter(bytes)
	case 4, 5:
		link.ToConsumer.CutAfter(bytes)
	case 6:
		link.Refuse()
	default:
		if p.spared < 0 { // a silent endpoint is not found out without a heartbeat
			[]*coretest.Direction{link.ToProvider, link.ToConsumer}[p.IntN(2)].Stall()
		}
	}
}

func (p *program) run() {
	var calling, draining sync.WaitGroup
	if p.spared >= 0 || p.coin() {
		synctest.Wait() // everything is connected; otherwise it is about to be
	}
	for range 60 {
		switch n := p.IntN(20); {
		case n < 10:
			o := p.order()
			calling.Go(func() { o.make(p.consumer) })
		case n < 15:
			p.harm()
		case n < 16:
			if i, within := p.IntN(len(p.stands)), time.Duration(p.IntN(300))*time.Millisecond; p.drains && i != p.spared {
				draining.Go(func() { p.stands[i].drain(within) })
			}
		case n < 18:
			p.network.Link(p.stands[p.IntN(len(p.stands))].address).Heal()
		default:
			<-time.After(time.Duration(p.IntN(60)) * time.Millisecond)
		}
		if p.coin() {
			synctest.Wait()
		}
	}
	if p.late = p.drains && p.coin(); p.late {
		p.shutdown(time.Duration(p.IntN(12_000)) * time.Millisecond)
	}
	calling.Wait()
	draining.Wait()
}

// shutdown ends the consumer while calls are under way.
func (p *program) shutdown(within time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	begin := time.Now()
	_ = p.consumer.Shutdown(ctx)
	if took := time.Since(begin); took > within {
		p.Errorf("shutting the consumer down took %v, want at most %v", took, within)
	}
}

func (p *program) check() {
	if got := p.consumer.InFlight(); got != 0 {
		p.Errorf("got %d calls in flight, want 0", got)
	}
	if got := p.consumer.SlotsInUse(); got != 0 {
		p.Errorf("got %d slots in use, want 0", got)
	}
	for _, i := range p.consumer.Conns() {
		if i.State == core.ConnUp && i.InFlight != 0 {
			p.Errorf("%s: got %d calls in flight, want 0", i.Peer, i.InFlight)
		}
	}
	p.must(p.consumer.Close())
	for _, s := range p.stands {
		p.network.Link(s.address).Heal()
	}
	<-time.After(time.Minute) // whatever still runs somewhere has run
	for _, s := range p.stands {
		for _, provider := range s.everyone {
			if requests, conns := provider.Requests(), provider.ConnCount(); requests != 0 || conns != 0 {
				p.Errorf("%s: got %d requests and %d conns, want none", s.address, requests, conns)
			}
		}
	}
	p.journal.mu.Lock()
	defer p.journal.mu.Unlock()
	for _, o := range p.orders {
		if o.took > o.timeout {
			p.Errorf("%s(%s): took %v of %v: %v", o.method, o.id, o.took, o.timeout, o.err)
		}
		lucky := p.spared >= 0 && !p.late && o.method == "Read" && o.timeout >= time.Second
		o.check(p.TB.(*testing.T), p.journal.ran[o.id], programAttempts, lucky)
	}
}
