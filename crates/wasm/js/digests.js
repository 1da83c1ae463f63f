// node digests.js serf.wasm < JSON: the digests of worlds and stories, one in a line, for tests/node.rs to compare with
// those of the native simulator.

import { readFileSync } from "node:fs";

import { Cluster } from "./cluster.js";

const wasm = new WebAssembly.Module(readFileSync(process.argv[2]));
const { worlds, stories } = JSON.parse(readFileSync(0, "utf8"));

for (const options of worlds) {
  const cluster = await Cluster.create(wasm, options);
  cluster.step(10_000);
  cluster.event(1, "deploy", "v1");
  cluster.partition(2);
  cluster.step(40_000);
  cluster.heal();
  cluster.crash(2);
  cluster.step(60_000);
  console.log(cluster.digest());
}
for (const options of stories) console.log((await Cluster.story(wasm, options)).digest);
