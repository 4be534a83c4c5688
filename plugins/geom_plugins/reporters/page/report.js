"use strict";
// Reads the run that the page holds, fills the table and draws the pictures. Every text of the run
// goes through textContent, or through markup() where plotly takes a subset of HTML.

const data = JSON.parse(document.getElementById("data").textContent);
const { V, d, domain } = data;
const $ = (id) => document.getElementById(id);

const REST = data.rest.name; // the class of the tokens without a verdict
const MEANING = {
  "unspeakable": "no point of the domain makes them win",
  "undecided": "not proven either way",
  "hard": "beaten along their own direction, yet some point makes them win",
  "speakable": "win along their own direction",
  [REST]: data.rest.meaning,
  "not examined yet": "the same command goes on",
};
const COLOUR = {
  "unspeakable": "--unspeakable", "undecided": "--undecided", "hard": "--hard",
  "speakable": "--speakable", [REST]: "--rest", "not examined yet": "--rest",
};
const SYMBOL = {
  "unspeakable": "x", "undecided": "diamond", "hard": "triangle-up", "speakable": "circle",
  [REST]: "circle",
};
const PROOF = {
  witness: "a point of the domain at which its margin is positive",
  slack: `weights over other ${data.noun.many}: at every point one of these ${data.noun.many} is at least as high, with room to spare`,
  interior: `weights over other ${data.noun.many} whose rows sum to its own, all of them positive`,
  rational: `weights over other ${data.noun.many} that solve the equations exactly, in rational numbers`,
};

// ---- columns

function unpacked(text, kind) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  return new kind(bytes.buffer);
}

const rows = {
  ...data.rows,
  id: unpacked(data.rows.id, Int32Array),
  class: unpacked(data.rows.class, Int32Array),
  lower: unpacked(data.rows.lower, Float64Array),
  upper: unpacked(data.rows.upper, Float64Array),
  known: unpacked(data.rows.known, Int32Array),
  winner: unpacked(data.rows.winner, Int32Array),
  probability: unpacked(data.rows.probability, Float64Array),
};
const count = rows.id.length;
const place = new Map();
rows.id.forEach((id, i) => place.set(id, i));
const cloud = data.cloud && {
  norm: unpacked(data.cloud.norm, Float32Array),
  x: unpacked(data.cloud.x, Float32Array),
  y: unpacked(data.cloud.y, Float32Array),
};
const measures = data.measures.map((m) => ({ ...m, value: unpacked(m.value, Float64Array) }));

const chances = data.chances && {
  ...data.chances, row: unpacked(data.chances.row, Int32Array), value: unpacked(data.chances.value, Float64Array),
};

const text = (id) => data.texts[id] ?? "-";
const label = (id) => (data.texts[id] === undefined ? String(id) : `${id} ${data.texts[id]}`);
const className = (i) => data.classes[rows.class[i]];
const speaks = (i) => className(i) === "speakable" || className(i) === "hard";
// The bound that says most, and the other one: of a token whose margin is not known well, the
// largest margin is anywhere between the two.
const margin = (i) => (speaks(i) ? rows.lower[i] : rows.upper[i]);
const beyond = (i) => (speaks(i) ? rows.upper[i] : rows.lower[i]);

// Bounds come as text: geom has already rounded the proven bounds outwards, once.
const bounds = (i) => rows.margin[i].replace(">=", "\u2265").replace("<=", "\u2264");

// ---- elements

function element(name, properties = {}, children = []) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key in made) made[key] = value; else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

const number = (n) => Number(n).toLocaleString("en");

// ---- the head of the page

const totals = new Map(data.classes.map((name) => [name, 0]));
for (let i = 0; i < count; i++) totals.set(className(i), totals.get(className(i)) + 1);
if (data.pending) totals.set("not examined yet", data.pending);
if (V > count + data.pending) totals.set(REST, V - count - data.pending);

$("facts").textContent =
  `${number(V)} ${data.noun.many}, d = ${number(d)}, domain ${domain.name}` +
  (data.begun ? `, begun ${data.begun}` : "");
for (const [name, n] of totals) {
  if (!n) continue;
  const style = `--colour: var(${COLOUR[name]})`;
  $("share").append(element("span", { style: `${style}; flex: ${n} 0 0`, title: `${name}: ${number(n)}` }));
  const share = (100 * n / V).toPrecision(2);
  $("verdicts").append(element("li", { style }, [
    element("b", { textContent: number(n) }),
    element("span", { textContent: `${name}, ${Number(share)}\u00a0%` }),
    element("small", { textContent: MEANING[name] }),
  ]));
}
$("share").setAttribute("aria-label",
  [...totals].filter(([, n]) => n).map(([name, n]) => `${name} ${n}`).join(", "));

// ---- the table: the document contains only the visible rows

const COLUMNS = [
  { name: "id", kind: "id", order: (i) => rows.id[i] },
  { name: data.noun.one, kind: "token", order: (i) => text(rows.id[i]) },
  { name: "verdict", kind: "verdict", order: (i) => rows.class[i] },
  { name: "proof", kind: "proof aside", order: (i) => rows.proof[i] ?? "" },
  { name: "largest margin", kind: "number margin", order: (i) => i, show: bounds },
  { name: "own direction won by", kind: "aside", order: (i) => text(rows.winner[i]) },
  ...(rows.chance.some(Boolean) ? [{
    name: "probability at most", kind: "number aside", order: (i) => rows.probability[i],
    show: (i) => rows.chance[i].split(" ")[0], title: "at temperature 1, wherever x is in the domain",
  }] : []),
  ...measures.map((m) => ({
    name: m.name, kind: "number aside", order: (i) => m.value[i],
    show: (i) => m.shown[i], title: m.unit,
  })),
];
const rem = () => parseFloat(getComputedStyle(document.documentElement).fontSize);
const rowHeight = () => parseFloat(getComputedStyle(document.documentElement).getPropertyValue("--row")) * rem();
let ROW = rowHeight();
const AHEAD = 12;
const SHORT = 16; // the characters of a text that are sure to be seen in a narrow table
const numbers = COLUMNS.filter((column) => column.show);
const scroller = $("scroll"), body = $("body");
const unfolded = new Map(); // by row, the height of the details unfolded below it
let order = Array.from({ length: count }, (_, i) => i);
let sorted = { column: 4, descending: false }; // the rows come in the order of hardness

for (const [k, column] of COLUMNS.entries()) {
  const button = element("button", { type: "button", textContent: column.name });
  button.addEventListener("click", () => {
    const descending = sorted.column === k && !sorted.descending;
    sorted = { column: k, descending };
    select();
  });
  const head = element("th", { scope: "col", role: "columnheader", title: column.title ?? "", className: column.kind }, [button]);
  if (column.show) head.style.setProperty("--longest", `${longest(column)}rem`);
  $("head").append(head);
}
$("table").style.setProperty("--wide", `calc(${numbers.map((column) => `${longest(column)}rem + 1.2rem`).join(" + ")})`);

// A column of numbers is as wide as its longest number, or word of its name and the mark of its order.
function longest(column) {
  const shapes = new Set(); // all digits are as wide as each other
  for (let i = 0; i < count; i++) shapes.add(column.show(i).replace(/\d/g, "0"));
  const brush = document.createElement("canvas").getContext("2d"), size = rem();
  const wide = (said, weight) => {
    brush.font = `${weight} ${size}px ${getComputedStyle(document.body).fontFamily}`;
    return brush.measureText(said).width / size;
  };
  return Math.max(...[...shapes].map((said) => wide(said, 400)), ...column.name.split(/(?<=-)| /).map((word) => wide(word, 600) + 1));
}

$("class").append(element("option", { value: "", textContent: "all" }));
for (const [name, n] of totals) {
  if (n && data.classes.includes(name)) {
    $("class").append(element("option", { value: name, textContent: `${name} (${number(n)})` }));
  }
}

const folded = rows.id.length ? Array.from(rows.id, (id) => text(id).toLowerCase()) : [];

function select() {
  const wanted = $("search").value.trim().toLowerCase(), only = $("class").value;
  order = [];
  for (let i = 0; i < count; i++) {
    if (only && className(i) !== only) continue;
    if (wanted && !folded[i].includes(wanted) && String(rows.id[i]) !== wanted) continue;
    order.push(i);
  }
  const key = COLUMNS[sorted.column].order, sign = sorted.descending ? -1 : 1;
  const keys = new Map(order.map((i) => [i, key(i)]));
  order.sort((i, j) => {
    const a = keys.get(i), b = keys.get(j);
    if (a === b) return i - j;
    if (Number.isNaN(a)) return Number.isNaN(b) ? i - j : 1; // rows without a number come last, in either order
    if (Number.isNaN(b)) return -1;
    return a < b ? -sign : sign;
  });
  [...$("head").children].forEach((head, k) => {
    if (k === sorted.column) {
      head.setAttribute("aria-sort", sorted.descending ? "descending" : "ascending");
    } else head.removeAttribute("aria-sort");
  });
  $("found").textContent = order.length === count
    ? `${number(count)} ${data.noun.many}` : `${number(order.length)} of ${number(count)} ${data.noun.many}`;
  $("taken").textContent = "";
  for (const name of ["ids", "copy", "csv"]) $(name).disabled = !order.length;
  $("table").setAttribute("aria-rowcount", String(order.length + 1));
  scroller.scrollTop = 0;
  fill();
}

function heightBefore(position) {
  let height = position * ROW;
  for (const [i, extra] of unfolded) if (positionOf(i) < position) height += extra;
  return height;
}

let positions = new Map(), positionsOf = null;
function positionOf(i) {
  if (positionsOf !== order) {
    positions = new Map(order.map((row, k) => [row, k]));
    positionsOf = order;
  }
  return positions.get(i) ?? Infinity;
}

function fill() {
  const extra = [...unfolded.values()].reduce((sum, height) => sum + height, 0);
  scroller.style.setProperty("--content", `${(count + 1) * ROW + extra + 2}px`); // few rows need less room
  const top = scroller.scrollTop, bottom = top + scroller.clientHeight;
  let first = Math.max(0, Math.floor(top / ROW) - AHEAD);
  while (first > 0 && heightBefore(first) > top - AHEAD * ROW) first = Math.max(0, first - AHEAD);
  let last = first;
  const end = bottom + AHEAD * ROW;
  let height = heightBefore(first);
  const before = height;
  while (last < order.length && height < end) {
    height += ROW + (unfolded.get(order[last]) ?? 0);
    last++;
  }
  const focused = document.activeElement?.dataset?.row;
  const made = [order.length ? space(before) : none()];
  for (let k = first; k < last; k++) {
    made.push(row(order[k], k));
    if (unfolded.has(order[k])) made.push(more(order[k]));
  }
  if (order.length) made.push(space(heightBefore(order.length) - height));
  body.replaceChildren(...made);
  if (focused !== undefined) {
    body.querySelector(`button[data-row="${focused}"]`)?.focus({ preventScroll: true });
  }
  let changed = false;
  for (const shown of body.querySelectorAll("tr.more")) {
    const i = Number(shown.dataset.of), found = shown.getBoundingClientRect().height;
    if (Math.abs(found - unfolded.get(i)) > 1) { unfolded.set(i, found); changed = true; }
  }
  if (changed) fill();
}

function none() {
  const wanted = $("search").value.trim(), only = $("class").value;
  const button = element("button", { type: "button", textContent: `Show all ${data.noun.many}` });
  button.addEventListener("click", () => { $("search").value = ""; $("class").value = ""; select(); $("search").focus(); });
  const said = count ? `No ${only ? `${only} ` : ""}${data.noun.one} ${wanted ? `has the id or the text ${wanted}` : "is here"}. `
    : `No ${data.noun.one} was examined. `;
  const made = cell({ colSpan: columnsShown() }, count ? [said, button] : [said]);
  return element("tr", { className: "none", role: "row" }, [made]);
}

// A cell that spans hidden columns, too, would leave room for them.
const columnsShown = () => [...$("head").children].filter((head) => head.getClientRects().length).length;

function space(height) {
  const room = element("td", { colSpan: columnsShown() });
  room.style.height = `${Math.max(0, height)}px`;
  return element("tr", { className: "space", "aria-hidden": "true" }, [room]);
}

// Roles are said, because a table that a narrow screen lays out otherwise is none to every browser.
const cell = (properties, children) => element("td", { role: "cell", ...properties }, children);

function row(i, k) {
  const name = className(i);
  const button = element("button", {
    type: "button", className: "unfold", textContent: String(rows.id[i]),
    "aria-expanded": String(unfolded.has(i)), "aria-label": `${data.noun.one} ${rows.id[i]}, its proof`,
  });
  button.dataset.row = i;
  const dot = element("span", { className: "dot", style: `--colour: var(${COLOUR[name]})` });
  const winner = rows.winner[i] === rows.id[i] ? "itself"
    : rows.winner[i] < 0 ? "-" : label(rows.winner[i]);
  const cells = [
    cell({}, [button]),
    cell({ className: "token", textContent: text(rows.id[i]), title: (data.strange[rows.id[i]] ?? []).join("\n") }),
    cell({ className: "verdict" }, [dot, name]),
    cell({ textContent: rows.proof[i] ?? "-", className: "aside" }),
    cell({ textContent: bounds(i), className: "number margin" }),
    cell({ textContent: winner, className: "token aside" }),
    ...COLUMNS.slice(6).map((c) => cell({ textContent: c.show(i), className: "number aside" })),
  ];
  const made = element("tr", { className: "row", role: "row", "aria-rowindex": String(k + 2) }, cells);
  made.dataset.at = i;
  return made;
}

function more(i) {
  const id = rows.id[i], certificate = data.certificates[id], about = cell({ colSpan: columnsShown() });
  const say = (line) => about.append(element("p", { textContent: line }));
  if (text(id).length > SHORT) about.append(element("p", { className: "token", textContent: text(id) }));
  if (data.strange[id]) say(`Characters in its text: ${data.strange[id].join(", ")}.`);
  const proof = rows.proof[i];
  if (proof) say(`Proven by ${PROOF[proof]} (${proof}; found by ${rows.certifier[i]}).`);
  say(`Its largest margin, as proven: ${bounds(i)} logits.` +
    (rows.flagged_by[i] ? ` Flagged by ${rows.flagged_by[i]}.` : "") +
    (rows.winner[i] >= 0 && rows.winner[i] !== id
      ? ` Along its own direction ${label(rows.winner[i])} wins.` : ""));
  if (rows.chance[i]) say(`It is never the argmax, and never more likely than ${rows.chance[i]} at temperature 1.`);
  if (data.rows.note[id]) say(`Note: ${data.rows.note[id]}.`);
  for (const m of measures) if (m.shown[i]) say(`${m.name}: ${m.shown[i]} ${m.unit}`);
  if (certificate?.heaviest) {
    say(certificate.count === 1 ? "Its only weight:"
      : `The heaviest of ${number(certificate.count)} weights, as shares of their sum:`);
    about.append(element("ul", { className: "heaviest" }, certificate.heaviest.map(([token, share]) =>
      element("li", {}, [`${share} % `, element("span", { className: "token", textContent: label(token) })]))));
  } else if (certificate?.head) {
    say(`The point: ${number(certificate.count)} numbers of length ${certificate.length}, ` +
      `${certificate.head.join(", ")}${certificate.count > certificate.head.length ? ", ..." : ""}`);
  } else if (rows.proof[i] === "witness") say(`The point is the ${data.noun.one}'s own direction, rebuilt from the weights.`);
  about.append(element("p", {}, ["The whole proof: ", element("code", { textContent: `geom show ${data.file || "RUN"} --token ${id}` })]));
  const made = element("tr", { className: "more", role: "row" }, [about]);
  made.dataset.of = i;
  return made;
}

function toggle(i) {
  if (unfolded.has(i)) unfolded.delete(i); else unfolded.set(i, 8 * ROW);
  fill();
}

function find(id) {
  const i = place.get(id);
  if (i === undefined) return;
  $("search").value = ""; $("class").value = "";
  unfolded.clear();
  select();
  unfolded.set(i, 8 * ROW);
  scroller.scrollTop = Math.max(0, positionOf(i) * ROW - ROW);
  fill();
  $("tokens").scrollIntoView({ behavior: "smooth" });
  body.querySelector(`button[data-row="${i}"]`)?.focus({ preventScroll: true });
}

body.addEventListener("click", (event) => {
  const at = event.target.closest("tr.row");
  if (at && !String(getSelection())) toggle(Number(at.dataset.at));
});
body.addEventListener("keydown", (event) => {
  const i = event.target.dataset?.row, step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (i === undefined || !step) return;
  event.preventDefault();
  const next = positionOf(Number(i)) + step;
  if (next < 0 || next >= order.length) return;
  const top = heightBefore(next);
  if (top < scroller.scrollTop) scroller.scrollTop = top;
  else if (top + 3 * ROW > scroller.scrollTop + scroller.clientHeight) {
    scroller.scrollTop = top + 3 * ROW - scroller.clientHeight;
  }
  fill();
  body.querySelector(`button[data-row="${order[next]}"]`)?.focus({ preventScroll: true });
});
let waiting = false;
scroller.addEventListener("scroll", () => {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; fill(); });
});
addEventListener("resize", () => { ROW = rowHeight(); fill(); });
$("search").addEventListener("input", select);
$("class").addEventListener("change", select);
select();

// ---- what was found, to take away

function fields(i) {
  const id = rows.id[i], winner = rows.winner[i], finite = (n) => (Number.isFinite(n) ? n : "");
  return {
    id, [data.noun.one]: data.texts[id] ?? "", verdict: className(i), proof: rows.proof[i] ?? "",
    margin_lower: finite(rows.lower[i]), margin_upper: finite(rows.upper[i]),
    probability_upper: finite(rows.probability[i]),
    argmax_id: winner < 0 ? "" : winner, argmax: winner < 0 ? "" : data.texts[winner] ?? "",
    certifier: rows.certifier[i] ?? "", flagged_by: rows.flagged_by[i], note: data.rows.note[id] ?? "",
    ...Object.fromEntries(measures.map((m) => [m.name, finite(m.value[i])])),
  };
}

// No text becomes a formula of a spreadsheet, or ends its cell.
const plain = (value) => (typeof value === "string" && /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value));
const quoted = (cell) => (/[",\r\n]/.test(cell) ? `"${cell.replace(/"/g, '""')}"` : cell);
const apart = (cell) => cell.replace(/[\t\r\n]/g, " ");

function table(between, cell) {
  const lines = order.map(fields), head = Object.keys(fields(0));
  return [head, ...lines.map(Object.values)].map((line) => line.map((v) => cell(plain(v))).join(between));
}

async function copied(words) {
  try { await navigator.clipboard.writeText(words); } catch { // a page that is not from a safe place
    const area = element("textarea", { value: words, className: "away" });
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
}

const taken = (what) => { $("taken").textContent = `${what} ${number(order.length)} ${data.noun.many}`; };
$("ids").addEventListener("click", () => copied(order.map((i) => rows.id[i]).join(",")).then(() => taken("copied the ids of")));
$("copy").addEventListener("click", () => copied(table("\t", apart).join("\n")).then(() => taken("copied")));
$("csv").addEventListener("click", () => {
  const address = URL.createObjectURL(new Blob([table(",", quoted).join("\r\n") + "\r\n"], { type: "text/csv;charset=utf-8" }));
  element("a", { href: address, download: `${(data.file || "run").replace(/\.db$/, "")}.csv` }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
  taken("saved");
});

// ---- the pictures

const AT_LEAST = "at least";
const MOST_WITHOUT_WEBGL = 4000;
const CROWD = 2000; // more marks than this are lighter and smaller, so that it shows where they are dense
const webgl = (() => {
  try { return Boolean(document.createElement("canvas").getContext("webgl")); } catch { return false; }
})();

const markup = (s) => s.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

function colour(name) {
  const probe = element("span", { style: `color: var(${name})` });
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

// Margins span many powers of ten on both sides of 0: the scale is linear within SMALL, and
// logarithmic beyond.
const SMALL = (() => {
  const sizes = [];
  for (let i = 0; i < count; i++) if (margin(i)) sizes.push(Math.abs(margin(i)));
  const finite = sizes.filter(Number.isFinite).sort((a, b) => a - b);
  return finite.length ? 10 ** Math.floor(Math.log10(finite[Math.floor(finite.length / 500)])) : 1;
})();
const bent = (m) => Math.sign(m) * Math.log10(1 + Math.abs(m) / SMALL);

// Some six labels: powers of ten, every n-th if they are many, and steps between them if they are few.
function marginTicks(values) {
  const far = values.reduce((most, v) => Math.max(most, Math.abs(v)), 0.1);
  const negative = values.some((v) => v < -0.05), decades = negative ? 2 * far : far;
  const digits = decades < 1.7 ? [1, 2, 5] : decades < 3 ? [1, 3] : [1];
  const step = digits.length > 1 ? 1 : Math.max(1, Math.round(far / 6));
  const ticks = [{ at: 0, label: "0" }];
  for (let k = digits.length > 1 ? 0 : step; k <= Math.ceil(far); k += step) {
    for (const digit of digits) {
      const size = digit * SMALL * 10 ** k;
      const label = size >= 0.01 && size < 1e4 ? String(Number(size.toPrecision(1))) : size.toExponential(0);
      ticks.push({ at: bent(size), label });
      if (negative) ticks.push({ at: -bent(size), label: "\u2212" + label });
    }
  }
  return { tickvals: ticks.map((t) => t.at), ticktext: ticks.map((t) => t.label), tickangle: 0 };
}

function layout(more) {
  const ink = colour("--ink"), line = colour("--line");
  const axis = { gridcolor: line, zeroline: false, linecolor: line, automargin: true };
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: ink, family: getComputedStyle(document.body).fontFamily, size: 12 },
    margin: { l: 56, r: 12, t: 12, b: 44 }, hovermode: "closest",
    hoverlabel: { bgcolor: colour("--card"), bordercolor: line, font: { color: ink } },
    legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0, itemsizing: "constant" },
    ...more,
    xaxis: { ...axis, ...more.xaxis }, yaxis: { ...axis, ...more.yaxis },
  };
}

const CONFIG = { responsive: true, displaylogo: false, displayModeBar: false };

function points(name, ids, x, y, size, known = true, more = () => "") {
  const crowded = ids.length > CROWD;
  let shown = ids;
  if (!webgl && ids.length > MOST_WITHOUT_WEBGL) {
    shown = ids.filter((_, k) => k % Math.ceil(ids.length / MOST_WITHOUT_WEBGL) === 0);
  }
  return {
    type: webgl ? "scattergl" : "scatter", mode: "markers", name: known ? name : `${name}: ${AT_LEAST}`, customdata: shown,
    x: shown.map(x), y: shown.map(y), hovertemplate: "%{text}<extra></extra>",
    text: shown.map((id) => {
      const i = place.get(id);
      return markup(label(id)) + (i === undefined ? "" : `<br>${className(i)}, margin ${bounds(i)}${more(id)}`);
    }),
    marker: {
      color: colour(COLOUR[name]), symbol: known ? SYMBOL[name] : `${SYMBOL[name]}-open`,
      size: crowded ? 0.7 * size : size, opacity: crowded ? 0.35 : 0.75,
    },
  };
}

const grouped = () => groupsOf(Array.from({ length: V }, (_, id) => id));

function groupsOf(ids) {
  const groups = new Map([[REST, []], ["speakable", []], ["hard", []], ["undecided", []], ["unspeakable", []]]);
  for (const id of ids) {
    const i = place.get(id);
    groups.get(i === undefined ? REST : className(i)).push(id);
  }
  return [...groups].filter(([, ids]) => ids.length);
}

function border(along, label) {
  return {
    shapes: [{
      type: "line", line: { color: colour("--ink"), width: 1, dash: "dot" },
      ...(along === "x" ? { xref: "paper", x0: 0, x1: 1, y0: 0, y1: 0 } : { yref: "paper", y0: 0, y1: 1, x0: 0, x1: 0 }),
    }],
    annotations: [{
      text: label, showarrow: false, font: { color: colour("--soft"), size: 11 },
      ...(along === "x" ? { xref: "paper", x: 1, xanchor: "right", y: 0, yanchor: "bottom" } : { yref: "paper", y: 1, yanchor: "top", x: 0, xanchor: "left", xshift: 3 }),
    }],
  };
}

// Tokens whose margin is known, and those of which only bounds are: [name, ids, known].
function byKnowledge(groups) {
  return groups.filter(([name]) => name !== REST).flatMap(([name, ids]) => {
    const drawn = ids.filter((id) => Number.isFinite(margin(place.get(id))));
    const isKnown = (id) => Boolean(rows.known[place.get(id)]);
    return [[name, drawn.filter((id) => !isKnown(id)), false], [name, drawn.filter(isKnown), true]];
  }).filter(([, ids]) => ids.length);
}

function drawNorms() {
  const y = (id) => bent(margin(place.get(id)));
  const groups = byKnowledge(grouped());
  const all = groups.flatMap(([, ids]) => ids.map(y));
  const traces = groups.flatMap(([name, ids, known]) => {
    const made = points(name, ids, (id) => cloud.norm[id], y, 6, known);
    if (known) return [made];
    const wide = made.customdata.filter((id) => Number.isFinite(beyond(place.get(id))));
    for (const id of wide) all.push(bent(beyond(place.get(id))));
    return [{ // from one bound to the other
      type: made.type, mode: "lines", hoverinfo: "skip", showlegend: false, legendgroup: made.name,
      x: wide.flatMap((id) => [cloud.norm[id], cloud.norm[id], null]),
      y: wide.flatMap((id) => [y(id), bent(beyond(place.get(id))), null]),
      line: { color: colour(COLOUR[name]), width: 1 }, opacity: wide.length > 200 ? 0.25 : 0.6,
    }, { ...made, legendgroup: made.name }];
  });
  Plotly.react("norms", traces, layout({
    xaxis: { title: { text: "distance of the row from the mean row" } },
    yaxis: { title: { text: "largest margin, logits" }, ...marginTicks(all) },
    ...border("x", "the border"), showlegend: true,
  }), CONFIG);
}

function drawPlaces() {
  const size = V > 20000 ? 3 : 5;
  const traces = grouped().map(([name, ids]) =>
    points(name, ids, (id) => cloud.x[id], (id) => cloud.y[id], name === REST || name === "speakable" ? size : size + 2));
  traces.push({
    type: "scatter", mode: "markers", x: [0], y: [0], name: "centroid", hovertemplate: "the centroid<extra></extra>",
    marker: { symbol: "cross-thin", size: 14, line: { width: 2, color: colour("--ink") } }, showlegend: false,
  });
  Plotly.react("places", traces, layout({
    xaxis: { title: { text: "first principal axis" } },
    yaxis: { title: { text: "second principal axis" }, scaleanchor: "x" }, showlegend: true,
  }), CONFIG);
}

// The largest margin m bounds the largest probability: V - 1 rivals lie at most m lower, or one does.
const logistic = (m, rivals) => {
  const log = Math.log(rivals) - m; // log10 of 1 / (1 + exp(log))
  return -(log > 30 ? log : Math.log1p(Math.exp(log))) / Math.LN10;
};

function powersOfTen(least) {
  const step = Math.max(1, Math.round(-least / 6)), ticks = [];
  if (least > -1.5) for (const p of [1, 0.5, 0.2, 0.1, 0.05, 0.02]) ticks.push([Math.log10(p), String(p)]);
  else for (let k = 0; k >= least - step; k -= step) ticks.push([k, k > -4 ? String(10 ** k) : `10<sup>\u2212${-k}</sup>`]);
  return { tickvals: ticks.map(([at]) => at), ticktext: ticks.map(([, said]) => said) };
}

function drawChances() {
  const at = new Map(Array.from(chances.row, (i, k) => [rows.id[i], k]));
  const drawn = groupsOf([...at.keys()].filter((id) => Number.isFinite(margin(place.get(id)))));
  const T = domain.bounded ? chances.temperature : null;
  const x = (id) => bent(margin(place.get(id))), y = (id) => chances.value[at.get(id)];
  const all = drawn.flatMap(([, ids]) => ids.map(x)), least = Math.min(...drawn.flatMap(([, ids]) => ids.map(y)));
  const bottom = Math.min(least, T ? -Math.log10(V) : -0.5);
  const traces = byKnowledge(drawn).map(([name, ids, known]) =>
    points(name, ids, x, y, 7, known, (id) => `, log10 probability ${chances.shown[at.get(id)]}`));
  if (T) {
    const far = all.reduce((most, v) => Math.max(most, Math.abs(v)), 0.1);
    const low = Math.min(0, ...all), high = Math.max(0.1 * far, ...all);
    const along = Array.from({ length: 121 }, (_, k) => low + (k / 120) * (high - low));
    const m = (v) => Math.sign(v) * SMALL * (10 ** Math.abs(v) - 1);
    for (const rivals of [1, V - 1]) {
      traces.push({
        type: "scatter", mode: "lines", x: along, y: along.map((v) => logistic(m(v) / T, rivals)), hoverinfo: "skip",
        showlegend: false, line: { color: colour("--soft"), width: 1, dash: "dot" },
      });
    }
  } else $("between")?.remove();
  Plotly.react("chances", traces, layout({
    xaxis: { title: { text: "largest margin, logits" }, ...marginTicks(all) },
    yaxis: { title: { text: "largest probability" }, range: [1.05 * bottom, 0.1], ...powersOfTen(bottom) },
    ...border("y", "the border"), showlegend: true,
  }), CONFIG);
}

const BARS = 40;
const LOG_FROM = 200; // few tokens lie at the border, where they matter most
function drawMargins() {
  const bins = new Map(), done = Array.from(rows.id, (_, i) => i).filter((i) => Number.isFinite(margin(i)));
  const all = done.map((i) => bent(margin(i)));
  const far = all.reduce((most, at) => Math.max(most, Math.abs(at)), 0.1), WIDTH = far / BARS;
  for (const i of done) {
    const at = bent(margin(i)), bin = at === 0 ? -0.5 : Math.floor(at / WIDTH); // 0 has its own bar, left of the border
    const known = Boolean(rows.known[i]), key = `${className(i)} ${known} ${bin}`;
    bins.set(key, { name: className(i), known, bin, n: (bins.get(key)?.n ?? 0) + 1 });
  }
  const most = Math.max(...[...bins.values()].map((b) => b.n));
  const kinds = ["speakable", "hard", "undecided", "unspeakable"].flatMap((name) => [[name, false], [name, true]]);
  const traces = kinds.map(([name, known]) => {
    const mine = [...bins.values()].filter((b) => b.name === name && b.known === known).sort((a, b) => a.bin - b.bin);
    const shown = known ? name : `${name}: ${AT_LEAST}`;
    return {
      type: "bar", name: shown, x: mine.map((b) => (b.bin === -0.5 ? -WIDTH / 4 : (b.bin + 0.5) * WIDTH)), y: mine.map((b) => b.n),
      width: mine.map((b) => (b.bin === -0.5 ? WIDTH / 2 : WIDTH)),
      marker: {
        color: colour(COLOUR[name]), opacity: 0.85,
        pattern: known ? {} : { shape: "/", fgcolor: colour(COLOUR[name]), bgcolor: "rgba(0,0,0,0)", size: 6, solidity: 0.35 },
        line: known ? {} : { color: colour(COLOUR[name]), width: 1 },
      },
      hovertemplate: `%{y} ${shown}<extra></extra>`,
    };
  }).filter((trace) => trace.x.length);
  Plotly.react("margins", traces, layout({
    barmode: "overlay", bargap: 0, showlegend: true,
    xaxis: { title: { text: "largest margin, logits" }, ...marginTicks(all) },
    yaxis: { title: { text: data.noun.many }, ...(most > LOG_FROM ? { type: "log", dtick: 1, range: [-0.3, Math.log10(most) + 0.1] } : { rangemode: "tozero" }) },
    ...border("y", "the border"),
  }), CONFIG);
}

function drawWinners() {
  const shadowed = new Map();
  for (let i = 0; i < count; i++) {
    if (rows.winner[i] >= 0 && rows.winner[i] !== rows.id[i]) {
      shadowed.set(rows.winner[i], (shadowed.get(rows.winner[i]) ?? 0) + 1);
    }
  }
  const top = [...shadowed].sort((a, b) => b[1] - a[1] || a[0] - b[0]).slice(0, 15).reverse();
  const short = (s) => (s.length > 24 ? s.slice(0, 23) + "\u2026" : s);
  Plotly.react("winners", [{
    type: "bar", orientation: "h", x: top.map(([, n]) => n), y: top.map((_, k) => k), customdata: top.map(([id]) => id),
    text: top.map(([id]) => markup(label(id))), textposition: "auto", texttemplate: "%{x:,}", textangle: 0, constraintext: "none",
    marker: { color: colour("--accent") }, hovertemplate: "%{text} wins in place of %{x}<extra></extra>",
  }], layout({
    xaxis: { title: { text: `${data.noun.many} in whose place it wins` }, rangemode: "tozero" },
    yaxis: { tickvals: top.map((_, k) => k), ticktext: top.map(([id]) => markup(short(label(id)))) },
    showlegend: false,
  }), CONFIG);
}

const placed = Array.from(rows.id, (_, i) => i).some((i) => Number.isFinite(margin(i)));
const pictures = [
  ["norms", drawNorms, Boolean(cloud) && placed],
  ["places", drawPlaces, Boolean(cloud)],
  ["margins", drawMargins, placed],
  ["chances", drawChances, Boolean(chances) && Array.from(chances.row).some((i) => Number.isFinite(margin(i)))],
  ["winners", drawWinners, Array.from(rows.winner).some((w, i) => w >= 0 && w !== rows.id[i])],
];
const pause = () => new Promise((done) => { setTimeout(done); });
async function draw() { // each picture in its own task, so that the page responds in between
  for (const [, make, possible] of pictures) {
    if (!possible) continue;
    await pause();
    make();
  }
}
for (const [name, , possible] of pictures) if (!possible) $(`${name}-figure`).remove();
if (!pictures.some(([, , possible]) => possible)) $("pictures").remove();
draw().then(() => {
  for (const [name, , possible] of pictures) {
    if (possible) $(name).on("plotly_click", (event) => find(Number(event.points[0].customdata)));
  }
  document.documentElement.dataset.ready = "";
});

// ---- light and dark

$("theme").addEventListener("change", () => {
  const chosen = $("theme").value;
  if (chosen) document.documentElement.dataset.theme = chosen;
  else delete document.documentElement.dataset.theme;
  draw();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
