package spi

// Proxy makes a client-side value callable. Go cannot make an interface value at
// run time, so the kinds differ in what they bind: a struct of func fields, a
// generated stub, a function that takes names and values.
type Proxy interface {
	// Bind fills target, a non-nil pointer of a type that this proxy knows, so that
	// calling it invokes inv. It is called at set-up; what it bound is safe for
	// concurrent use. An error says what about target is not understood.
	Bind(target any, inv Invoker) error
}

// Wrapper is a Proxy that adds something around each invocation and leaves the
// binding to another one.
type Wrapper interface {
	Proxy

	// Intercept is an [Interceptor]. It is the outermost of the consumer's, around
	// calls by name too; the framework binds with its default proxy.
	Intercept(next InvokeFunc) InvokeFunc
}
