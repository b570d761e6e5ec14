/* Which rows are wanted, in which order, and the table of them. */
const PER_PAGE = 24;
const filters = $("filters");
let list = [];
let shownRows = PER_PAGE;

/* Columns that the view asks for, without the reference; the reference itself if it asks for nothing else. */
const asked = () => {
  const fits = (c) => (!view.model || c.model === view.model) && (!view.sampler || c.sampler === view.sampler)
    && (!view.steps || c.steps === Number(view.steps));
  const found = [...data.columns.keys()].filter((i) => fits(data.columns[i]));
  const others = found.filter((i) => i !== data.reference);
  return others.length ? others : found;
};
const columnsShown = () => {
  const wanted = asked();
  return data.reference < 0 || wanted.includes(data.reference) ? wanted : [data.reference, ...wanted];
};

const mean = (row, wanted) => {
  const own = wanted.map((i) => scoreOf(row.at[i])).filter((v) => v !== null);
  return own.length ? own.reduce((a, b) => a + b, 0) / own.length : null;
};

const behind = (row, wanted) => {
  const [teacher, own] = [scoreOf(row.at[data.reference]), mean(row, wanted)];
  return teacher === null || own === null ? null : (data.higher ? 1 : -1) * (teacher - own);
};

const isLost = (row, wanted) => {
  const teacher = row.at[data.reference];
  if (teacher === undefined) return false;
  return wanted.some((i) => {
    const k = row.at[i];
    if (k === undefined || i === data.reference) return false;
    if (stateOf(teacher) !== "scored") return stateOf(teacher) === "right" && stateOf(k) === "wrong";
    return scoreOf(k) !== null && (data.higher ? scoreOf(k) < scoreOf(teacher) : scoreOf(k) > scoreOf(teacher));
  });
};

const keeps = (row, wanted) => {
  const there = wanted.map((i) => row.at[i]).filter((k) => k !== undefined);
  const [low, high] = (view.score || "..").split("..");
  return (!view.find || row.text.toLowerCase().includes(view.find.trim().toLowerCase()))
    && (view.task === undefined || data.tasks[row.task][0] === view.task)
    && (!view.outcome || (view.outcome === "lost" ? isLost(row, wanted) : there.some((k) => stateOf(k) === view.outcome)))
    && (!view.score || there.some((k) => scoreOf(k) !== null && (low === "" || scoreOf(k) >= Number(low)) && (high === "" || scoreOf(k) <= Number(high))));
};

const choose = () => {
  const wanted = asked();
  list = rows.filter((row) => keeps(row, wanted));
  const by = { worst: (row) => -(behind(row, wanted) ?? -Infinity), low: (row) => mean(row, wanted) ?? Infinity, high: (row) => -(mean(row, wanted) ?? -Infinity) }[view.sort];
  if (by) {
    const rank = new Map(list.map((row) => [row, by(row)]));
    list.sort((a, b) => (rank.get(a) === rank.get(b) ? 0 : rank.get(a) - rank.get(b)));
  } else if (view.sort === "az") list.sort((a, b) => a.text.localeCompare(b.text));
  $("shown").textContent = `${list.length} of ${rows.length} rows`;
};

const link = (row, i) => {
  const k = row.at[i];
  const el = make("a", "", `shot ${k === undefined ? "missing" : stateOf(k)}`);
  const one = view.mode === "one" ? { model: data.columns[i].model, sampler: data.columns[i].sampler, steps: data.columns[i].steps } : {};
  el.href = addressOf({ ...view, ...one, prompt: row.id, seed: row.seed, frame: undefined });
  const said = k === undefined ? "not sampled" : saidOf(k);
  el.title = `${columnText(data.columns[i])}: ${said}`;
  el.setAttribute("aria-label", el.title);
  el.tabIndex = -1;
  el.append(k === undefined ? hole("–") : still(k));
  const mark = k === undefined ? "" : MARKS[stateOf(k)];
  if (mark) {
    const b = make("b", mark, "verdict-mark");
    b.setAttribute("aria-hidden", "true");
    el.append(b);
  }
  return el;
};

const headOf = (columns) => {
  const head = make("thead");
  const top = head.insertRow();
  const low = head.insertRow();
  const th = (row, css) => { const el = make("th", "", css); row.append(el); return el; };
  Object.assign(th(top), { textContent: "Prompt", rowSpan: 2, scope: "col" });
  let last;
  columns.forEach((i) => {
    const { label, css, steps } = data.columns[i];
    if (!last || last.label !== label) {
      last = th(top, "head");
      Object.assign(last, { scope: "colgroup", colSpan: 0, label });
      last.append(make("span", "", `dot ${css}`), make("bdi", label));
    }
    last.colSpan = (last.span = (last.span || 0) + 1);
    const cell = th(low, last.span === 1 ? "first" : "");
    cell.scope = "col";
    cell.append(String(steps), make("span", steps === 1 ? " step" : " steps", "hidden"));
  });
  return head;
};

const rowElement = (row, columns) => {
  const tr = make("tr");
  tr.dataset.row = row.name;
  const th = make("th");
  th.scope = "row";
  th.append(make("bdi", row.text.length > 240 ? row.text.slice(0, 240) + "…" : row.text), make("small", `${data.tasks[row.task][1]} · seed ${row.seed + 1}`));
  tr.append(th);
  columns.forEach((i, n) => {
    const before = columns[n - 1];
    const td = make("td", "", n && data.columns[before].label !== data.columns[i].label ? "first" : "");
    td.append(link(row, i));
    tr.append(td);
  });
  tr.querySelector("a").tabIndex = 0;
  return tr;
};

let drawn;
const drawTable = () => {
  const wanted = addressOf({ ...view, prompt: "", seed: "", frame: "" }) + shownRows;
  if (wanted === drawn) return;
  drawn = wanted;
  const columns = columnsShown();
  const table = make("table", "", `grid${columns.length <= 5 ? " few" : ""}`);
  table.append(make("caption", "Samples by prompt and seed, model and steps", "hidden"), headOf(columns));
  const body = table.createTBody();
  body.append(...list.slice(0, shownRows).map((row) => rowElement(row, columns)));
  const scroll = make("div", "", "scroll");
  Object.entries({ role: "region", "aria-label": "Samples by prompt and seed", tabindex: "0" }).forEach(([k, v]) => scroll.setAttribute(k, v));
  scroll.append(table);
  const more = make("button", `Show ${Math.min(PER_PAGE, list.length - shownRows)} more of ${list.length - shownRows}`);
  more.id = "more-rows";
  more.type = "button";
  more.hidden = list.length <= shownRows;
  more.onclick = () => {
    const first = shownRows;
    shownRows += PER_PAGE;
    drawTable();
    $("table").querySelectorAll("tbody tr")[first].querySelector("a").focus();
  };
  const parts = list.length ? [scroll, more] : [make("p", "No row fits these filters.", "empty")];
  $("table").replaceChildren(...parts);
};

/* The arrows move between samples; one stop of the tab key for each row, strip or group. */
const move = (el, key) => {
  const group = el.closest("table,.four,.row");
  const all = [...group.querySelectorAll(".shot")].filter((each) => each.offsetParent);
  const own = el.closest("tr");
  const width = own ? own.querySelectorAll(".shot").length : all.length;
  const next = all[all.indexOf(el) + { ArrowRight: 1, ArrowLeft: -1, ArrowDown: width, ArrowUp: -width }[key]];
  if (!next) return;
  next.focus();
  next.scrollIntoView({ block: "nearest", inline: "nearest" });
};
