package plugins

import "strings"

// The messages carry UTF-8 only, and one text that is not would lose the message that it
// is in: what people read is made UTF-8 before it is sent.

// text returns s with what is not UTF-8 replaced.
func text(s string) string { return strings.ToValidUTF8(s, "\ufffd") }

// texts returns m with what is not UTF-8 replaced. It does not modify m.
func texts(m map[string]string) map[string]string {
	if m == nil {
		return nil
	}
	clean := make(map[string]string, len(m))
	for key, value := range m {
		clean[text(key)] = text(value)
	}
	return clean
}
