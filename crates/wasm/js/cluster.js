// A simulated Serf cluster for JavaScript, in browsers and in Node.js: full nodes on a virtual network in virtual time,
// run by the WebAssembly module of this project. docs/wasm.md tells more.
//
//     const bytes = await (await fetch("serf.wasm")).arrayBuffer();      // in Node.js: await readFile("serf.wasm")
//     const cluster = await Cluster.create(bytes, { nodes: 30, seed: 7, loss: 0.05 });
//     cluster.crash(3);
//     cluster.step(20_000);
//     console.log(cluster.events(), cluster.members(0)[3].status);
//
// Nodes are numbers from 0, times are simulated milliseconds. What makes no sense is an Error that says why, and changes
// nothing. The same seed and the same calls give the same run, to the byte, here and in the native simulator.

const text = { encode: new TextEncoder(), decode: new TextDecoder() };

/** What the module cannot do, in words. */
export class ClusterError extends Error {
  name = "ClusterError";
}

/** One instance of the module. It holds one cluster. */
class Module {
  static async load(wasm) {
    const instance = await WebAssembly.instantiate(wasm, {});
    // Bytes give an instance and its module, a module gives an instance.
    return new Module((instance.instance ?? instance).exports);
  }

  #exports;
  #broken = null;

  constructor(exports) {
    this.#exports = exports;
  }

  /** Does what a request asks for. */
  call(request) {
    if (this.#broken) throw new ClusterError(this.#broken);
    const bytes = text.encode.encode(JSON.stringify(request, plain));
    let status;
    try {
      const place = this.#exports.serf_reserve(bytes.length);
      if (place === 0) throw new ClusterError(`a request of ${bytes.length} bytes is too long`);
      new Uint8Array(this.#exports.memory.buffer, place, bytes.length).set(bytes);
      status = this.#exports.serf_call();
    } catch (trap) {
      if (!(trap instanceof WebAssembly.RuntimeError)) throw trap;
      // Nothing that is asked for should end so. What is left of the cluster is not one any more.
      this.#broken = `the module failed, which is a bug: ${this.#answer() || trap.message}`;
      throw new ClusterError(this.#broken, { cause: trap });
    }
    const answer = this.#answer();
    if (status !== 0) throw new ClusterError(answer);
    return JSON.parse(answer);
  }

  #answer() {
    const { memory, serf_answer, serf_answer_len } = this.#exports;
    return text.decode.decode(new Uint8Array(memory.buffer, serf_answer(), serf_answer_len()));
  }
}

/** What JSON has no number for goes as text: a BigInt to be read, and what is not exact, or no number, to be refused. */
function plain(key, value) {
  if (typeof value === "bigint" || Number.isNaN(value) || Math.abs(value) === Infinity) return `${value}`;
  return typeof value === "number" && Math.abs(value) >= 2 ** 53 ? `${value}, which is not exact` : value;
}

/** A cluster. Made by {@link Cluster.create}. */
export class Cluster {
  #module;

  /**
   * A new cluster, in an instance of the module of its own.
   *
   * @param {BufferSource | WebAssembly.Module} wasm the module
   * @param {object} [options]
   * @param {number} [options.nodes] how many, 1 to 1000; 10 if not given. A thousand take some 150 MB
   * @param {number | bigint | string} [options.seed] what the run depends on, 0 to 2^64 - 1, from 2^53 on as a
   *   BigInt or text; 1 if not given
   * @param {"lan" | "wan" | "local" | "fast"} [options.profile] the timings of the nodes; "lan" if not given
   * @param {boolean} [options.formed] whether the nodes know each other from the beginning, as they do if this is not
   *   given. Otherwise each joins node 0
   * @param {number} [options.latency] milliseconds that a packet takes, to 60000; 0.3 if not given
   * @param {number} [options.jitter] up to so many are added to that, drawn each time; 0.2 if not given
   * @param {number} [options.loss] share of the packets that are lost, 0 to 1; 0 if not given
   * @returns {Promise<Cluster>}
   */
  static async create(wasm, options = {}) {
    const module = await Module.load(wasm);
    module.call({ ...options, do: "create" });
    return new Cluster(module);
  }

  /**
   * Tells a story of the seed farm: a small cluster to which much is done, and whether it kept all rules. The digest is
   * that of `serf-sim replay --seed SEED --nodes NODES`.
   *
   * @param {BufferSource | WebAssembly.Module} wasm the module
   * @param {{ seed?: number | bigint | string, nodes?: number }} [options] nodes: the most in the story, 3 to 32
   * @returns {Promise<{ digest: string | null, time?: number, steps?: number,
   *   broken: null | { rule: string, what: string } }>}
   */
  static async story(wasm, options = {}) {
    return (await Module.load(wasm)).call({ ...options, do: "story" });
  }

  /** @private */
  constructor(module) {
    this.#module = module;
  }

  /** Lets so many milliseconds pass, up to an hour; fractions count. It takes as long as it takes: nothing interrupts it. */
  step(ms) {
    this.#module.call({ do: "step", ms });
  }

  /** Changes the link between any two: `latency`, `jitter`, `loss`, as in {@link Cluster.create}; what is not given stays. */
  link({ latency, jitter, loss } = {}) {
    this.#module.call({ do: "link", latency, jitter, loss });
  }

  /** Nothing comes through between two nodes any more, or only not from the first to the second. */
  cut(from, to, { oneWay = false } = {}) {
    this.#module.call({ do: "cut", from, to, one_way: oneWay });
  }

  /** Divides the network: into so many parts of neighbours, or as a list says, with the part of each node. */
  partition(parts) {
    this.#module.call({ do: "partition", parts });
  }

  /** No cuts and no parts any more. The loss of the link stays. */
  heal() {
    this.#module.call({ do: "heal" });
  }

  /** Ends a node's process without a word. */
  crash(node) {
    this.#module.call({ do: "crash", node });
  }

  /** Starts a node's process anew. It knows nobody, and joins up to three that are up; "joined" tells what came of it. */
  restart(node) {
    this.#module.call({ do: "restart", node });
  }

  /** Has one node join another. */
  join(node, to) {
    this.#module.call({ do: "join", node, to });
  }

  /** A node says goodbye, and when that has gone round its process ends: "left". */
  leave(node) {
    this.#module.call({ do: "leave", node });
  }

  /** A node fires a user event. */
  event(node, name, payload = "") {
    this.#module.call({ do: "event", node, name, payload });
  }

  /**
   * A node asks all members; each answers with its name. The answers are among the events.
   * @returns {number} the number that the answers carry
   */
  query(node, name, payload = "") {
    return this.#module.call({ do: "query", node, name, payload });
  }

  /**
   * Whom a node knows, and what it makes of them.
   * @returns {{ node: number, name: string, addr: string, status: "alive" | "leaving" | "left" | "failed" }[]}
   */
  members(of) {
    return this.#module.call({ do: "members", of });
  }

  /**
   * All nodes at a glance, in order: the state of each, how many it takes for alive (itself included), and how many of the
   * others that are up take it for alive, suspect it, and so on.
   * @returns {{ state: "down" | "alive" | "leaving" | "left", knows: number, alive: number, suspect: number,
   *   leaving: number, failed: number, left: number }[]}
   */
  nodes() {
    return this.#module.call({ do: "nodes" });
  }

  /**
   * What nodes have told since the last call, the oldest first; of more than 10000 the oldest are shed. Each has a `time`,
   * a `node` and an `event`, and by that:
   *
   * - `member-join`, `member-leave`, `member-failed`, `member-update`, `member-reap`: `members`, a list of nodes
   * - `user`: `name`, `ltime`, `payload`; `query`: the same and its `source`
   * - `answer`: `query`, `from`, `payload`; `query-ended`: `query`, and `why`: "complete", "timed out" or "closed"
   * - `joined`: how many were `contacted`, and `failed`, a list of reasons; `left`: nothing; `refused`: `why`
   */
  events() {
    return this.#module.call({ do: "events" });
  }

  /**
   * Which datagrams were delivered since the last call, the oldest first, and at most the last 2000 of them.
   * @returns {[from: number, to: number][]}
   */
  packets() {
    return this.#module.call({ do: "packets" });
  }

  /** 16 hexadecimal digits that two runs share only if the same was delivered to the same nodes at the same times. */
  digest() {
    return this.#module.call({ do: "digest" });
  }

  /**
   * Figures since the beginning; `bytes` with headers, `steps` is all that was done.
   * @returns {{ time: number, nodes: number, up: number, datagrams: number, delivered: number, lost: number,
   *   bytes: number, steps: number, events_shed: number }}
   */
  stats() {
    return this.#module.call({ do: "stats" });
  }
}
