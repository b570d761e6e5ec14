/* The viewer: one row of the table at large, its controls and keys. */
const stage = $("stage");
const viewForm = $("view");
const allSteps = [...new Set(data.columns.map((c) => c.steps))].sort((a, b) => a - b);
const lines = [...new Map(data.columns.map((c) => [JSON.stringify([c.model, c.sampler]), c])).values()];
let current;
let visible = false;

const stageColumns = () => (view.mode === "one" ? asked().slice(0, 1) : columnsShown());
const lineAsked = () => lines.find((c) => c.model === view.model && (!view.sampler || c.sampler === view.sampler));

const media = new WeakMap();
/* Puts a sample into a place of the viewer; what shows the same sample already is left alone. */
const put = (holder, place, k, css) => {
  const old = holder.children[place];
  if (old && media.get(old) === k) return old;
  const el = k === undefined ? hole("not sampled") : large(k);
  if (old && old.tagName === "IMG" && el.tagName === "IMG") {
    old.onload = el.onload;
    old.onerror = el.onerror;
    old.setAttribute("src", el.getAttribute("src"));
    media.set(old, k);
    return old;
  }
  el.classList.toggle("over", css === "over");
  if (old && old.tagName === "VIDEO") { old.onerror = null; old.removeAttribute("src"); old.load(); }
  if (old) old.replaceWith(el); else holder.append(el);
  media.set(el, k);
  return el;
};

const caption = (i, k) => {
  const el = make("figcaption");
  if (k !== undefined && MARKS[stateOf(k)]) {
    const mark = make("b", MARKS[stateOf(k)], `key-mark ${stateOf(k)}`);
    mark.setAttribute("aria-hidden", "true");
    el.append(mark, " ");
  }
  el.append(make("span", "", `dot ${data.columns[i].css}`), make("bdi", data.columns[i].label), ` at ${stepsText(data.columns[i].steps)}`);
  if (k === undefined) return el;
  const shot = data.samples[k];
  el.append(make("small", saidOf(k), "why"));
  const found = (shot[BOXES] || []).map(([, , , , score, name]) => named(name, score)).join(", ");
  const more = shot[MORE] ? `${shot[MORE]}${found ? " more" : ""} too doubtful to count` : "";
  if (found || more) el.append(make("small", `found: ${[found, more].filter(Boolean).join("; ")}`));
  if (shot[KEY]) el.append(make("small", `sample ${shot[KEY]}`, "key"));
  return el;
};

const sizeOf = (el, k) => {
  const shot = data.samples[k];
  if (shot[WIDTH] && shot[HEIGHT]) return [shot[WIDTH], shot[HEIGHT]];
  return [el.naturalWidth || el.videoWidth || 1, el.naturalHeight || el.videoHeight || 1];
};

const drawBoxes = (figure, el, k) => {
  const frame = figure.firstChild;
  frame.querySelector("svg")?.remove();
  if (k === undefined || el.tagName === "SPAN") return;
  const [width, height] = sizeOf(el, k);
  if (width * height === 1) return;
  frame.style.aspectRatio = `${width} / ${height}`;
  if (viewForm.boxes.checked && view.mode !== "difference") frame.append(boxes(k, width, height, frame.clientWidth));
};

const drawCell = (figure, i) => {
  const k = current.at[i];
  const teacher = current.at[data.reference];
  const holder = figure.querySelector(".media");
  const el = put(holder, 0, k);
  const differs = view.mode === "difference" && i !== data.reference && k !== undefined && teacher !== undefined;
  if (differs) put(holder, 1, teacher, "over");
  else if (holder.children[1]) holder.children[1].remove();
  figure.classList.toggle("differs", differs);
  const text = caption(i, k);
  if (differs) text.append(make("small", "difference to the teacher, four times as bright; black is equal"));
  figure.lastChild.replaceWith(text);
  if (el.alt !== undefined) el.alt = columnText(data.columns[i]);
  else el.setAttribute("aria-label", columnText(data.columns[i]));
  drawBoxes(figure, el, k);
  const isFilm = el.tagName === "VIDEO";
  if (isFilm ? !el.readyState : el.tagName === "IMG" && !el.complete)
    el.addEventListener(isFilm ? "loadedmetadata" : "load", () => drawBoxes(figure, el, media.get(el)), { once: true });
};

const videosShown = () => [...$("cells").querySelectorAll("video")].map((el) => {
  const shot = data.samples[media.get(el)];
  return { el, frames: shot[FRAMES], fps: shot[FPS] };
});

const drawStage = () => {
  const columns = current ? stageColumns() : [];
  const cells = $("cells");
  while (cells.children.length > columns.length) cells.lastChild.remove();
  while (cells.children.length < columns.length) {
    const figure = make("figure");
    const frame = make("div", "", "frame");
    frame.append(make("div", "", "media"));
    figure.append(frame, make("figcaption"));
    cells.append(figure);
  }
  cells.className = columns.length === 1 ? "single" : columns.length > 5 ? "many" : "some";
  cells.dataset.n = columns.length;
  columns.forEach((i, n) => drawCell(cells.children[n], i));
  if (current && !columns.length) {
    $("notice").textContent = `${lineAsked()?.label || "No model"} was not sampled at ${stepsText(Number(view.steps))}.`;
    $("notice").hidden = false;
  }
  const all = videosShown();
  all.filter((cell) => !cell.fps).forEach(({ el }) => { el.controls = true; });
  useVideos(all.filter((cell) => cell.fps));
};

const drawWhat = () => {
  const place = list.indexOf(current);
  const what = current
    ? [make("bdi", current.text), make("small", `${data.tasks[current.task][1]} · seed ${current.seed + 1} · ${place < 0 ? "not among the rows below" : `row ${place + 1} of ${list.length}`}`)]
    : [make("span", "No row fits these filters.", "empty")];
  $("what").replaceChildren(...what);
  $("previous").disabled = place === 0 || !list.length;
  $("next").disabled = !list.length || place === list.length - 1;
  $("table").querySelectorAll("[aria-current]").forEach((tr) => tr.removeAttribute("aria-current"));
  if (current) $("table").querySelector(`[data-row="${current.name}"]`)?.setAttribute("aria-current", "true");
  const columns = current ? stageColumns() : [];
  $("say").textContent = !current ? "" : `${current.text}, seed ${current.seed + 1}: ` + columns
    .map((i) => `${columnText(data.columns[i])} ${current.at[i] === undefined ? "not sampled" : stateOf(current.at[i])}`).join("; ");
};

const drawControls = () => {
  filters.line.value = lines.indexOf(lineAsked()) < 0 ? "" : lines.indexOf(lineAsked());
  filters.find.value = view.find || "";
  filters.task.value = view.task === undefined ? "" : String(data.tasks.findIndex(([task]) => task === view.task));
  filters.outcome.value = view.outcome || "";
  filters.sort.value = view.sort || "";
  [filters.low.value, filters.high.value] = (view.score || "..").split("..");
  viewForm.mode.value = view.mode || "side";
  viewForm.steps.value = view.steps ? allSteps.indexOf(Number(view.steps)) + 1 : 0;
  const text = view.steps ? String(view.steps) : "all";
  viewForm.steps.setAttribute("aria-valuetext", text);
  $("steps-text").textContent = text;
};

const draw = () => {
  choose();
  if (view.prompt !== undefined) current = rows.find((row) => row.id === view.prompt && (view.seed === undefined || row.seed === Number(view.seed)));
  else if (!list.includes(current)) current = list.find((row) => view.seed === undefined || row.seed === Number(view.seed)) || list[0];
  drawControls();
  drawTable();
  drawStage();
  drawWhat();
};

/* Changes the view as the user wishes; undefined takes a key away. */
const change = (wanted) => {
  Object.assign(view, wanted);
  $("notice").hidden = true;
  if (!["prompt", "seed", "mode", "frame"].some((key) => key in wanted)) shownRows = PER_PAGE;
  draw();
  writeView();
};

const step = (by) => {
  const place = list.indexOf(current);
  const row = place < 0 ? list[0] : list[place + by];
  if (!row) return;
  change({ prompt: row.id, seed: String(row.seed) });
  if (place + by >= shownRows) { shownRows += PER_PAGE; draw(); }
};
const moreSteps = (by) => {
  const place = (view.steps ? allSteps.indexOf(Number(view.steps)) + 1 : 0) + by;
  if (place >= 0 && place <= allSteps.length) change({ steps: place ? String(allSteps[place - 1]) : undefined });
};
const nextModel = () => {
  const place = (Number(filters.line.value || -1) + 1) % (lines.length + 1);
  change({ model: lines[place]?.model, sampler: lines[place]?.sampler });
};
const frameAsked = async (frame) => {
  if (!clock.cells.length) return;
  await showFrame(frame);
  view.frame = String(clock.frame);
  writeView();
};

const KEY_ACTIONS = {
  j: () => step(1), k: () => step(-1),
  ArrowRight: () => moreSteps(1), ArrowLeft: () => moreSteps(-1),
  ",": () => frameAsked(clock.frame - 1), ".": () => frameAsked(clock.frame + 1),
  1: () => change({ mode: "one" }), 2: () => change({ mode: "side" }), 3: () => change({ mode: "difference" }),
  m: nextModel,
  b: () => { viewForm.boxes.checked = !viewForm.boxes.checked; drawStage(); },
  "/": () => filters.find.focus(),
  " ": playOrPause,
};
const takesKeys = (el, key) => {
  if (el.matches("select,textarea,[contenteditable]")) return true;
  if (el.matches("input")) return !["checkbox", "radio"].includes(el.type) ? el.type !== "range" || /^(Arrow| )/.test(key) : /^(Arrow| )/.test(key);
  return key === " " ? el.matches("button,summary,a") : key.startsWith("Arrow") && el.matches(".shot,.scroll");
};
const onKey = (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const shot = event.target.closest?.(".shot");
  if (shot && event.key.startsWith("Arrow")) { event.preventDefault(); move(shot, event.key); return; }
  const inside = $("viewer").contains(event.target) || $("table").contains(event.target);
  if (!$("keys").checked || !(inside || visible) || takesKeys(event.target, event.key)) return;
  const action = KEY_ACTIONS[event.key];
  if (!action || (event.key === " " && !clock.cells.length)) return;
  event.preventDefault();
  action();
};

const onFilter = () => {
  const line = lines[filters.line.value];
  change({
    find: filters.find.value || undefined,
    task: filters.task.value ? data.tasks[filters.task.value][0] : undefined,
    model: line?.model,
    sampler: line?.sampler,
    outcome: filters.outcome.value || undefined,
    sort: filters.sort.value || undefined,
    score: filters.low.value || filters.high.value ? `${filters.low.value}..${filters.high.value}` : undefined,
  });
};

const onAddress = () => {
  const lacking = readView();
  if (lacking === null) return false;
  shownRows = PER_PAGE;
  clock.frame = Number(view.frame) || 0;
  draw();
  if (lacking.length) {
    const held = data.prompts.length < data.total ? ` It holds ${data.prompts.length} of ${data.total} prompts.` : "";
    $("notice").textContent = `This link cannot be followed whole: ${lacking.join("; ")}.${held}`;
    $("notice").hidden = false;
  }
  (view.prompt ? stage : $("viewer")).scrollIntoView();
  stage.focus({ preventScroll: true });
  return true;
};

const fillChoices = () => {
  const option = (select, value, text) => { const el = make("option", text); el.value = value; select.append(el); };
  data.tasks.forEach(([, label], n) => { if (label) option(filters.task, n, label); });
  lines.forEach((c, n) => option(filters.line, n, c.label));
  viewForm.steps.max = allSteps.length;
  const states = new Set(data.samples.map((_, k) => stateOf(k)));
  const binary = states.has("right") || states.has("wrong");
  [...filters.outcome.options].forEach((el) => {
    el.hidden = el.disabled = (!binary && ["right", "wrong"].includes(el.value)) || (el.value === "lost" && data.reference < 0);
    if (el.value === "lost" && !binary) el.textContent = "below the teacher";
  });
  filters.querySelector(".range").hidden = !states.has("scored");
};

const startViewer = () => {
  fillChoices();
  $("static").remove();
  filters.addEventListener("input", onFilter);
  filters.addEventListener("submit", (event) => event.preventDefault());
  filters.addEventListener("reset", () => { KEYS.forEach((key) => { if (key !== "mode") view[key] = undefined; }); setTimeout(() => change({})); });
  viewForm.addEventListener("submit", (event) => event.preventDefault());
  viewForm.addEventListener("input", ({ target }) => {
    if (target.name === "mode") change({ mode: target.value });
    else if (target.name === "steps") change({ steps: Number(target.value) ? String(allSteps[target.value - 1]) : undefined });
    else drawStage();
  });
  $("previous").onclick = () => step(-1);
  $("next").onclick = () => step(1);
  $("play").onclick = playOrPause;
  $("back").onclick = () => frameAsked(clock.frame - 1);
  $("forth").onclick = () => frameAsked(clock.frame + 1);
  $("frame").addEventListener("input", ({ target }) => frameAsked(Number(target.value)));
  $("table").addEventListener("click", (event) => {
    const shot = event.target.closest(".shot");
    if (!shot || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    history.replaceState(null, "", shot.getAttribute("href"));
    onAddress();
  });
  document.querySelectorAll(".four,.strip .row").forEach((group) => [...group.querySelectorAll(".shot")].slice(1).forEach((el) => { el.tabIndex = -1; }));
  document.addEventListener("keydown", onKey);
  new IntersectionObserver((seen) => { visible = seen[seen.length - 1].isIntersecting; }).observe(stage);
  new ResizeObserver(() => { if (current) [...$("cells").children].forEach((figure, n) => drawBoxes(figure, figure.querySelector(".media").firstChild, current.at[stageColumns()[n]])); }).observe($("cells"));
  addEventListener("hashchange", onAddress);
  if (!onAddress()) draw();
};

const root = document.documentElement;
root.classList.add("js");
if ($("viewer")) startViewer();
root.dataset.ready = Math.round(performance.now());
