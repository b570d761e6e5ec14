"use strict";
(() => {
  const root = document.documentElement;
  root.classList.add("js");
  const data = JSON.parse(document.getElementById("shots").textContent);
  const card = document.getElementById("card");
  const shots = [...document.querySelectorAll(".shot")];
  const byIndex = new Map(shots.map((el) => [Number(el.dataset.k), el]));
  const SVG = "http://www.w3.org/2000/svg";

  const make = (name, text, css) => {
    const el = document.createElement(name);
    if (text) el.textContent = text;
    if (css) el.className = css;
    return el;
  };

  /* The reference's sample of the same prompt and seed, if it is on the page. */
  const twins = new Map();
  data.shots.forEach((s, k) => {
    const name = s[0] + "/" + s[1] + "/" + s[2];
    if (!twins.has(name)) twins.set(name, k);
  });
  const twinOf = (k) => {
    const [cell, prompt, seed] = data.shots[k];
    return cell === data.reference ? undefined : twins.get(data.reference + "/" + prompt + "/" + seed);
  };

  const frame = (k) => {
    const [cell, , , width, height, boxes] = data.shots[k];
    const img = byIndex.get(k).querySelector("img");
    const figure = make("figure");
    const holder = make("div", "", "frame");
    if (img) {
      const copy = img.cloneNode();
      copy.alt = "";
      holder.append(copy);
      const svg = document.createElementNS(SVG, "svg");
      svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
      for (const [x0, y0, x1, y1] of boxes)
        for (const css of ["under", ""]) {
          const rect = document.createElementNS(SVG, "rect");
          Object.entries({ x: x0, y: y0, width: Math.max(x1 - x0, 0), height: Math.max(y1 - y0, 0), class: css })
            .forEach(([name, value]) => rect.setAttribute(name, value));
          svg.append(rect);
        }
      holder.append(svg);
    } else holder.append(make("span", "no image", "hole"));
    const [label, steps] = data.cells[cell];
    const caption = make("figcaption");
    caption.append(make("bdi", label), ` at ${steps} step${steps === 1 ? "" : "s"}`);
    figure.append(holder, caption);
    return figure;
  };

  const found = (k) => data.shots[k][5].map(([, , , , score, name]) => name + (score === null ? "" : ` ${score}`)).join(", ");

  const show = (el) => {
    const k = Number(el.dataset.k);
    const [, prompt, seed, , , , key] = data.shots[k];
    const pair = make("div", "", "pair");
    pair.append(frame(k));
    const twin = twinOf(k);
    if (twin !== undefined) pair.append(frame(twin));
    const line = (text, css) => { const p = make("p", "", css); p.append(make("bdi", text)); return p; };
    card.replaceChildren(pair, line(data.prompts[prompt], "prompt"), line(el.dataset.why));
    const seen = found(k);
    if (seen) card.append(line("Found: " + seen));
    card.append(make("small", `seed ${seed + 1}` + (key ? ` · sample ${key}` : "")));
    card.hidden = false;
    const at = el.getBoundingClientRect();
    const { offsetWidth: w, offsetHeight: h } = card;
    const left = Math.min(Math.max(at.left + at.width / 2 - w / 2, 8), innerWidth - w - 8);
    const below = at.bottom + 10;
    const top = below + h < innerHeight ? below : at.top - h - 10;
    card.style.left = `${Math.max(left, 8)}px`;
    card.style.top = `${Math.max(top, 8)}px`;
  };
  const hide = () => { card.hidden = true; };

  /* One stop of the tab key per group of samples; the arrows move inside it. */
  const groups = [...document.querySelectorAll("table.grid,.spread,.strip")];
  const visibleShots = (group) => [...group.querySelectorAll(".shot")].filter((el) => el.offsetParent);
  const arm = () => groups.forEach((group) => {
    const all = visibleShots(group);
    group.querySelectorAll(".shot").forEach((el) => { el.tabIndex = -1; });
    if (all.length) all[0].tabIndex = 0;
  });
  shots.forEach((el) => {
    el.dataset.why = el.title;
    el.setAttribute("role", "button");
    el.setAttribute("aria-label", el.title);
    el.setAttribute("aria-describedby", "card");
    el.removeAttribute("title");
  });
  const move = (el, key) => {
    const group = el.closest("table.grid,.spread,.strip");
    const all = visibleShots(group);
    const row = el.closest("tr");
    const width = row ? visibleShots(row).length : all.length;
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: width, ArrowUp: -width }[key];
    const next = all[all.indexOf(el) + step];
    if (!next) return;
    el.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
    next.scrollIntoView({ block: "nearest", inline: "nearest" });
  };
  const shotOf = (event) => event.target.closest && event.target.closest(".shot");
  document.addEventListener("mouseover", (event) => { const el = shotOf(event); if (el) show(el); else hide(); });
  document.addEventListener("focusin", (event) => { const el = shotOf(event); if (el) show(el); else hide(); });
  document.addEventListener("click", (event) => { const el = shotOf(event); if (el) { el.focus(); show(el); } else hide(); });
  document.addEventListener("scroll", () => {
    if (card.hidden) return;
    const el = document.activeElement;
    if (el && el.classList.contains("shot")) show(el); else hide();
  }, { passive: true, capture: true });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") hide();
    const el = shotOf(event);
    if (!el) return;
    if (event.key.startsWith("Arrow")) { event.preventDefault(); move(el, event.key); }
    if (event.key === "Enter" || event.key === " ") { event.preventDefault(); show(el); }
  });

  /* Filters of the sample grid. */
  const form = document.getElementById("controls");
  if (form) {
    const tables = [...document.querySelectorAll("#samples table.grid")];
    const rows = tables.flatMap((table) => [...table.tBodies[0].rows]);
    const more = document.getElementById("more");
    const referenceSteps = data.reference < 0 ? null : data.cells[data.reference][1];
    const model = (el) => data.cells[data.shots[Number(el.dataset.k)][0]][0];
    const inSteps = (el) => !form.s.value || el.closest("td").dataset.s === form.s.value;
    const wrong = (row) => [...row.querySelectorAll(".shot.wrong")].filter(inSteps);
    const lost = (row) => {
      const first = row.querySelector(".shot");
      return first.classList.contains("right") && wrong(row).some((el) => model(el) !== model(first));
    };
    const keep = (row) => {
      const wanted = form.outcome.value;
      const text = row.cells[0].textContent.toLowerCase();
      return text.includes(form.find.value.trim().toLowerCase())
        && (!form.task.value || row.dataset.task === form.task.value)
        && (wanted !== "lost" || lost(row))
        && (wanted !== "wrong" || wrong(row).length > 0);
    };
    const filter = () => {
      rows.forEach((row) => { row.hidden = !keep(row); });
      const left = rows.filter((row) => !row.hidden).length;
      const active = form.find.value || form.task.value || form.outcome.value;
      document.getElementById("shown").textContent = active ? `${left} of ${rows.length} prompts` : "";
      if (more && active) more.open = true;
      arm();
    };
    const heads = new Map(tables.map((table) => [table, [...table.tHead.rows[0].cells].slice(1)]));
    const steps = () => {
      const wanted = form.s.value;
      tables.forEach((table) => {
        table.classList.toggle("one", wanted !== "");
        const columns = [...table.tHead.rows[1].cells];
        const off = columns.map((cell, i) => wanted !== "" && cell.dataset.s !== wanted && !(i === 0 && referenceSteps !== null));
        [table.tHead.rows[1], ...table.tBodies[0].rows].forEach((row, r) =>
          off.forEach((hidden, i) => { row.cells[i + (r ? 1 : 0)].hidden = hidden; }));
        let start = 0;
        heads.get(table).forEach((head) => {
          head.dataset.n = head.dataset.n || head.colSpan;
          const n = Number(head.dataset.n);
          const left = off.slice(start, start + n).filter((hidden) => !hidden).length;
          head.hidden = left === 0;
          head.colSpan = Math.max(left, 1);
          start += n;
        });
      });
      filter();
    };
    form.addEventListener("input", (event) => (event.target.name === "s" ? steps() : filter()));
    form.addEventListener("submit", (event) => event.preventDefault());
    if (more) more.addEventListener("toggle", arm);
  }
  arm();
})();
