package config

import (
	"bytes"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/bhrpc/bhrpc/spi"
	"go.yaml.in/yaml/v3"
)

// Bounds far beyond need, so that no file is costly to read.
const (
	maxDepth = 64   // levels of nesting
	maxKey   = 1024 // bytes of a full key
)

// source is where a YAML text comes from.
type source struct {
	name  string // as in spi.Pos
	lined bool   // a file, whose lines a reader can go to; false: a variable, or code
	key   string // the key whose value the text is; "" for a whole configuration
}

// pos returns the place of a line and column, both from 1.
func (s source) pos(line, column int) spi.Pos {
	if !s.lined {
		return spi.Pos{Source: s.name}
	}
	return spi.Pos{Source: s.name, Line: line, Column: column}
}

// at returns where n begins.
func (s source) at(n *yaml.Node) spi.Pos { return s.pos(n.Line, n.Column) }

// parse returns the tree of a YAML document, nil if it cannot be read; a document
// without content is null. What the tree holds is mappings with scalar keys that
// differ, sequences and scalars, nested maxDepth deep at most; whatever else YAML
// can say is a fault and left out.
func parse(src source, data []byte, f *faults) *yaml.Node {
	if !utf8.Valid(data) {
		notUTF8(src, data, f)
		return nil
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var document, next yaml.Node
	switch err := decoder.Decode(&document); {
	case err == io.EOF:
		return &yaml.Node{Kind: yaml.ScalarNode}
	case err != nil:
		syntax(src, data, err, f)
		return nil
	}
	switch err := decoder.Decode(&next); {
	case err == nil:
		f.add(src.at(&next), src.key, spi.ErrInvalid, "a second document begins here; a configuration is one document")
	case err != io.EOF:
		syntax(src, data, err, f)
	}
	root := document.Content[0]
	cleaner{src, f}.clean(root, src.key, 1)
	return root
}

// isEmpty reports whether n says nothing, as the value of a key whose value was
// left out does.
func isEmpty(n *yaml.Node) bool {
	if n.Kind != yaml.ScalarNode {
		return false
	}
	kind, _ := resolve(n)
	return kind == isNull
}

// notUTF8 reports the first byte of data that is no text.
func notUTF8(src source, data []byte, f *faults) {
	line, column := 1, 1
	for len(data) > 0 {
		r, size := utf8.DecodeRune(data)
		if r == utf8.RuneError && size == 1 {
			break
		}
		column++
		if r == '\n' {
			line, column = line+1, 1
		}
		data = data[size:]
	}
	f.add(src.pos(line, column), src.key, spi.ErrInvalid, "byte 0x%02x is not UTF-8 text; write UTF-8", data[0])
}

var (
	syntaxError = regexp.MustCompile(`^yaml: (?:line ([0-9]+): )?`)
	structural  = regexp.MustCompile(`^did not find expected (<|node content|'-'|key|',')`)
)

// syntax reports what the parser says. Its line is that of the fault or the one where
// the structure begins that it could not read on; it gives none for the first, and
// one too few for errors of structure.
func syntax(src source, data []byte, err error, f *faults) {
	line := 1
	message := err.Error()
	if match := syntaxError.FindStringSubmatch(message); match != nil {
		message = message[len(match[0]):]
		if n, err := strconv.Atoi(match[1]); err == nil {
			line = n
			if structural.MatchString(message) {
				line++
			}
		}
	}
	last := bytes.Count(bytes.TrimRight(data, "\r\n"), []byte("\n")) + 1
	line = min(line, last) // the end of the text is on a line of its own
	where, hint := "", ""
	if src.lined {
		where = " here or below"
	}
	if tabbed(data, line) {
		hint = "; this line begins with a tab, YAML is indented with spaces"
	}
	f.add(src.pos(line, 1), src.key, spi.ErrInvalid, "not readable as YAML%s: %s%s", where, clip(message), hint)
}

// tabbed reports whether the indentation of a line holds a tab.
func tabbed(data []byte, line int) bool {
	lines := strings.SplitN(string(data), "\n", line+1)
	if len(lines) < line {
		return false
	}
	text := lines[line-1]
	indent := text[:len(text)-len(strings.TrimLeft(text, " \t"))]
	return strings.Contains(indent, "\t")
}

// cleaner takes out of a tree what a configuration does not accept.
type cleaner struct {
	src    source
	faults *faults
}

const (
	inPlace = "; every value stands where it is used, so that its place can be told: write it out"
	untyped = "; the key decides the type: leave the tag out"
)

// clean reports and removes what is not accepted in n, which is the value of key.
func (c cleaner) clean(n *yaml.Node, key string, depth int) {
	if n.Anchor != "" {
		c.fault(n, key, "anchor &%s is not accepted%s", clip(n.Anchor), inPlace)
	}
	if n.Style&yaml.TaggedStyle != 0 {
		c.fault(n, key, "tag %s is not accepted%s", clip(n.Tag), untyped)
	}
	if depth > maxDepth {
		c.fault(n, key, "nested deeper than %d levels", maxDepth)
		n.Content = nil
		return
	}
	switch n.Kind {
	case yaml.MappingNode:
		c.mapping(n, key, depth)
	case yaml.SequenceNode:
		kept := n.Content[:0]
		for i, item := range n.Content {
			full := join(key, strconv.Itoa(i))
			if c.alias(item, full) {
				continue
			}
			c.clean(item, full, depth+1)
			kept = append(kept, item)
		}
		n.Content = kept
	}
}

func (c cleaner) mapping(n *yaml.Node, key string, depth int) {
	first := make(map[string]*yaml.Node, len(n.Content)/2)
	kept := n.Content[:0]
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, value := n.Content[i], n.Content[i+1]
		full := join(key, name.Value)
		switch {
		case name.Kind == yaml.AliasNode:
			c.alias(name, key)
			continue
		case name.Kind != yaml.ScalarNode:
			c.fault(name, key, "a key is a word, not %s", describe(name))
			continue
		case name.Tag == "!!merge":
			c.fault(name, key, "merge key << is not accepted%s", inPlace)
			continue
		case len(full) > maxKey:
			c.fault(name, key, "a key of %d bytes; %d at most", len(full), maxKey)
			continue
		case c.alias(value, full):
			continue
		}
		c.clean(name, full, depth)
		c.clean(value, full, depth+1)
		if earlier, ok := first[name.Value]; ok {
			c.duplicate(name, earlier, full)
			continue
		}
		first[name.Value] = name
		kept = append(kept, name, value)
	}
	n.Content = kept
}

// alias reports n if it is an alias.
func (c cleaner) alias(n *yaml.Node, key string) bool {
	if n.Kind != yaml.AliasNode {
		return false
	}
	c.fault(n, key, "alias *%s is not accepted%s", clip(n.Value), inPlace)
	return true
}

func (c cleaner) duplicate(name, earlier *yaml.Node, key string) {
	if c.src.lined {
		c.fault(name, key, "given twice, on lines %d and %d; remove one", earlier.Line, name.Line)
	} else {
		c.fault(name, key, "given twice; remove one")
	}
}

func (c cleaner) fault(n *yaml.Node, key, format string, args ...any) {
	c.faults.add(c.src.at(n), key, spi.ErrInvalid, format, args...)
}
