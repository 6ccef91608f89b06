package config_test

import (
	"fmt"
	"os"

	"github.com/bhrpc/bhrpc/internal/config"
)

func Example() {
	file, err := os.CreateTemp("", "*.yaml")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.Remove(file.Name())
	fmt.Fprintln(file, "consumer: {serializer: gob, timeout: 2s}")
	if err := file.Close(); err != nil {
		fmt.Println(err)
		return
	}

	c, err := config.Load(file.Name(), []string{"BHRPC_CONSUMER_TIMEOUT=3s"})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(c.Consumer.Serializer.Use, c.Consumer.Timeout, "from", c.Origin("consumer.timeout"))

	fmt.Println(c.Set("consumer.tiemout", "4s"))
	// Output:
	// gob 3s from env BHRPC_CONSUMER_TIMEOUT
	// consumer.tiemout (from code): unknown key; did you mean "timeout"?
	//   keys of consumer: addresses, serializer, compressor, loadbalancer, proxy, heartbeat, registry, interceptors, timeout, dial_timeout, handshake_timeout, write_timeout, reconnect, limits, retry, drain_timeout, tls, frame_timeout, checksum, compress_above
}
