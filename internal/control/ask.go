package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"sync"
	"time"
)

// maxAnswer bounds what one process may say, in bytes.
const maxAnswer = 64 << 20

// Ask asks every process that has a socket in one of dirs, or only the one with a
// process id unless that is 0, about its connections, and returns their answers, by
// directory and name of the socket. The error joins those of directories that must not be used and of
// processes that do not answer; the other answers are there all the same. Sockets
// that nobody listens on are passed over.
func Ask(ctx context.Context, dirs []string, pid int) ([]Report, error) {
	return ask(ctx, dirs, pid, question{Get: "conns"})
}

// AskPlugins is [Ask] about plugins.
func AskPlugins(ctx context.Context, dirs []string, pid int) ([]Report, error) {
	return ask(ctx, dirs, pid, question{Get: "plugins"})
}

// Restart lets the App that made the report restart a plugin, and returns what it says
// of its plugins then. sha256 is the hash of the new program; "": the configured one.
// ctx alone bounds it, and does not end what the App has begun.
func (r Report) Restart(ctx context.Context, plugin, sha256 string) (Report, error) {
	answer, err := r.from.ask(ctx, question{Do: "restart", Plugin: plugin, SHA256: sha256})
	switch {
	case err != nil:
		return Report{}, fmt.Errorf("ask process %d: %w", r.PID, err)
	case answer == nil:
		return Report{}, fmt.Errorf("ask process %d: it has ended", r.PID)
	}
	return *answer, nil
}

func ask(ctx context.Context, dirs []string, pid int, q question) ([]Report, error) {
	var errs []error
	var all []socket
	for _, dir := range dirs {
		err := checked(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		var found []socket
		if err == nil {
			found, err = sockets(dir)
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for _, s := range found {
			if pid == 0 || s.pid == pid {
				all = append(all, s)
			}
		}
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	answers, failures := make([]*Report, len(all)), make([]error, len(all))
	var asking sync.WaitGroup
	for i, s := range all {
		asking.Go(func() { answers[i], failures[i] = s.ask(ctx, q) })
	}
	asking.Wait()
	var reports []Report
	for i, answer := range answers {
		if answer != nil {
			reports = append(reports, *answer)
		}
		if failures[i] != nil {
			errs = append(errs, fmt.Errorf("ask process %d: %w", all[i].pid, failures[i]))
		}
	}
	return reports, errors.Join(errs...)
}

// ask returns the answer of one App; nil without an error if there is none any more.
func (s socket) ask(ctx context.Context, q question) (*Report, error) {
	nc, err := new(net.Dialer).DialContext(ctx, "unix", s.path)
	if isRefused(err) || errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	defer context.AfterFunc(ctx, func() { _ = nc.SetDeadline(time.Unix(1, 0)) })()
	if err := json.NewEncoder(nc).Encode(q); err != nil {
		return nil, err
	}
	var r Report
	err = json.NewDecoder(io.LimitReader(nc, maxAnswer)).Decode(&r)
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return nil, errors.New("it hung up; others may be asking it, or it just ended")
	case err != nil:
		return nil, err
	case r.Error != "":
		return nil, errors.New(r.Error)
	case r.Version != version:
		return nil, fmt.Errorf("it answers in version %d, this is %d", r.Version, version)
	}
	r.from, r.PID = s, s.pid // as the file says: it is the one of this name space
	return &r, nil
}
