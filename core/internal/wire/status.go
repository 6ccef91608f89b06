package wire

import (
	"fmt"
	"maps"
	"slices"
)

// ErrorBody is the body of an ERROR.
type ErrorBody struct {
	Message string
	Reason  string
	Phase   string
	Details map[string]string
	Hint    string
}

const (
	errMessage = 1
	errReason  = 2
	errPhase   = 3
	errHint    = 5
)

// AppendError appends the body of an ERROR.
func AppendError(dst []byte, e ErrorBody) []byte {
	for _, f := range [...]struct {
		tag  byte
		text string
	}{{errMessage, e.Message}, {errReason, e.Reason}, {errPhase, e.Phase}, {errHint, e.Hint}} {
		if f.text != "" {
			dst = AppendField(dst, f.tag, f.text)
		}
	}
	for _, k := range slices.Sorted(maps.Keys(e.Details)) {
		dst = AppendPair(dst, tagPair, k, e.Details[k])
	}
	return dst
}

// ParseError reads the body of an ERROR. What it returns does not refer to body.
// Error: [ErrMalformed].
func ParseError(body []byte) (ErrorBody, error) {
	var e ErrorBody
	fields := ReadFields(body)
	for tag, value, ok := fields.Next(); ok; tag, value, ok = fields.Next() {
		switch tag {
		case errMessage:
			e.Message = string(value)
		case errReason:
			e.Reason = string(value)
		case errPhase:
			e.Phase = string(value)
		case errHint:
			e.Hint = string(value)
		case tagPair:
			k, v, err := ParsePair(value)
			if err != nil {
				return ErrorBody{}, fmt.Errorf("%w: ERROR: detail", ErrMalformed)
			}
			if e.Details == nil {
				e.Details = make(map[string]string)
			}
			e.Details[string(k)] = string(v)
		}
	}
	if fields.Err() != nil {
		return ErrorBody{}, fmt.Errorf("%w: ERROR: a field runs past the end", ErrMalformed)
	}
	return e, nil
}

// Reasons of a GOAWAY.
const (
	GoAwayShutdown     uint8 = 1
	GoAwayIncompatible uint8 = 2
	GoAwayPings        uint8 = 3
	GoAwayOverloaded   uint8 = 4
	GoAwayProtocol     uint8 = 5
)

// GoAwayBody is the body of a GOAWAY.
type GoAwayBody struct {
	Message    string
	RetryAfter uint64 // milliseconds; 0: whenever
}

const (
	goAwayMessage    = 1
	goAwayRetryAfter = 2
)

// AppendGoAway appends the body of a GOAWAY.
func AppendGoAway(dst []byte, g GoAwayBody) []byte {
	if g.Message != "" {
		dst = AppendField(dst, goAwayMessage, g.Message)
	}
	if g.RetryAfter != 0 {
		dst = AppendUintField(dst, goAwayRetryAfter, g.RetryAfter)
	}
	return dst
}

// ParseGoAway reads the body of a GOAWAY. Error: [ErrMalformed].
func ParseGoAway(body []byte) (GoAwayBody, error) {
	var g GoAwayBody
	fields := ReadFields(body)
	for tag, value, ok := fields.Next(); ok; tag, value, ok = fields.Next() {
		switch tag {
		case goAwayMessage:
			g.Message = string(value)
		case goAwayRetryAfter:
			v, err := parseUint(value)
			if err != nil {
				return GoAwayBody{}, fmt.Errorf("%w: GOAWAY: retry after", ErrMalformed)
			}
			g.RetryAfter = v
		}
	}
	if fields.Err() != nil {
		return GoAwayBody{}, fmt.Errorf("%w: GOAWAY: a field runs past the end", ErrMalformed)
	}
	return g, nil
}
