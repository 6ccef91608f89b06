package main

import (
	"bufio"
	"context"
	"fmt"
	"log"
	"os"
	"os/exec"
	"os/signal"

	"github.com/bhrpc/bhrpc"
)

// Hello is the service: a plain value with methods.
type Hello struct{}

// Say greets.
func (Hello) Say(ctx context.Context, name string) (string, error) { return "hello, " + name, nil }

// One command starts both processes: it runs itself again in each role.
func main() {
	log.SetFlags(0)
	var err error
	switch role := os.Getenv("HELLO_ROLE"); role {
	case "provider":
		err = provide()
	case "consumer":
		err = consume(os.Getenv("HELLO_PROVIDER"))
	default:
		err = both()
	}
	if err != nil {
		log.Fatal(err)
	}
}

// provide serves Hello on a free port until it is interrupted.
func provide() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	cfg, err := bhrpc.Load("")
	if err != nil {
		return err
	}
	if err := cfg.Set("provider.listen", "127.0.0.1:0"); err != nil {
		return err
	}
	app, err := cfg.Open(ctx)
	if err != nil {
		return err
	}
	defer app.Close()
	provider, err := app.Provide(ctx, Hello{})
	if err != nil {
		return err
	}
	fmt.Println(provider.Addr()) // for the process that started this one
	<-ctx.Done()
	return provider.Stop()
}

// consume calls the provider and shows which extensions it used.
func consume(address string) error {
	app, err := bhrpc.Dial(address)
	if err != nil {
		return err
	}
	defer app.Close()
	greeting, err := bhrpc.Call[string](context.Background(), app, "Hello.Say", "world")
	if err != nil {
		return err
	}
	fmt.Println(greeting)
	fmt.Println()
	return app.Explain(os.Stdout)
}

// both starts the provider, reads where it listens, and runs the consumer.
func both() error {
	provider, err := again("provider")
	if err != nil {
		return err
	}
	out, err := provider.StdoutPipe()
	if err != nil {
		return err
	}
	if err := provider.Start(); err != nil {
		return err
	}
	defer provider.Wait()
	defer provider.Process.Signal(os.Interrupt)
	lines := bufio.NewScanner(out)
	if !lines.Scan() {
		return fmt.Errorf("the provider did not start")
	}
	consumer, err := again("consumer", "HELLO_PROVIDER="+lines.Text())
	if err != nil {
		return err
	}
	consumer.Stdout = os.Stdout
	return consumer.Run()
}

// again is this program in another role.
func again(role string, env ...string) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self)
	cmd.Env = append(append(os.Environ(), "HELLO_ROLE="+role), env...)
	cmd.Stderr = os.Stderr
	return cmd, nil
}
