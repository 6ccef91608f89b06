package config

import (
	"fmt"
	"reflect"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// Hash returns the line of a plugin's configuration that pins its program.
func Hash(sha256 string) string {
	if kind, _ := resolve(&yaml.Node{Value: sha256}); kind != isText { // as 12e4…
		sha256 = "'" + sha256 + "'"
	}
	return "sha256: " + sha256
}

// Pin returns the text of a configuration file in which the plugin that is chosen has
// the hash; whatever else there is, comments and spaces included, stays. chosen is
// asked about every plugin, with its name and its path as the file says it. file is
// what errors call the file. The errors say what to write by hand if the text is such
// that it cannot be done.
func Pin(file string, text []byte, sha256 string, chosen func(name, path string) bool) ([]byte, error) {
	src, f := source{name: file, lined: true}, &faults{}
	root := parse(src, text, f)
	if err := f.err(); err != nil {
		return nil, err
	}
	i, err := choose(file, root, chosen)
	if err != nil {
		return nil, err
	}
	_, list := entry(root, pluginsKey)
	plugin := list.Content[i]
	byHand := func(at *yaml.Node) error {
		return fmt.Errorf("%s: it is written in a way that only a person should change; write %s there", src.at(at), Hash(sha256))
	}
	lines := strings.SplitAfter(string(text), "\n")
	if at := write(lines, plugin, sha256); at != nil {
		return nil, byHand(at)
	}
	after := []byte(strings.Join(lines, ""))
	if !pinned(text, after, i, sha256) {
		return nil, byHand(plugin)
	}
	return after, nil
}

// write puts the hash into the lines of a plugin. It returns where that cannot be
// done, nil if it is.
func write(lines []string, plugin *yaml.Node, sha256 string) (byHand *yaml.Node) {
	if _, old := entry(plugin, "sha256"); old != nil {
		start, end, ok := extent(lines, old)
		if !ok {
			return old
		}
		line := &lines[old.Line-1]
		*line = (*line)[:start] + strings.TrimPrefix(Hash(sha256), "sha256: ") + (*line)[end:]
		return nil
	}
	key, path := entry(plugin, "path")
	_, end, ok := extent(lines, path)
	if !ok {
		return path
	}
	line := &lines[path.Line-1]
	if plugin.Style&yaml.FlowStyle != 0 {
		*line = (*line)[:end] + ", " + Hash(sha256) + (*line)[end:]
		return nil
	}
	below := strings.Repeat(" ", key.Column-1) + Hash(sha256)
	switch {
	case strings.HasSuffix(*line, "\r\n"):
		*line += below + "\r\n"
	case strings.HasSuffix(*line, "\n"):
		*line += below + "\n"
	default: // the last line, without an end
		*line += "\n" + below
	}
	return nil
}

// choose returns the number of the one plugin that is chosen.
func choose(file string, root *yaml.Node, chosen func(name, path string) bool) (int, error) {
	var found []int
	var names []string
	if _, list := entry(root, pluginsKey); list != nil {
		for i, plugin := range list.Content {
			_, name := entry(plugin, "name")
			_, path := entry(plugin, "path")
			if name == nil || path == nil {
				continue
			}
			names = append(names, plain(name.Value))
			if chosen(name.Value, path.Value) {
				found = append(found, i)
			}
		}
	}
	switch {
	case len(names) == 0:
		return 0, fmt.Errorf("%s: it has no plugins with a name and a path", file)
	case len(found) == 0:
		return 0, fmt.Errorf("%s: no plugin is that one\n  plugins: %s", file, strings.Join(names, ", "))
	case len(found) > 1:
		return 0, fmt.Errorf("%s: %d plugins are that one; give the name of one\n  plugins: %s", file, len(found), strings.Join(names, ", "))
	}
	return found[0], nil
}

// entry returns the key and the value that a mapping has for a name, nil for none.
func entry(n *yaml.Node, name string) (key, value *yaml.Node) {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil, nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == name {
			return n.Content[i], n.Content[i+1]
		}
	}
	return nil, nil
}

// extent returns where the text of a scalar begins and ends in its line, in bytes. ok
// is false if it is not on one line, as it is written.
func extent(lines []string, n *yaml.Node) (start, end int, ok bool) {
	if n.Kind != yaml.ScalarNode || n.Line < 1 || n.Line > len(lines) {
		return 0, 0, false
	}
	line := lines[n.Line-1]
	for range n.Column - 1 { // of characters
		_, size := utf8.DecodeRuneInString(line[start:])
		start += size
	}
	written := n.Value
	switch {
	case n.Style&yaml.SingleQuotedStyle != 0:
		written = "'" + strings.ReplaceAll(n.Value, "'", "''") + "'"
	case n.Style&yaml.DoubleQuotedStyle != 0:
		written = `"` + n.Value + `"` // with a backslash in it: not found, so by hand
	}
	return start, start + len(written), written != "" && strings.HasPrefix(line[start:], written)
}

// pinned reports whether two texts of a configuration differ in the hash of the i-th
// plugin alone.
func pinned(before, after []byte, i int, sha256 string) bool {
	var old, now map[string]any
	if yaml.Unmarshal(before, &old) != nil || yaml.Unmarshal(after, &now) != nil {
		return false
	}
	plugin, ok := old[pluginsKey].([]any)[i].(map[string]any) // choose has seen the list
	if ok {
		plugin["sha256"] = sha256
	}
	return ok && reflect.DeepEqual(old, now)
}
