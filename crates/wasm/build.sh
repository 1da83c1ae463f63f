#!/usr/bin/env bash
# Builds the machines and the simulator for wasm32-unknown-unknown, tests the module under Node.js, and puts it with its
# demo page where a web server can serve it. Ends with 3 if this machine lacks what it takes, and says what.
#
#   crates/wasm/build.sh                       # into target/wasm, or $CARGO_TARGET_DIR/wasm
#   python3 -m http.server -d target/wasm/site # then open http://localhost:8000
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
target=wasm32-unknown-unknown
out=${SERF_WASM_DIR:-${CARGO_TARGET_DIR:-$root/target}/wasm}

lacking() {
    echo "crates/wasm/build.sh: $*" >&2
    exit 3
}
library=$("${RUSTC:-rustc}" --print target-libdir --target $target)
[ -d "$library" ] || lacking "Rust's library for $target is not here; \`rustup target add $target\` brings it."
command -v node > /dev/null || lacking "there is no \`node\`; Node.js 18 or later brings it."

cd "$root/crates/wasm"
"${CARGO:-cargo}" build --profile wasm --no-default-features --target $target --target-dir "$out" \
    -p serf-wire -p serf-gossip -p serf-core -p serf-sim -p serf-wasm
mkdir -p "$out/site"
cp "$out/$target/wasm/serf_wasm.wasm" "$out/site/serf.wasm"
cp js/cluster.js js/package.json js/demo/index.html js/demo/scene.js "$out/site/"
SERF_WASM=$out/site/serf.wasm node --test js/cluster.test.js
# The example of the page that tells how it is used.
example=$(sed -n '/^```js$/,/^```$/{/^```/!p}' "$root/docs/wasm.md")
told=$(cd "$out/site" && node --input-type=module -e "$example")
[ "${told%%$'\n'*}" = failed ] || { echo "docs/wasm.md: the example tells: $told" >&2; exit 1; }
echo "$out/site: serf.wasm ($(wc -c < "$out/site/serf.wasm") bytes), cluster.js, and the demo page"
