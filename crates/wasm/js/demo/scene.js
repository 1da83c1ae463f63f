// The demo's cluster as a picture: what is where, in which colour, and what has happened. Draws on any 2D context.

const COLOURS = { alive: "#3ddc97", suspect: "#ffc857", failed: "#ff5a5f", left: "#8d99ae", leaving: "#8d99ae" };
const TOLD = { join: "joined", leave: "left", failed: "failed", update: "changed", reap: "is forgotten" };
/** How long a packet and the halo of an event are seen, in real milliseconds; and how many packets at a time. */
const FLIGHT = 350, HALO = 900, PACKETS = 400;
const LINES = 9;

export class Scene {
  #packets = [];
  #halos = new Map();
  #news = new Map();
  #cuts = [];
  #apart = 0;
  #size = [800, 600];

  constructor(cluster, count) {
    Object.assign(this, { cluster, count, parts: 1, nodes: cluster.nodes() });
  }

  /** So many simulated milliseconds pass, in so many real ones. */
  advance(ms, real) {
    this.cluster.step(ms);
    this.nodes = this.cluster.nodes();
    for (const packet of this.#packets) packet.age += real;
    for (const [node, age] of this.#halos) this.#halos.set(node, age + real);
    const fresh = this.cluster.packets().slice(-PACKETS).map(([from, to]) => ({ from, to, age: Math.random() * real }));
    this.#packets = [...this.#packets.filter(({ age }) => age < FLIGHT), ...fresh].slice(-PACKETS);
    for (const event of this.cluster.events()) this.#hear(event);
    // Parts of the network glide away from each other.
    this.#apart += ((this.parts > 1 ? 1 : 0) - this.#apart) * Math.min(1, real / 250);
  }

  #hear({ time, node, event, members, name, why, failed, contacted }) {
    if (event === "user" || event === "query") this.#halos.set(node, 0);
    const kind = TOLD[event.replace("member-", "")];
    if (kind) for (const member of members) this.#note(time, `n${member} ${kind}`, "told by");
    if (event === "user") this.#note(time, `event “${name}”`, "heard by");
    if (event === "answer") this.#note(time, `n${node} asks`, "answers:");
    if (event === "joined" && contacted === 0) this.#note(time, `n${node} cannot join: ${failed[0] ?? "nobody is up"}`);
    if (event === "refused") this.#note(time, `n${node}: ${why}`);
  }

  /** The same, told by many, is one line, which counts; after a while without it a new one begins. */
  #note(time, what, counted) {
    const known = this.#news.get(what);
    const line = known && time - known.last < 30_000 ? known : { time, what, count: 0, counted };
    this.#news.delete(what);
    this.#news.set(what, Object.assign(line, { last: time, count: line.count + 1 }));
    if (this.#news.size > LINES) this.#news.delete(this.#news.keys().next().value);
  }

  lines() {
    const text = ({ time, what, count, counted }) =>
      `${(time / 1e3).toFixed(1).padStart(7)} s  ${what}${counted ? `, ${counted} ${count}` : ""}`;
    return [...this.#news.values()].map(text).reverse();
  }

  act(what, node) {
    const up = this.nodes[node].state !== "down";
    if (what === "crash") this.cluster[up ? "crash" : "restart"](node);
    else if (up && what === "event") this.cluster.event(node, "deploy");
    else if (up && what === "query") this.cluster.query(node, "who");
    else if (up && what === "leave") this.cluster.leave(node);
  }

  cut(a, b) {
    this.cluster.cut(a, b);
    this.#cuts.push([a, b]);
  }

  split() {
    this.cluster.partition((this.parts = Math.min(2, this.count)));
  }

  heal() {
    this.cluster.heal();
    this.#cuts = [];
    this.parts = 1;
  }

  /** Where a node is. */
  place(node) {
    const [width, height] = this.#size;
    const turn = (2 * Math.PI * (node + 0.5)) / this.count - Math.PI / 2;
    const side = node * 2 < this.count ? 1 : -1;
    const radius = Math.min(width, height) * (0.42 - 0.06 * this.#apart);
    return [
      width / 2 + radius * Math.cos(turn) + side * this.#apart * Math.min(width * 0.09, 90),
      height / 2 + radius * Math.sin(turn),
    ];
  }

  get radius() {
    return Math.max(3, Math.min(15, (Math.min(...this.#size) * 0.9) / this.count));
  }

  /** The node at a place, or null. */
  at(x, y) {
    const far = (node) => Math.hypot(this.place(node)[0] - x, this.place(node)[1] - y);
    const nearest = [...Array(this.count).keys()].reduce((a, b) => (far(b) < far(a) ? b : a));
    return far(nearest) <= this.radius + 8 ? nearest : null;
  }

  /** What the others take a node for: a colour and a share for each opinion. */
  opinions(node) {
    const counts = Object.keys(COLOURS).map((opinion) => [COLOURS[opinion], this.nodes[node][opinion]]);
    const all = counts.reduce((sum, [, count]) => sum + count, 0);
    return all ? counts.filter(([, count]) => count).map(([c, count]) => [c, count / all]) : [[COLOURS.left, 1]];
  }

  draw(context, width, height) {
    this.#size = [width, height];
    context.clearRect(0, 0, width, height);
    const line = (a, b, style, dash) => {
      context.setLineDash(dash);
      context.strokeStyle = style;
      context.beginPath();
      context.moveTo(...a);
      context.lineTo(...b);
      context.stroke();
    };
    const disc = ([x, y], radius, style, filled = true, from = 0, to = 1) => {
      context.beginPath();
      if (filled && to - from < 1) context.moveTo(x, y);
      context.arc(x, y, radius, (from - 0.25) * 2 * Math.PI, (to - 0.25) * 2 * Math.PI);
      context[filled ? "fillStyle" : "strokeStyle"] = style;
      context[filled ? "fill" : "stroke"]();
    };
    context.lineWidth = 1.5;
    for (const [a, b] of this.#cuts) line(this.place(a), this.place(b), "#ff5a5f88", [6, 6]);
    for (const { from, to, age } of this.#packets) {
      const [a, b, gone] = [this.place(from), this.place(to), Math.min(1, age / FLIGHT)];
      line(a, b, `rgba(120, 180, 255, ${0.22 * (1 - gone)})`, []);
      disc([a[0] + (b[0] - a[0]) * gone, a[1] + (b[1] - a[1]) * gone], 1.8, `rgba(170, 210, 255, ${1 - gone})`);
    }
    context.textAlign = "center";
    context.font = `${Math.min(11, this.radius)}px system-ui, sans-serif`;
    for (let node = 0; node < this.count; node++) {
      const [place, up] = [this.place(node), this.nodes[node].state !== "down"];
      const age = this.#halos.get(node) ?? HALO;
      if (age < HALO) disc(place, this.radius + (age / HALO) * 22, `rgba(255, 255, 255, ${1 - age / HALO})`, false);
      if (!up) disc(place, this.radius, "#171c28");
      let from = 0;
      for (const [colour, share] of this.opinions(node)) disc(place, this.radius, colour, up, from, (from += share));
      context.fillStyle = up ? "#0b0e14" : "#8d99ae";
      if (this.radius > 8) context.fillText(node, place[0], place[1] + 4);
    }
  }
}
