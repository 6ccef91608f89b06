package plugins

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"net"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/bhrpc/bhrpc/spi"
	"github.com/sirupsen/logrus"
	"go.uber.org/goleak"
)

// roleEnv makes the test binary play a plugin.
const roleEnv = "BHRPC_TEST_ROLE"

// roles are what a process of the tests does. It ends when its role returns.
var roles = map[string]func(){
	"environment": func() {
		for _, v := range os.Environ() {
			fmt.Println(v)
		}
		in, _ := os.Readlink("/proc/self/fd/0")
		fmt.Println("stdin", in)
		limits, _ := os.ReadFile("/proc/self/limits")
		fmt.Print(string(limits))
	},
	"wait": func() { fmt.Println("started"); time.Sleep(time.Hour) },
	"until lifeline": func() {
		fmt.Println("started")
		_, _ = os.NewFile(lifelineFile, "lifeline").Read(make([]byte, 1))
	},
	"leave a child":                         func() { leave(false) },
	"leave a child with a group of its own": func() { leave(true) },
	"plugin": func() {
		fmt.Print("a line\nand one that is only begun")
		cat := spi.NewCatalog()
		if err := spi.Register(cat.LoadBalancers, "first", "Sends everything to the first.", firstConfig{Share: 3}, openFirst); err != nil {
			panic(err)
		}
		if err := Serve(cat); err != nil {
			panic(err)
		}
	},
	"host": func() {
		var cfg spi.PluginConfig
		if err := json.NewDecoder(os.Stdin).Decode(&cfg); err != nil {
			panic(err)
		}
		p, err := Open(context.Background(), cfg, logrus.New())
		if err != nil {
			panic(err)
		}
		fmt.Println("plugin", p.Status().PID)
		select {}
	},
	"picker": func() {
		cat := spi.NewCatalog()
		err := spi.Register(cat.LoadBalancers, "own", "Picks by itself.", struct{}{}, func(context.Context, spi.Env, struct{}) (spi.LoadBalancer, error) {
			return ownBalancer{}, nil
		})
		if err = errors.Join(err, Serve(cat)); err != nil {
			panic(err)
		}
	},
	"another version": func() {
		fmt.Println("1|99|unix|/no/socket|grpc|")
		time.Sleep(time.Hour)
	},
	"listens elsewhere": func() {
		l, err := net.Listen("unix", os.Getenv("PLUGIN_UNIX_SOCKET_DIR")+"/../elsewhere")
		if err != nil {
			panic(err)
		}
		fmt.Printf("1|1|unix|%s|grpc|\n", l.Addr())
		time.Sleep(time.Hour) // nobody answers there
	},
	"listens on TCP": func() {
		fmt.Println("1|1|tcp|127.0.0.1:1|grpc|")
		time.Sleep(time.Hour)
	},
	"has a certificate": func() {
		fmt.Printf("1|1|unix|%s/socket|grpc|%s\n", os.Getenv("PLUGIN_UNIX_SOCKET_DIR"), newCertificate())
		time.Sleep(time.Hour)
	},
	"second plugin": serveSecond,
	"heartbeats":    serveHeartbeats,
	"registry":      serveRegistry,
	"handshake in noise": func() {
		fmt.Print("stray\n\n", string(make([]byte, 3*maxLine)), "\n1|x|unix|/no|grpc\n1|1|unix|/a/socket|grpc|cert\n1|1|unix|/another/socket|grpc|cert\nafter\n")
	},
}

// newCertificate returns a certificate as it stands in a handshake.
func newCertificate() string {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	return base64.RawStdEncoding.EncodeToString(cert)
}

// ownBalancer has no planner.
type ownBalancer struct{ spi.LoadBalancer }

// leave starts a child that holds the pipes, and ends.
func leave(group bool) {
	child := exec.Command(os.Args[0])
	child.Env = []string{roleEnv + "=wait"}
	child.Stdout, child.Stderr = os.Stdout, os.Stderr
	if group {
		ownSession(child)
	}
	if err := child.Start(); err != nil {
		panic(err)
	}
	fmt.Println("child", child.Process.Pid)
}

// firstConfig configures the load balancer of the tests' plugin.
type firstConfig struct {
	Share int `json:"share" doc:"weight of the first"`
}

// Validate refuses a negative share, and panics at a special one.
func (c *firstConfig) Validate() error {
	switch c.Share {
	case 666:
		panic("as the test asked")
	case 777:
		select {} // never answers
	case 888:
		var all [][]byte
		for range 1 << 10 {
			all = append(all, bytes.Repeat([]byte{1}, 1<<20))
		}
		fmt.Println(len(all))
	}
	if c.Share < 0 {
		return errors.New("share: is negative")
	}
	return nil
}

func openFirst(_ context.Context, env spi.Env, cfg firstConfig) (spi.LoadBalancer, error) {
	env.Log.WithField("share", cfg.Share).Info("opened")
	return spi.FromPlanner(firstPlanner{cfg.Share}, env), nil
}

// firstPlanner gives the first endpoint all calls, and no plan for two endpoints.
type firstPlanner struct{ share int }

func (p firstPlanner) Plan(_ context.Context, stats spi.Stats) (spi.Plan, error) {
	if len(stats.Endpoints) == 2 {
		return spi.Plan{}, errors.New("two are too few")
	}
	weights := make([]int, len(stats.Endpoints))
	weights[0] = p.share
	return spi.Plan{Weights: weights}, nil
}

func TestMain(m *testing.M) {
	maps.Copy(roles, perCallRoles)
	maps.Copy(roles, crossRoles)
	if role := os.Getenv(roleEnv); role != "" {
		roles[role]()
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}
