package spi

// Serializer turns values into bytes and back. It is safe for concurrent use and
// is called for every argument and every result.
type Serializer interface {
	// Append appends the encoding of v to dst and returns the extended slice. A
	// pointer encodes as what it points to; nil, and a nil pointer, as the format's
	// null, or as an error if it has none. An error is a value that cannot be encoded;
	// what was appended is then discarded.
	Append(dst []byte, v any) ([]byte, error)

	// Decode reads exactly one value from data into v, a non-nil pointer, and
	// refuses what is left over. It must neither keep nor modify data: the bytes
	// are reused as soon as it returns. Damaged data is an error, never a panic,
	// and never costs memory out of proportion to it.
	Decode(data []byte, v any) error
}
