package core

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// validate lists what is wrong with what a file can say.
func (h HTTP) validate() error {
	for i, origin := range h.Origins {
		u, err := url.Parse(origin)
		if err != nil || u.Scheme == "" || u.Host == "" || origin != u.Scheme+"://"+u.Host {
			return &RangeError{Key: fmt.Sprintf("http.origins.%d", i), Message: fmt.Sprintf("%q is no origin; write scheme and host, as https://shop.example", origin)}
		}
	}
	for i, host := range h.Hosts {
		if host == "" || strings.ContainsAny(host, ":/ ") {
			return &RangeError{Key: fmt.Sprintf("http.hosts.%d", i), Message: fmt.Sprintf("%q is no name of a host; write it without port, as orders.internal", host)}
		}
	}
	return nil
}

// hostAllowed guards against DNS rebinding: a web page whose name was made to lead
// here says its own name as the host. A request without a host comes from no
// browser.
func (w *webServer) hostAllowed(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	if host == "" || host == "localhost" {
		return true
	}
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return true
	}
	return slices.ContainsFunc(w.hosts, func(own string) bool { return strings.EqualFold(own, host) })
}

// originAllowed reports a request of a web page that may call.
func (w *webServer) originAllowed(h http.Header) bool {
	origin := h.Get("Origin")
	return origin != "" && slices.ContainsFunc(w.provider.cfg.HTTP.Origins, func(own string) bool { return strings.EqualFold(own, origin) })
}

// allowOrigin tells the browser that the page may see the answer, and before a call
// what it may send.
func allowOrigin(answer, request http.Header) {
	answer.Set("Access-Control-Allow-Origin", request.Get("Origin"))
	answer.Set("Access-Control-Expose-Headers", "*")
	answer.Add("Vary", "Origin")
	if asked := request.Get("Access-Control-Request-Headers"); asked != "" {
		answer.Set("Access-Control-Allow-Headers", asked)
		answer.Set("Access-Control-Allow-Methods", http.MethodPost)
		answer.Set("Access-Control-Max-Age", "600")
	}
}
