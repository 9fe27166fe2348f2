// The trace browser. Everything that a model wrote reaches the page as text nodes; no markup is ever made from it.
"use strict";
(() => {
  const source = document.getElementById("trace-data");
  if (!source) return;
  const data = JSON.parse(source.textContent);
  const get = (id) => document.getElementById(id);
  const traces = data.traces, problems = data.problems;
  const PAGE = 100, DIFF_WORDS = 1400;
  const byId = new Map(), ofProblem = new Map(), children = new Map();
  const push = (map, key, value) => (map.has(key) ? map.get(key).push(value) : map.set(key, [value]));
  traces.forEach((one, place) => {
    one.place = place;
    if (!byId.has(one.id)) byId.set(one.id, one);
    push(ofProblem, one.problem, one);
    if (one.parent) push(children, one.parent, one);
  });
  // Traces of one problem stand together in the list.
  const rank = new Map([...ofProblem.keys()].map((problem, place) => [problem, place]));
  const sorted = [...traces].sort((a, b) => rank.get(a.problem) - rank.get(b.problem) || (a.in < b.in ? -1 : a.in > b.in ? 1 : a.sample - b.sample));
  const levelOf = (one) => problems[one.problem].level;
  const say = (word) => String(word).replaceAll("_", " ");

  function node(tag, attributes = {}, ...inside) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
      else if (value !== false && value != null) made.setAttribute(name, value);
    }
    made.append(...inside.flat(Infinity).filter((part) => part != null && part !== ""));
    return made;
  }

  // Filters -----------------------------------------------------------------------------------------------------------
  const FILTERS = { in: (t) => t.in, paradigm: (t) => t.paradigm, level: levelOf, outcome: (t) => t.outcome };
  const order = (a, b) => (isNaN(a) - isNaN(b)) || (isNaN(a) ? (a < b ? -1 : a > b ? 1 : 0) : a - b);
  for (const [name, read] of Object.entries(FILTERS)) {
    const counts = new Map();
    traces.forEach((one) => counts.set(read(one), (counts.get(read(one)) || 0) + 1));
    const values = name === "in" ? [...counts.keys()] .sort() : [...counts.keys()].sort(order);
    get(`filter-${name}`).append(...values.map((value) => node("option", { value }, `${say(value)} (${counts.get(value)})`)));
    get(`filter-${name}`).addEventListener("input", () => list(true));
  }
  get("filter-said").addEventListener("input", () => list(true));
  let waiting = 0;
  get("filter-text").addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(() => list(true), 120); });
  get("filter-reset").addEventListener("click", () => {
    for (const name of [...Object.keys(FILTERS), "said", "text"]) get(`filter-${name}`).value = "";
    list(true);
  });
  if (!data.words.length) get("filter-said").closest("label").hidden = true;

  const words = () => get("filter-text").value.toLowerCase().split(/\s+/).filter(Boolean);
  function textOf(one) {
    one.folded ??= [problems[one.problem].question, one.thinking, one.solution, one.extracted, one.id].join("\n").toLowerCase();
    return one.folded;
  }
  function found() {
    const wanted = Object.entries(FILTERS).map(([name, read]) => [get(`filter-${name}`).value, read]).filter(([value]) => value);
    const said = get("filter-said").value, text = words();
    return sorted.filter((one) =>
      wanted.every(([value, read]) => read(one) === value) &&
      (!said || (said === "yes") === Boolean(one.said)) &&
      text.every((word) => textOf(one).includes(word)));
  }

  // The list ----------------------------------------------------------------------------------------------------------
  let shown = [], length = PAGE, chosen = null, beside = null;
  function list(fresh) {
    if (fresh) length = PAGE;
    shown = found();
    get("trace-count").textContent = `${shown.length.toLocaleString("en")} of ${traces.length.toLocaleString("en")} traces match.`;
    get("trace-list").replaceChildren(...shown.slice(0, length).map(item));
    get("trace-more").hidden = shown.length <= length;
    if (fresh && !shown.includes(chosen)) choose((chosen ? null : shown.find((one) => one.parent)) || shown[0] || null);
  }
  function item(one) {
    const head = [node("span", { class: `outcome ${one.outcome}` }, say(one.outcome)), ` · ${one.in} · level ${levelOf(one)}`];
    const start = (one.solution || one.thinking || "").trim().slice(0, 80);
    const current = one === chosen ? "true" : false;
    return node("li", {}, node("button", { type: "button", "aria-current": current, onclick: () => choose(one) }, head,
      node("span", { class: "start" }, `${tokens(one)}${start}`)));
  }
  const tokens = (one) => (one.tokens == null ? "" : `${one.tokens.toLocaleString("en")} tokens · `);
  get("trace-more").addEventListener("click", () => { length += PAGE; list(false); });
  get("trace-list").addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const next = step && shown[shown.indexOf(chosen) + step];
    if (!next) return;
    event.preventDefault();
    if (shown.indexOf(next) >= length) length += PAGE;
    choose(next);
    get("trace-list").querySelector("[aria-current=true]")?.focus();
  });

  // One trace, and another beside it ----------------------------------------------------------------------------------
  function choose(one, other = null) {
    chosen = one;
    beside = other || (one && one.parent && byId.get(one.parent)) || null;
    [...get("trace-list").children].forEach((row, i) => row.firstChild.toggleAttribute("aria-current", false) ||
      (shown[i] === one && row.firstChild.setAttribute("aria-current", "true")));
    const row = get("trace-list").querySelector("[aria-current=true]"), list = get("trace-list");
    if (row && (row.offsetTop < list.scrollTop || row.offsetTop + row.offsetHeight > list.scrollTop + list.clientHeight))
      list.scrollTop = row.offsetTop - list.clientHeight / 3;
    view();
  }
  function related(one) {
    const parent = one.parent && byId.get(one.parent);
    const kin = [...(parent ? [[parent, "parent"]] : []), ...(children.get(one.id) || []).map((child) => [child, "edited from it"])];
    const seen = new Set([one, ...kin.map(([other]) => other)]);
    const same = ofProblem.get(one.problem).filter((other) => !seen.has(other)).map((other) => [other, "same problem"]);
    return [...kin, ...same];
  }
  function view() {
    const place = get("trace-view");
    if (!chosen) return place.replaceChildren(node("p", { class: "absent" }, "No trace matches; loosen a filter."));
    const problem = problems[chosen.problem];
    const facts = [`level ${problem.level}`, problem.source, problem.answer == null ? "no reference answer" : `reference answer ${problem.answer}`];
    const marks = beside ? compared(chosen, beside) : [null, null];
    place.replaceChildren(
      node("p", { class: "question" }, problem.question),
      node("p", { class: "facts" }, facts.filter(Boolean).join(" · ")),
      choice(),
      node("div", { class: beside ? "pair" : "pair alone" }, card(chosen, marks[0]), beside ? card(beside, marks[1]) : null),
      beside && marks[0] ? node("p", { class: "note" }, node("mark", { class: "gone" }, "Left out"), " and ", node("mark", { class: "new" }, "written"), " by the edit.") : "",
      data.words.length ? node("p", { class: "note" }, node("mark", { class: "banned" }, "Marked"), ` words are banned in some step of this run: ${data.words.join(", ")}.`) : "");
  }
  function choice() {
    const options = related(chosen);
    const label = ([one, how]) => `${how}: ${one.in}, sample ${one.sample}, ${say(one.outcome)}`;
    const select = node("select", { id: "trace-beside", oninput: (event) => choose(chosen, byPlace(event.target.value)) || alone(event.target.value) },
      node("option", { value: "" }, options.length ? "nothing" : "nothing (no other trace of this problem is in the sample)"),
      options.map((pair) => node("option", { value: pair[0].place, ...(pair[0] === beside ? { selected: "" } : {}) }, label(pair))));
    return node("label", { class: "beside-choice facts" }, "Read beside it", select);
  }
  const byPlace = (value) => (value === "" ? null : traces[Number(value)]);
  function alone(value) { if (value === "") { beside = null; view(); } }

  function card(one, parts) {
    return node("article", { class: "trace" },
      node("h4", {}, `${one.in}${one.paradigm === one.in ? "" : ` · ${say(one.paradigm)}`} · sample ${one.sample}`),
      node("p", { class: "facts" }, node("span", { class: `outcome ${one.outcome}` }, say(one.outcome)), ` · ${facts(one)}`),
      lineage(one),
      node("div", { class: "texts" },
        one.thinking == null ? null : text("thinking", one, parts),
        one.solution == null ? node("p", { class: "absent" }, "No solution: the thought never closed.") : text("solution", one, parts)));
  }
  function facts(one) {
    const said = Object.entries(one.said || {}).map(([word, count]) => `${word} ×${count}`).join(", ");
    const scores = Object.entries(one.scores || {}).map(([name, value]) => `${say(name)} ${value ?? "–"}`);
    return [
      one.extracted == null ? "no answer found" : `answer ${one.extracted}`, one.rule && `by ${say(one.rule)}`, one.detail,
      one.tokens != null && `${one.tokens.toLocaleString("en")} tokens`, `ended by ${say(one.finish)}`, `${one.role} ${one.model.slice(0, 12)}`,
      one.banned && `may not say ${one.banned.join(", ")}`, data.words.length > 0 && (said ? `says ${said}` : "says no banned word"), ...scores,
    ].filter(Boolean).join(" · ");
  }
  function lineage(one) {
    const parent = one.parent && byId.get(one.parent), made = children.get(one.id) || [];
    const parts = [one.edit && `Edit: ${say(one.edit)}. `, one.by && `Made by ${say(one.by)}. `];
    if (one.parent) parts.push("Parent: ", parent ? link(parent) : `${one.parent} (not in the sample)`, ". ");
    if (made.length) parts.push("Edited into: ", made.flatMap((child, i) => [i ? ", " : "", link(child)]), ". ");
    return node("p", { class: "facts" }, parts.filter(Boolean));
  }
  const link = (one) => node("button", { type: "button", onclick: () => choose(one) }, `${one.in}, sample ${one.sample}`);

  // Text with marks ---------------------------------------------------------------------------------------------------
  const escaped = (word) => word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
  const banned = data.words.length ? new RegExp(`(?<![\\p{L}\\p{N}])(?:${data.words.map(escaped).join("|")})(?![\\p{L}\\p{N}])`, "giu") : null;
  function text(kind, one, parts) {
    const runs = parts ? parts[kind] : [[one[kind].trim(), null]];
    return node("div", { class: kind }, node("i", {}, kind), node("pre", { tabindex: "0" }, (runs || []).flatMap(([words, mark]) =>
      mark ? node("mark", { class: mark }, marked(words)) : marked(words))));
  }
  function marked(raw) {
    const hits = words();
    const search = hits.length ? new RegExp(hits.map(escaped).join("|"), "giu") : null;
    return split(raw, banned, "banned").flatMap((part) => (typeof part === "string" ? split(part, search, "hit") : part));
  }
  function split(raw, pattern, mark) {
    if (!pattern) return [raw];
    const parts = [];
    let end = 0;
    for (const match of raw.matchAll(pattern)) {
      if (!match[0]) continue;
      parts.push(raw.slice(end, match.index), node("mark", { class: mark }, match[0]));
      end = match.index + match[0].length;
    }
    return [...parts, raw.slice(end)];
  }

  // What an edit left out and wrote: the longest common sequence of words ------------------------------------------------
  function compared(one, other) {
    const edit = one.parent === other.id ? [other, one] : other.parent === one.id ? [one, other] : null;
    if (!edit) return [null, null];
    const [before, after] = edit.map(pieces);
    if (before.length > DIFF_WORDS || after.length > DIFF_WORDS) return [null, null];
    common(before, after);
    const marks = new Map([[edit[0], runs(before, "gone")], [edit[1], runs(after, "new")]]);
    return [marks.get(one), marks.get(other)];
  }
  const pieces = (one) => ["thinking", "solution"].flatMap((kind) =>
    ((one[kind] || "").trim().match(/\S+\s*/g) || []).map((word) => ({ kind, word, key: word.trim(), kept: false })));
  function common(a, b) {
    const table = Array.from({ length: a.length + 1 }, () => new Uint16Array(b.length + 1));
    for (let i = a.length - 1; i >= 0; i--) for (let j = b.length - 1; j >= 0; j--)
      table[i][j] = a[i].key === b[j].key ? table[i + 1][j + 1] + 1 : Math.max(table[i + 1][j], table[i][j + 1]);
    for (let i = 0, j = 0; i < a.length && j < b.length;) {
      if (a[i].key === b[j].key) { a[i++].kept = b[j++].kept = true; }
      else if (table[i + 1][j] >= table[i][j + 1]) i++;
      else j++;
    }
  }
  function runs(parts, mark) {
    const made = { thinking: [], solution: [] };
    for (const part of parts) {
      const into = made[part.kind], how = part.kept ? null : mark, last = into[into.length - 1];
      if (last && last[1] === how) last[0] += part.word;
      else into.push([part.word, how]);
    }
    return made;
  }

  // Printing opens what is folded ----------------------------------------------------------------------------------------
  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((one) => { one.dataset.was = one.open; one.open = true; }));
  addEventListener("afterprint", () => document.querySelectorAll("details").forEach((one) => { one.open = one.dataset.was === "true"; }));
  list(true);
  get("browser").dataset.ready = "yes";
})();
