#!/bin/bash
# The inputs of action.yml, in variables, as a bld command.
set -euo pipefail
args=(build --iidfile "$RUNNER_TEMP/bld-digest")
lines() { # FLAG TEXT
	local line
	while IFS= read -r line; do
		[ -z "$line" ] || args+=("$1" "$line")
	done <<<"$2"
}
lines --tag "$TAGS"
lines --build-arg "$BUILD_ARGS"
[ -z "$DOCKERFILE" ] || args+=(--file "$DOCKERFILE")
[ -z "$PLATFORMS" ] || args+=(--platform "$PLATFORMS")
[ -z "$CACHE_REPO" ] || args+=(--cache-repo "$CACHE_REPO")
[ "$PUSH" != true ] || args+=(--push)
bld "${args[@]}" "$CONTEXT"
echo "digest=$(cat "$RUNNER_TEMP/bld-digest")" >>"$GITHUB_OUTPUT"
