// node --test, with the module's file in SERF_WASM (build.sh does it): what JavaScript sees of the cluster.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";

import { Cluster, ClusterError } from "./cluster.js";
import { Scene } from "./demo/scene.js";

const wasm = await readFile(process.env.SERF_WASM);
const of = (events, kind) => events.filter(({ event }) => event === kind);

test("the same seed and the same calls give the same run, and another seed another", async () => {
  const run = async (seed) => {
    const cluster = await Cluster.create(wasm, { nodes: 20, seed, loss: 0.1, formed: false });
    cluster.step(5_000);
    cluster.crash(4);
    cluster.step(20_000.25);
    assert.deepEqual(await Cluster.create(new WebAssembly.Module(wasm), { seed }).then((c) => c.events()), []);
    return cluster.digest();
  };
  const digest = await run(7);
  assert.match(digest, /^[0-9a-f]{16}$/);
  assert.equal(await run("7"), digest);
  assert.equal(await run(7n), digest);
  assert.notEqual(await run(2n ** 64n - 1n), digest);
});

test("a cluster is cut, healed, crashed, left and restarted", async () => {
  const cluster = await Cluster.create(wasm, { nodes: 12, profile: "fast" });
  cluster.partition(2);
  cluster.step(60_000);
  assert.deepEqual(cluster.nodes().map(({ knows }) => knows), Array(12).fill(6));
  cluster.heal();
  // The parts look for each other, now and then.
  for (let i = 0; i < 60 && cluster.nodes().some(({ knows }) => knows < 12); i++) cluster.step(10_000);
  assert.deepEqual(cluster.nodes().map(({ knows }) => knows), Array(12).fill(12));
  cluster.events();
  cluster.crash(3);
  cluster.step(30_000);
  const failed = of(cluster.events(), "member-failed");
  assert.equal(failed.length, 11);
  assert.ok(failed.every(({ node, members }) => node !== 3 && members[0] === 3));
  cluster.leave(8);
  cluster.step(30_000);
  assert.deepEqual(of(cluster.events(), "left").map(({ node }) => node), [8]);
  assert.equal(cluster.members(0)[8].status, "left");
  assert.throws(() => cluster.members(3), new ClusterError("node 3 is down: restart it first"));
  cluster.restart(3);
  cluster.restart(8);
  cluster.step(20_000);
  assert.deepEqual(of(cluster.events(), "joined").map(({ contacted }) => contacted), [3, 3]);
  assert.equal(cluster.stats().up, 12);
  assert.ok(cluster.nodes().every(({ state, alive }) => state === "alive" && alive === 11));
});

test("events and queries reach everybody, text of all kinds included", async () => {
  const cluster = await Cluster.create(wasm, { nodes: 30 });
  cluster.event(2, "déploiement", "✓ \0 \"v2\" 🚀");
  const query = cluster.query(9, "who");
  cluster.step(10_000);
  const events = cluster.events();
  assert.equal(of(events, "user").length, 30);
  assert.ok(of(events, "user").every((e) => e.name === "déploiement" && e.payload === "✓ \0 \"v2\" 🚀"));
  assert.equal(of(events, "answer").filter((e) => e.query === query && e.node === 9).length, 30);
  assert.ok(cluster.packets().every(([from, to]) => from < 30 && to < 30));
});

test("what makes no sense is refused in words, and the cluster goes on", async () => {
  const cluster = await Cluster.create(wasm, { nodes: 3 });
  const digest = cluster.digest();
  const refused = [
    [() => cluster.crash(3), "node must be a whole number from 0 to 2, not 3"],
    [() => cluster.crash(-1), "node must be a whole number from 0 to 2, not -1"],
    [() => cluster.crash(), "node must be a whole number from 0 to 2, not missing"],
    [() => cluster.crash(NaN), 'node must be a whole number from 0 to 2, not "NaN"'],
    [() => cluster.crash(2 ** 80), 'node must be a whole number from 0 to 2, not "1.2089258196146292e+24, which is not exact"'],
    [() => cluster.step(-Infinity), 'ms must be a number from 0 to 3600000, not "-Infinity"'],
    [() => cluster.step(3_600_001), "ms must be a number from 0 to 3600000, not 3600001"],
    [() => cluster.step({ toJSON: () => "x" }), 'ms must be a number from 0 to 3600000, not "x"'],
    [() => cluster.cut(1, 1), "to must be another node than from, not 1"],
    [() => cluster.link({ loss: 2 }), "loss must be a number from 0 to 1, not 2"],
    [() => cluster.event(0, "x", "y".repeat(70_000)), "a request of 70047 bytes is too long"],
    [() => cluster.event(0, 7), "name must be a string, not 7"],
    [() => cluster.event(0, "\ud800"), /^not a request: .*hex escape/],
  ];
  for (const [call, why] of refused) assert.throws(call, { name: "ClusterError", message: why }, `${why}`);
  for (const [options, why] of [
    [{ nodes: 1e9 }, "nodes must be a whole number from 1 to 1000, not 1000000000"],
    [{ seed: 2 ** 53 }, /^seed must be a whole number from 0 to 18446744073709551615, not "9007199254740992, which is/],
    [{ seed: 2n ** 64n }, 'seed must be a whole number from 0 to 18446744073709551615, not "18446744073709551616"'],
    [{ nodez: 3 }, 'create takes no "nodez"'],
  ]) {
    await assert.rejects(Cluster.create(wasm, options), { name: "ClusterError", message: why });
  }
  await assert.rejects(Cluster.create(new Uint8Array(8), {}), WebAssembly.CompileError);
  assert.equal(cluster.digest(), digest);
  cluster.step(1);
});

test("a module that fails is told from a request that is refused, and is not asked again", async () => {
  // Four functions, of which the second, serf_call, fails; the answer is five bytes at 0.
  const bytes = (...parts) => parts.flatMap((p) => (typeof p === "string" ? [p.length, ...new TextEncoder().encode(p)] : p));
  const section = (number, ...parts) => [number, bytes(...parts).length, ...bytes(...parts)];
  const failing = new Uint8Array([
    ...[0, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, [2, 0x60, 1, 0x7f, 1, 0x7f, 0x60, 0, 1, 0x7f]),
    ...section(3, [4, 0, 1, 1, 1]),
    ...section(5, [1, 0, 1]),
    ...section(7, 5, "memory", [2, 0], "serf_reserve", [0, 0], "serf_call", [0, 1], "serf_answer", [0, 2], "serf_answer_len", [0, 3]),
    ...section(10, [4, 4, 0, 0x41, 8, 0x0b, 3, 0, 0, 0x0b, 4, 0, 0x41, 0, 0x0b, 4, 0, 0x41, 5, 0x0b]),
    ...section(11, [1, 0, 0x41, 0, 0x0b], "words"),
  ]);
  const failed = { name: "ClusterError", message: "the module failed, which is a bug: words" };
  await assert.rejects(Cluster.create(failing), failed);
});

test("the demo's scene follows the cluster and draws it", async () => {
  const calls = { stroke: 0, arc: 0 };
  const context = new Proxy({}, { get: (_, name) => () => (calls[name] = (calls[name] ?? 0) + 1), set: () => true });
  const scene = new Scene(await Cluster.create(wasm, { nodes: 10, profile: "fast" }), 10);
  const run = (frames, ms) => {
    for (let i = 0; i < frames; i++) scene.advance(ms, 16);
    scene.draw(context, 800, 600);
  };
  run(1, 0);
  assert.ok(calls.arc >= 10 && scene.opinions(4).length === 1);
  const [x, y] = scene.place(4);
  assert.equal(scene.at(x + 3, y - 3), 4);
  assert.equal(scene.at(400, 300), null);
  scene.act("crash", 4);
  run(100, 200);
  assert.notDeepEqual(scene.opinions(4), scene.opinions(5));
  assert.ok(scene.lines().some((line) => line.includes("n4 failed") && line.includes("told by 9")), scene.lines().join());
  scene.act("crash", 4);
  scene.act("event", 0);
  scene.act("query", 3);
  scene.act("leave", 7);
  run(100, 200);
  for (const line of ["n7 left", "n4 joined", "event “deploy”", "n3 asks, answers: "]) {
    assert.ok(scene.lines().some((text) => text.includes(line)), `${line}: ${scene.lines().join()}`);
  }
  scene.split();
  scene.cut(0, 1);
  run(50, 200);
  assert.equal(scene.opinions(9).length, 2);
  assert.ok(scene.place(9)[0] < 370 && scene.place(0)[0] > 430);
  scene.heal();
  run(10, 100);
  assert.ok(calls.stroke > 10);
});

test("a thousand nodes fit", async () => {
  const cluster = await Cluster.create(wasm, { nodes: 1000, loss: 0.01 });
  cluster.event(0, "x");
  cluster.step(3_000);
  assert.equal(of(cluster.events(), "user").length, 1000);
});
