//go:build (fault || faultnet || faultlong) && linux

package fault_test

import "time"

// quickReconnect keeps a consumer at the heels of a provider that comes back.
func quickReconnect() map[string]any {
	return map[string]any{"consumer.reconnect.first": "10ms", "consumer.reconnect.base": "20ms", "consumer.reconnect.cap": "1s"}
}

// hastyReconnect is for tests that end a thousand connections.
func hastyReconnect() map[string]any {
	return map[string]any{"consumer.reconnect.first": "0s", "consumer.reconnect.base": "1ms", "consumer.reconnect.cap": "1ms", "consumer.reconnect.stable": "0s"}
}

// backWithin is H6: the cap of the backoff and a second.
const backWithin = 2 * time.Second
