"use strict";
// One benchmark at a time is in memory, column by column; a filter is one pass over numbers. Only the rows in view are in the page.
const ROW = 64, RIGHT = 0.5, SPARE = 8, PRINTED = 200;
const FLAGS = ["wrong", "right", "guessed", "seen", "unparsed", "trained", "other", "better", "worse"];
const EXCLUDE = { wrong: ["right", "seen", "better"], right: ["wrong", "worse"], seen: ["wrong", "guessed", "worse"], guessed: ["seen"], better: ["worse", "wrong"], worse: ["better", "right", "seen"] };
const $ = (id) => document.getElementById(id);
const data = {}, waiting = {};
const state = { benchmark: BENCHMARKS[0]?.name, flags: new Set(), kind: "", words: "", own: 0, against: -1, at: 0 };
let now = null, shown = [], masks = null, texts = null;

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "class") node.className = value;
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

function loaded(name, columns) { // a data script calls it
  data[name] = columns;
  waiting[name]?.forEach((then) => then());
  delete waiting[name];
}
window.loaded = loaded;

function load(name, then) {
  if (data[name]) return then();
  if (waiting[name]) return waiting[name].push(then);
  waiting[name] = [then];
  document.body.append(make("script", { src: `answers/${encodeURIComponent(name)}.js`, onerror: () => say(`answers/${name}.js is missing: keep the folders answers/ and pictures/ beside this page`) }));
}

const say = (text) => { $("told").textContent = text; };
const is = (by, place) => by.scores[place] === null ? null : by.scores[place] >= RIGHT;
const same = (one, other) => (one ?? "").trim().toLowerCase() === (other ?? "").trim().toLowerCase();
const label = (by) => !OTHERS ? by.condition : by.condition === "seen" ? by.run : `${by.run} ${by.condition}`;
const mine = () => now.by[state.own];

function choose(name) {
  state.benchmark = name;
  load(name, () => {
    now = data[name];
    if (now.by[state.own]?.condition !== "seen") state.own = 0;
    if (!now.kinds.includes(state.kind)) state.kind = "";
    texts = now.ids.map((id, place) => [id, now.texts[place], now.gold[place], ...now.kind[place].map((kind) => now.kinds[kind]), ...now.by.map((by) => by.answers[place] ?? "")].join("\n").toLowerCase());
    beside();
    describe();
    refresh();
  });
}

function beside() { // what the answers are laid against: another run as it sees, else the same one under another condition
  const fits = (by, place) => place !== state.own && by !== undefined;
  now.blind = now.by.findIndex((by) => by.run === mine().run && by.condition === "blind");
  if (fits(now.by[state.against], state.against)) return;
  const other = now.by.findIndex((by, place) => fits(by, place) && by.run !== mine().run && by.condition === "seen");
  state.against = other >= 0 ? other : now.by.findIndex(fits);
}

function measure() { // each question's flags, as bits
  const [own, blind, against] = [mine(), now.by[now.blind], now.by[state.against]];
  masks = Uint16Array.from(now.ids, (_, place) => {
    const right = is(own, place), guessed = blind ? is(blind, place) : null, there = against ? is(against, place) : null;
    const bits = [right === false, right === true, guessed === true, right === true && guessed === false,
      own.unparsed[place] === 1, now.trained[place] === 1,
      against && against.answers[place] != null && !same(own.answers[place], against.answers[place]),
      right === true && there === false, right === false && there === true];
    return bits.reduce((sum, bit, number) => sum | (bit ? 1 << number : 0), 0);
  });
}

function refresh(keep = false) {
  if (!now) return;
  const before = keep ? shown[state.at] : undefined, started = performance.now();
  measure();
  const bits = (flags) => flags.reduce((sum, flag) => sum | (1 << FLAGS.indexOf(flag)), 0), wanted = bits([...state.flags]);
  // a filter's number is what a press on it would leave: without those that it takes away
  const asked = FLAGS.map((flag) => bits([...[...state.flags].filter((on) => !(EXCLUDE[flag] ?? []).includes(on)), flag]));
  const kind = now.kinds.indexOf(state.kind), words = state.words.toLowerCase().split(/\s+/).filter(Boolean);
  shown = [];
  const counts = new Array(FLAGS.length).fill(0);
  for (let place = 0; place < masks.length; place++) {
    if ((kind >= 0 && !now.kind[place].includes(kind)) || !words.every((word) => texts[place].includes(word))) continue;
    if ((masks[place] & wanted) === wanted) shown.push(place);
    for (let flag = 0; flag < FLAGS.length; flag++) if ((masks[place] & asked[flag]) === asked[flag]) counts[flag]++;
  }
  FLAGS.forEach((flag, number) => {
    const button = $(`flag-${flag}`);
    button.setAttribute("aria-pressed", state.flags.has(flag));
    button.querySelector("b").textContent = counts[number].toLocaleString("en");
    button.hidden = !possible(flag);
    button.disabled = counts[number] === 0 && !state.flags.has(flag);
  });
  state.at = before === undefined ? 0 : Math.max(0, shown.indexOf(before));
  summary();
  byKind();
  $("space").style.height = `${shown.length * ROW}px`;
  if (!keep) $("list").scrollTop = 0;
  drawn.clear();
  $("space").replaceChildren();
  draw();
  detail();
  document.body.dataset.ms = (performance.now() - started).toFixed(1);
  remember();
}

function possible(flag) {
  const scored = mine().score !== null || mine().scores.some((score) => score !== null);
  if (flag === "wrong" || flag === "right") return scored;
  if (flag === "guessed" || flag === "seen") return now.blind >= 0;
  if (flag === "unparsed") return mine().unparsed.some(Boolean);
  if (flag === "trained") return now.trained.some(Boolean);
  if (flag === "better" && state.against === now.blind) return false; // it needs the picture: said already
  return state.against >= 0 && (flag === "other" || scored);
}

function mean(by, places) {
  let sum = 0, count = 0;
  for (const place of places) if (by.scores[place] !== null && by.scores[place] !== undefined) { sum += by.scores[place]; count++; }
  return count ? (100 * sum) / count : null;
}

const percent = (value) => value === null ? "" : value.toFixed(1);

function summary() {
  const all = now.ids.length, many = shown.length.toLocaleString("en");
  const told = now.by.map((by) => [label(by), mean(by, shown)]).filter(([, value]) => value !== null).map(([name, value]) => `${name} ${percent(value)}`);
  say(`${shown.length === all ? many : `${many} of ${all.toLocaleString("en")}`} question${all === 1 ? "" : "s"}${told.length && shown.length ? `; right answers, percent: ${told.join(" · ")}` : ""}`);
}

function describe() {
  document.querySelectorAll("#benchmarks button").forEach((button, place) => {
    const score = BENCHMARKS[place].scores[mine().run];
    button.setAttribute("aria-pressed", button.value === state.benchmark);
    if (button.querySelector("b")) button.querySelector("b").textContent = percent(score ?? null);
    button.title = `${BENCHMARKS[place].metric} of ${mine().run}`;
  });
  $("kind").replaceChildren(make("option", { value: "" }, "every kind"), ...now.kinds.map((kind) => make("option", { value: kind }, kind)));
  $("kind").value = state.kind;
  $("kind").parentElement.hidden = now.kinds.length === 0;
  const seen = now.by.map((by, place) => ({ by, place })).filter(({ by }) => by.condition === "seen");
  $("own").replaceChildren(...seen.map(({ by, place }) => make("option", { value: place }, label(by))));
  $("own").value = state.own;
  $("own").parentElement.hidden = seen.length < 2;
  $("against").replaceChildren(...now.by.map((by, place) => place === state.own ? null : make("option", { value: place }, label(by))).filter(Boolean));
  $("against").value = state.against;
  $("against").parentElement.hidden = now.by.length < 2;
  $("words").value = state.words;
  const named = { better: mine(), worse: now.by[state.against] };
  for (const [flag, by] of Object.entries(named)) if (by) $(`flag-${flag}`).firstChild.data = `only ${label(by)} right `;
  const unlike = now.by.filter((by) => !by.asked_alike).map(label);
  $("unlike").textContent = unlike.length ? `Asked in other words than this run: ${unlike.join(", ")}.` : "";
}

function byKind() {
  const against = now.by[state.against], own = mine();
  $("kinds").hidden = now.kinds.length < 2;
  if (now.kinds.length < 2 || !$("kinds").open) return;
  const places = now.kinds.map(() => []);
  for (const place of shown) for (const kind of now.kind[place]) places[kind].push(place);
  const rows = now.kinds.map((kind, number) => ({ kind, places: places[number] })).filter((row) => row.places.length)
    .map((row) => ({ ...row, here: mean(own, row.places), there: against ? mean(against, row.places) : null }))
    .map((row) => ({ ...row, gap: row.here !== null && row.there !== null ? row.there - row.here : null }));
  const weight = ({ gap, places }) => OTHERS ? Math.abs(gap ?? 0) * places.length : places.length; // beside another run, what moved most comes first
  rows.sort((a, b) => weight(b) - weight(a) || b.places.length - a.places.length);
  const head = ["kind", "questions", label(own), ...(against ? [label(against), "second \u2212 first"] : [])];
  $("kinds-table").replaceChildren(
    make("thead", {}, make("tr", {}, ...head.map((text, place) => make("th", { class: place ? "n" : "", scope: "col" }, text)))),
    make("tbody", {}, ...rows.map(({ kind, places, here, there, gap }) => {
      return make("tr", {}, make("td", {}, make("button", { class: "link", onclick: () => set({ kind }) }, kind)),
        make("td", { class: "n" }, places.length.toLocaleString("en")), make("td", { class: "n" }, percent(here)),
        ...(against ? [make("td", { class: "n" }, percent(there)), make("td", { class: "n" }, gap === null ? "" : (gap > 0 ? "+" : gap < 0 ? "−" : "") + Math.abs(gap).toFixed(1))] : []));
    })));
}

const drawn = new Map();

function draw() {
  const list = $("list"), first = Math.max(0, Math.floor(list.scrollTop / ROW) - SPARE);
  const last = Math.min(shown.length, Math.ceil((list.scrollTop + list.clientHeight) / ROW) + SPARE);
  for (const [row, node] of drawn) if (row < first || row >= last) { node.remove(); drawn.delete(row); }
  for (let row = first; row < last; row++) if (!drawn.has(row)) { const node = line(row); drawn.set(row, node); $("space").append(node); }
  drawn.forEach((node, row) => node.setAttribute("aria-selected", row === state.at));
  list.setAttribute("aria-activedescendant", drawn.has(state.at) ? `row-${state.at}` : "");
}

function mark(by, place) {
  const right = is(by, place), score = by.scores[place];
  if (right === null || right === undefined) return null;
  const part = score > 0 && score < 1 ? ` ${score.toFixed(2)}` : "";
  return make("span", { class: right ? "right" : "wrong" }, right ? `✓${part}` : `✗${part}`, make("span", { class: "hidden" }, right ? " right" : " wrong"));
}

function line(row) {
  const place = shown[row], own = mine(), against = now.by[state.against], file = now.files[now.pictures[place][0]];
  return make("div", { class: "row", id: `row-${row}`, role: "option", "aria-selected": row === state.at, "aria-setsize": shown.length, "aria-posinset": row + 1, style: `top:${row * ROW}px`, onclick: () => { go(row); read(); } },
    file ? make("img", { src: `pictures/${file}`, alt: "", loading: "lazy", decoding: "async" }) : make("i", {}),
    make("span", { class: "what" }, make("span", { class: "asked" }, now.texts[place] || String(now.ids[place])),
      make("span", { class: "said" }, own.answers[place] || "nothing", " ", mark(own, place), against && against.answers[place] != null ? make("span", { class: "pm" }, `  ${label(against)}: ${against.answers[place] || "nothing"} `, mark(against, place)) : null, is(own, place) === false && now.gold[place] ? make("span", { class: "pm" }, `  expected ${now.gold[place]}`) : null)));
}

function read() { // where the page is narrow, one question is a page of its own: the browser's Back leaves it
  if (!matchMedia("(max-width: 52rem)").matches) return;
  if (!document.body.classList.contains("reading")) history.pushState(null, "", location.hash);
  document.body.classList.add("reading");
}

function leave() {
  document.body.classList.remove("reading");
  history.back();
}

function go(row, focus = false) {
  if (!shown.length) return;
  state.at = Math.max(0, Math.min(shown.length - 1, row));
  const list = $("list"), top = state.at * ROW;
  if (top < list.scrollTop) list.scrollTop = top;
  if (top + ROW > list.scrollTop + list.clientHeight) list.scrollTop = top + ROW - list.clientHeight;
  draw();
  detail();
  remember();
  if (focus) list.focus();
}

function picture(number, place) {
  const file = now.files[number], name = now.names[number];
  if (!file) return make("p", { class: "none" }, `${name} is not on this disk`);
  return make("figure", {}, make("img", { src: `pictures/${file}`, alt: `The picture of question ${now.ids[place]}` }), make("figcaption", { class: "mono" }, name));
}

function why(place) { // the command that asks for the records behind this answer
  const quoted = (word) => /^[\w.-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
  const command = `tinyllava why ${quoted(mine().id)} --benchmark ${quoted(state.benchmark)} --question ${quoted(String(now.ids[place]))}`;
  const copy = make("button", { class: "kind", onclick: () => navigator.clipboard?.writeText(command).then(() => { copy.textContent = "copied"; }) }, "copy");
  return make("details", { id: "why" }, make("summary", {}, "which training records pull for and against this answer?"),
    make("p", { class: "about" }, make("code", {}, command), copy), make("p", { class: "note" }, "It needs the run's store of gradients, made once: ", make("code", {}, `tinyllava attribute ${quoted(mine().id)}`)));
}

function detail() {
  const place = shown[state.at];
  if (place === undefined) return $("detail").replaceChildren(make("p", { class: "none" }, "No question is left by these filters."));
  const kinds = now.kind[place].map((kind) => make("button", { class: "kind", onclick: () => set({ kind: now.kinds[kind] }) }, now.kinds[kind]));
  const rows = now.by.map((by, number) => by.answers[place] == null ? null : make("tr", { class: number === state.own ? "own" : "" }, make("th", { scope: "row" }, label(by)),
    make("td", {}, by.answers[place] || make("span", { class: "pm" }, "nothing"), by.parsed[place] && !same(by.parsed[place], by.answers[place]) ? make("span", { class: "pm" }, ` read as ${by.parsed[place]}`) : null, by.unparsed[place] ? make("span", { class: "pm" }, " not understood") : null),
    make("td", { class: "n" }, mark(by, place))));
  $("detail").replaceChildren(
    make("div", { class: "steps" }, make("button", { id: "back", onclick: leave }, "← all questions"),
      make("span", { class: "pm" }, `${(state.at + 1).toLocaleString("en")} of ${shown.length.toLocaleString("en")}`),
      make("button", { onclick: () => go(state.at - 1), disabled: state.at === 0, "aria-label": "previous question" }, "↑"), make("button", { onclick: () => go(state.at + 1), disabled: state.at + 1 >= shown.length, "aria-label": "next question" }, "↓")),
    make("div", { class: `pictures${now.pictures[place].length > 1 ? " several" : ""}` }, ...now.pictures[place].map((number) => picture(number, place))),
    make("p", { class: "question" }, now.texts[place]),
    make("table", {}, make("tbody", {}, now.gold[place] ? make("tr", { class: "gold" }, make("th", { scope: "row" }, "expected"), make("td", { colspan: 2 }, now.gold[place])) : null, ...rows)),
    make("p", { class: "about" }, make("span", { class: "mono" }, `${state.benchmark} ${now.ids[place]}`), ...kinds, now.trained[place] ? make("span", { class: "warned" }, "a training mix has this picture, or one that looks the same") : null),
    why(place));
  $("detail").scrollTop = 0;
}

function set(change) {
  Object.assign(state, change);
  if (change.kind !== undefined) $("kind").value = change.kind;
  if (change.words !== undefined) $("words").value = change.words;
  if (change.own !== undefined || change.against !== undefined) { beside(); describe(); }
  refresh(true);
}

function toggle(flag) {
  if ($(`flag-${flag}`).hidden) return;
  if (state.flags.has(flag)) state.flags.delete(flag);
  else {
    (EXCLUDE[flag] ?? []).forEach((other) => state.flags.delete(other));
    state.flags.add(flag);
  }
  refresh(true);
}

function remember() { // the address says what is shown: a link to it shows the same
  const told = new URLSearchParams({ b: state.benchmark });
  if (state.flags.size) told.set("only", [...state.flags].join(" "));
  if (state.kind) told.set("kind", state.kind);
  if (state.words) told.set("words", state.words);
  if (state.own) told.set("of", mine().run);
  if (state.against >= 0) told.set(...(now.by[state.against].condition === "seen" ? ["with", now.by[state.against].run] : ["against", state.against]));
  if (state.at) told.set("at", now.ids[shown[state.at]]);
  history.replaceState(null, "", `#${told}`);
}

function recall() {
  const told = new URLSearchParams(location.hash.slice(1)), name = told.get("b");
  state.flags = new Set((told.get("only") ?? "").split(" ").filter((flag) => FLAGS.includes(flag)));
  Object.assign(state, { own: 0, kind: told.get("kind") ?? "", words: told.get("words") ?? "", against: Number(told.get("against") ?? -1) });
  const at = told.get("at"), of = told.get("of"), other = told.get("with");
  choose(BENCHMARKS.some((one) => one.name === name) ? name : state.benchmark);
  const place = (run) => now.by.findIndex((by) => by.run === run && by.condition === "seen");
  if (of !== null) load(state.benchmark, () => { if (place(of) >= 0) set({ own: place(of) }); });
  if (other !== null) load(state.benchmark, () => { if (place(other) >= 0 && place(other) !== state.own) set({ against: place(other) }); if (OTHERS) $("kinds").open = true; });
  load(state.benchmark, () => { if (at !== null) { const row = shown.findIndex((place) => String(now.ids[place]) === at); if (row >= 0) go(row); } });
}

function keys(event) {
  const typing = ["INPUT", "SELECT"].includes(event.target.tagName);
  if (event.key === "Escape") { if (document.body.classList.contains("reading")) leave(); else { state.flags.clear(); set({ kind: "", words: "" }); } return $("list").focus(); }
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  const page = Math.floor($("list").clientHeight / ROW) - 1;
  const steps = { ArrowDown: 1, j: 1, ArrowUp: -1, k: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
  const flags = { w: "wrong", r: "right", b: "guessed", p: "seen", d: "other" };
  if (event.key in steps) go(Math.max(0, Math.min(shown.length - 1, state.at + steps[event.key])), true);
  else if (event.key === "/") $("words").focus();
  else if (event.key in flags) toggle(flags[event.key]);
  else return;
  event.preventDefault();
}

$("list").addEventListener("scroll", draw, { passive: true });
window.addEventListener("resize", draw);
window.addEventListener("popstate", () => document.body.classList.remove("reading"));
window.addEventListener("hashchange", recall);
document.addEventListener("keydown", keys);
document.querySelectorAll("#benchmarks button").forEach((button) => button.addEventListener("click", () => choose(button.value)));
FLAGS.forEach((flag) => $(`flag-${flag}`).addEventListener("click", () => toggle(flag)));
$("kind").addEventListener("change", () => set({ kind: $("kind").value }));
$("own").addEventListener("change", () => set({ own: Number($("own").value) }));
$("against").addEventListener("change", () => set({ against: Number($("against").value) }));
$("words").addEventListener("input", () => set({ words: $("words").value }));
$("kinds").addEventListener("toggle", byKind);
window.addEventListener("beforeprint", () => {
  const rows = shown.slice(0, PRINTED).map((place) => make("tr", {}, make("td", {}, now.texts[place]), make("td", {}, now.gold[place]), make("td", {}, mine().answers[place] ?? "", " ", mark(mine(), place))));
  $("printed").replaceChildren(make("table", {}, make("thead", {}, make("tr", {}, make("th", {}, "question"), make("th", {}, "expected"), make("th", {}, "answered"))), make("tbody", {}, ...rows)), shown.length > PRINTED ? make("p", {}, `The first ${PRINTED} of ${shown.length}.`) : "");
});
if (BENCHMARKS.length) recall();
