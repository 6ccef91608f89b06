#!/bin/sh
# Renders every drawing of docs/heartbeat.md into the file that is linked under it:
#
#	docs/images/render.sh
#
# It needs node and a Chromium. What both want to know, such as
# PUPPETEER_EXECUTABLE_PATH or MMDC="npx @mermaid-js/mermaid-cli -p puppeteer.json",
# comes from the environment.
set -eu
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
echo '{"htmlLabels": false, "flowchart": {"htmlLabels": false}, "class": {"htmlLabels": false}}' >"$work/config.json"
awk -v dir="$work/" '
	/^```mermaid$/ { inside = 1; n++; next }
	/^```$/        { inside = 0 }
	inside         { print > (dir n ".mmd") }
	match($0, /images\/heartbeat-[a-z]*\.svg/) { print n, substr($0, RSTART, RLENGTH) }
' heartbeat.md | while read -r n picture; do
	${MMDC:-npx -y @mermaid-js/mermaid-cli} -q -b white -c "$work/config.json" -i "$work/$n.mmd" -o "$work/$n.svg"
	{
		cat "$work/$n.svg"
		printf '<!-- sha256 of the drawing: %s -->\n' "$(sha256sum <"$work/$n.mmd" | cut -d ' ' -f 1)"
	} >"$picture"
done
