package core

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bhrpc/bhrpc/spi"
)

// Headers of requests and answers; docs/http.md.
const (
	headerTimeout = "Bhrpc-Timeout"
	headerVersion = "Bhrpc-Version"
	headerGroup   = "Bhrpc-Group"
	headerMeta    = "Bhrpc-Meta-" // followed by the key
)

// A body must bring bodyStep bytes, or its end, in every bodyTimeout.
const (
	bodyStep    = 120 << 10
	bodyTimeout = 30 * time.Second
)

// webCall is one call by HTTP. It runs in the goroutine of its connection.
type webCall struct {
	*webServer
	conn     *providerConn
	rw       http.ResponseWriter
	r        *http.Request
	target   served
	deadline time.Time // zero: none
	metadata spi.Metadata
	body     []byte
	args     spi.Args // nil before they are made, and after a crash
	call     spi.Call
}

// webRefusal is a request that no handler sees.
type webRefusal struct {
	status int // 0: that of the error's code
	why    *spi.Error
}

// post serves one POST.
func (w *webServer) post(rw http.ResponseWriter, r *http.Request, conn *providerConn) {
	c := &webCall{webServer: w, conn: conn, rw: rw, r: r}
	if refusal := c.prepare(); refusal != nil {
		w.refuse(rw, refusal.status, refusal.why)
		return
	}
	if !w.provider.admit() {
		w.refuse(rw, 0, w.provider.overloaded())
		return
	}
	defer w.provider.release()
	c.run()
}

// prepare reads the request.
func (c *webCall) prepare() *webRefusal {
	service, method, ok := splitPath(c.r.URL.Path)
	if !ok {
		return &webRefusal{http.StatusNotFound, &spi.Error{Code: spi.Unimplemented, Phase: spi.PhaseDispatch, Message: "a call is a POST to /Service/Method", Hint: "GET / lists the services"}}
	}
	key := spi.ServiceKey(service, c.option(headerVersion, "version"), c.option(headerGroup, "group"))
	c.target = c.provider.find(key, method)
	switch {
	case c.target.method == nil:
		return &webRefusal{http.StatusNotFound, c.provider.notFound(c.target.id)}
	case c.json == nil:
		return &webRefusal{0, &spi.Error{Code: spi.Unimplemented, Phase: spi.PhaseDispatch, Message: "calls by HTTP need the serializer json, which is not offered here", Hint: "add json to the key provider.serializers"}}
	case c.r.Header.Get("Content-Encoding") != "":
		return &webRefusal{http.StatusUnsupportedMediaType, &spi.Error{Code: spi.Unimplemented, Phase: spi.PhaseDecode, Message: "a body with Content-Encoding is not read here", Hint: "send it plain"}}
	}
	if limit := int(c.provider.cfg.Limits.Metadata); c.readMetadata() > limit {
		return &webRefusal{http.StatusRequestHeaderFieldsTooLarge, &spi.Error{Code: spi.ResourceExhausted, Phase: spi.PhaseDecode,
			Message: fmt.Sprintf("the metadata is larger than the %d bytes that this provider takes", limit), Hint: "the key provider.limits.metadata bounds it"}}
	}
	if text := c.r.Header.Get(headerTimeout); text != "" {
		timeout, err := time.ParseDuration(text)
		if err != nil || timeout <= 0 {
			return &webRefusal{0, &spi.Error{Code: spi.InvalidArgument, Phase: spi.PhaseDispatch, Message: fmt.Sprintf("%s %q is no duration", headerTimeout, shorten(text, maxName)), Hint: "write it as 500ms or 2s"}}
		}
		c.deadline = time.Now().Add(min(timeout, maxTimeout))
	}
	return c.readBody()
}

// option returns what the query says, or else a header.
func (c *webCall) option(header, query string) string {
	if v := c.r.URL.Query().Get(query); v != "" {
		return v
	}
	return c.r.Header.Get(header)
}

// splitPath divides "/Service/Method" at its last slash.
func splitPath(path string) (service, method string, ok bool) {
	path = strings.TrimPrefix(path, "/")
	slash := strings.LastIndexByte(path, '/')
	if slash <= 0 || slash == len(path)-1 {
		return "", "", false
	}
	return path[:slash], path[slash+1:], true
}

// readBody reads the body within the limits of size and time.
func (c *webCall) readBody() *webRefusal {
	limit := int64(c.provider.cfg.Limits.Message)
	tooLarge := &webRefusal{http.StatusRequestEntityTooLarge, &spi.Error{Code: spi.ResourceExhausted, Phase: spi.PhaseDecode,
		Message: fmt.Sprintf("the request is larger than the %d bytes that this provider takes", limit), Hint: "the key provider.limits.message bounds it"}}
	if c.r.ContentLength > limit {
		return tooLarge
	}
	control, from := http.NewResponseController(c.rw), http.MaxBytesReader(c.rw, c.r.Body, limit)
	var body bytes.Buffer
	for {
		_ = control.SetReadDeadline(time.Now().Add(bodyTimeout))
		_, err := io.CopyN(&body, from, bodyStep)
		var beyond *http.MaxBytesError
		switch {
		case err == nil:
			continue
		case errors.As(err, &beyond):
			return tooLarge
		case isTimeout(err):
			return &webRefusal{http.StatusRequestTimeout, &spi.Error{Code: spi.DeadlineExceeded, Phase: spi.PhaseDecode, Message: "the body came too slowly"}}
		case err != io.EOF:
			return &webRefusal{http.StatusBadRequest, &spi.Error{Code: spi.InvalidArgument, Phase: spi.PhaseDecode, Message: "body: " + err.Error()}}
		}
		_ = control.SetReadDeadline(time.Time{})
		c.body = body.Bytes()
		return nil
	}
}

// run serves the call and answers it, whatever the handler does.
func (c *webCall) run() {
	ctx := &handlerContext{base: c.provider.ctx, call: &c.call, deadline: c.deadline}
	stop := context.AfterFunc(c.r.Context(), func() { ctx.abandon(c.conn.goneFor()) })
	finished := false
	defer func() {
		if !finished {
			c.crashed(recover())
		}
		stop()
		ctx.finish()
		if m := c.target.method; c.args != nil && m.FreeArgs != nil {
			m.FreeArgs(c.args)
		}
	}()
	result, err := c.serve(ctx)
	if err != nil {
		c.fail(toSend(err))
	} else {
		c.answer(http.StatusOK, result)
	}
	finished = true
}

// serve decodes the arguments, calls the method through the interceptors, and
// encodes the result.
func (c *webCall) serve(ctx context.Context) ([]byte, error) {
	c.args = c.target.method.NewArgs()
	if err := c.decode(); err != nil {
		return nil, err
	}
	c.call = spi.Call{Method: c.target.id, Args: c.args, Metadata: c.metadata, Peer: c.conn.remote, Identity: c.conn.identity}
	if err := c.provider.invoke(ctx, &c.call); err != nil {
		return nil, err
	}
	if c.target.method.Void {
		return []byte("null\n"), nil
	}
	result, err := c.json.Append(nil, c.call.Reply)
	if err != nil {
		return nil, &spi.Error{Code: spi.Internal, Phase: spi.PhaseEncode, Message: "result: " + err.Error()}
	}
	return append(result, '\n'), nil
}

// decode reads the body into the arguments.
func (c *webCall) decode() error {
	list, err := splitArguments(c.body)
	if err != nil {
		return c.target.invalid("body: %v", err)
	}
	if got, want := len(list), c.args.Len(); got != want {
		return c.target.invalid("want %s, got %d; the body is a JSON array of them", count(want, "argument"), got)
	}
	for i, arg := range list {
		if err := c.json.Decode(arg, c.args.At(i)); err != nil {
			return c.target.invalid("argument %d: %v", i+1, err)
		}
	}
	return nil
}

// jsonSpace is what JSON takes for space (RFC 8259, section 2).
const jsonSpace = " \t\r\n"

// splitArguments divides a body into arguments: the elements of an array, or
// anything else as the only one. An empty body has none.
func splitArguments(body []byte) ([]json.RawMessage, error) {
	body = bytes.Trim(body, jsonSpace)
	if len(body) == 0 {
		return nil, nil
	}
	if body[0] != '[' {
		return []json.RawMessage{body}, nil
	}
	var list []json.RawMessage
	err := json.Unmarshal(body, &list)
	return list, err
}

// readMetadata reads the metadata of the request's headers, sorted by key, and
// returns its size in bytes.
func (c *webCall) readMetadata() (size int) {
	for name, values := range c.r.Header {
		if key, ok := strings.CutPrefix(name, headerMeta); ok && key != "" {
			for _, value := range values {
				c.metadata = append(c.metadata, spi.Pair{Key: strings.ToLower(key), Value: value})
				size += len(key) + len(value)
			}
		}
	}
	slices.SortStableFunc(c.metadata, func(a, b spi.Pair) int { return strings.Compare(a.Key, b.Key) })
	return size
}

// answer writes an answer with what the handler put beside it.
func (c *webCall) answer(status int, body []byte) {
	for _, pair := range c.call.ReplyMetadata {
		c.rw.Header().Add(headerMeta+pair.Key, pair.Value)
	}
	c.write(c.rw, status, body)
}

// write writes an answer in JSON. A consumer that takes no bytes for the write
// timeout is disconnected.
func (w *webServer) write(rw http.ResponseWriter, status int, body []byte) {
	rw.Header().Set("Content-Type", "application/json")
	rw.Header().Set("Content-Length", strconv.Itoa(len(body)))
	rw.WriteHeader(status)
	control := http.NewResponseController(rw)
	for part := range slices.Chunk(body, quantum) {
		_ = control.SetWriteDeadline(time.Now().Add(w.patience))
		if _, err := rw.Write(part); err != nil {
			return // net/http closes the connection
		}
	}
}

// fail answers with an error.
func (c *webCall) fail(e *spi.Error) { c.answer(statusOf(e.Code), errorBody(e)) }

// crashed answers for a handler that panicked or ended its goroutine.
func (c *webCall) crashed(value any) {
	c.args = nil // the handler may have left them anywhere
	c.fail(c.provider.crashed(value, c.target.id, c.conn.remote))
	if value == nil { // the goroutine of net/http ends: nobody else will flush
		_ = http.NewResponseController(c.rw).Flush()
	}
}

// statuses are the HTTP statuses of codes, as commonly mapped
// (google/rpc/code.proto).
var statuses = [...]int{
	spi.Canceled: 499, spi.Unknown: 500, spi.InvalidArgument: 400, spi.DeadlineExceeded: 504, spi.NotFound: 404, spi.AlreadyExists: 409,
	spi.PermissionDenied: 403, spi.ResourceExhausted: 429, spi.FailedPrecondition: 400, spi.Aborted: 409, spi.OutOfRange: 400,
	spi.Unimplemented: 501, spi.Internal: 500, spi.Unavailable: 503, spi.DataLoss: 500, spi.Unauthenticated: 401,
}

func statusOf(code spi.Code) int {
	if code.Valid() {
		return statuses[code]
	}
	return http.StatusInternalServerError
}

// errorBody is an error as the body of an answer.
func errorBody(e *spi.Error) []byte {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(struct { // text has always a JSON form
		Code    string            `json:"code"`
		Message string            `json:"message"`
		Reason  string            `json:"reason,omitempty"`
		Hint    string            `json:"hint,omitempty"`
		Details map[string]string `json:"details,omitempty"`
	}{e.Code.String(), shorten(e.Message, maxErrorText), shorten(e.Reason, maxErrorWord), shorten(e.Hint, maxErrorText), bounded(e.Details)})
	return b.Bytes()
}

// refuse answers a request that no handler sees; status 0 is that of the code.
func (w *webServer) refuse(rw http.ResponseWriter, status int, e *spi.Error) {
	if status == 0 {
		status = statusOf(e.Code)
	}
	w.write(rw, status, errorBody(e))
}
