#!/bin/sh
# Builds Windrow, starts a cluster on this machine (a coordinator and two worker processes), counts the words of all
# sources that the build itself has fetched, shows the ten most frequent ones, and stops its processes.
#
#   sh demo.sh
#
# The output stays in target/demo/words; a second run replaces it.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
cd "$root"
target=${CARGO_TARGET_DIR:-$root/target}
case $target in /*) ;; *) target=$root/$target ;; esac

say() { printf '\n== %s\n' "$*" >&2; }

say 'building (the first time takes some minutes)'
cargo build --release --workspace

scratch=$(mktemp -d "${TMPDIR:-/tmp}/windrow-demo.XXXXXX")
cluster=
stop() {
    if [ -n "$cluster" ]; then
        kill -TERM "$cluster" 2>/dev/null || true
        wait "$cluster" 2>/dev/null || true
    fi
    rm -rf "$scratch"
}
trap stop EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# A state folder of its own, apart from this user's other clusters.
WINDROW_HOME=$scratch/home
export WINDROW_HOME
unset WINDROW_COORDINATOR WINDROW_TOKEN_FILE WINDROW_CONFIG WINDROW_LISTEN WINDROW_DATA_DIR WINDROW_SLOTS WINDROW_MEMORY

say 'starting a coordinator and two workers'
"$target/release/windrow" --no-config up --workers 2 --data-dir "$scratch/cluster" \
    >"$scratch/up.out" 2>"$scratch/up.err" &
cluster=$!
url=
while [ -z "$url" ]; do
    if ! kill -0 "$cluster" 2>/dev/null; then
        cat "$scratch/up.err" >&2
        echo 'the cluster did not start' >&2
        exit 1
    fi
    sleep 0.1
    url=$(sed -n 's/^coordinator //p' "$scratch/up.out")
done
echo "coordinator $url" >&2
"$target/release/windrow" --no-config worker list --coordinator "$url"

# The engine expands globs, so they stay quoted. The inputs are the sources of this project and, where cargo keeps
# them unpacked, of all its dependencies: real text, nearly the same for every build of this version.
registry=${CARGO_HOME:-$HOME/.cargo}/registry/src
set -- "$root/*/src/**/*.rs" "$root/README.md" "$root/docs"
for kind in rs md toml c h S; do
    if [ -n "$(find "$registry" -name "*.$kind" -print 2>/dev/null | head -n 1)" ]; then
        set -- "$@" "$registry/*/*/**/*.$kind"
    fi
done

output=$target/demo/words
say "counting the words of $*"
started=$(date +%s)
"$target/release/windrow" --no-config submit --coordinator "$url" --overwrite "$target/release/wordcount" -- \
    "$@" --output "$output"
ended=$(date +%s)

say 'the ten most frequent words'
cat "$output"/part-* | LC_ALL=C sort -t "$(printf '\t')" -k2,2nr -k1,1 |
    awk -F '\t' 'NR <= 10 { printf "%10d  %s\n", $2, $1 }'

say "about $((ended - started)) s from submit to the finished output in $output"
ls -l "$output" >&2
