/* What is looked at: read from the part of the address after "#", and written back to it. */
const data = JSON.parse(document.getElementById("shots").textContent);
const KEYS = ["model", "sampler", "steps", "task", "outcome", "find", "sort", "prompt", "seed", "mode", "frame", "score"];
const view = {};
const $ = (id) => document.getElementById(id);

const make = (name, text, css) => {
  const el = document.createElement(name);
  if (text) el.textContent = text;
  if (css) el.className = css;
  return el;
};

const addressOf = (wanted) => "#" + KEYS.filter((key) => wanted[key] !== undefined && wanted[key] !== "")
  .map((key) => `${key}=${encodeURIComponent(wanted[key])}`).join("&");

/* Returns what in the address this page does not have, in words; null if the address names no view. */
const readView = () => {
  if (!location.hash.includes("=")) return null;
  const given = new URLSearchParams(location.hash.slice(1));
  KEYS.forEach((key) => { delete view[key]; });
  const lacking = [];
  const choices = {
    model: new Set(data.columns.map((c) => c.model)),
    sampler: new Set(data.columns.map((c) => c.sampler)),
    steps: new Set(data.columns.map((c) => String(c.steps))),
    task: new Set(data.tasks.map(([task]) => task)),
    outcome: new Set(["right", "wrong", "lost"]),
    sort: new Set(["worst", "low", "high", "az"]),
    prompt: new Set(data.prompts.map(([id]) => id)),
    mode: new Set(["one", "side", "difference"]),
  };
  for (const [key, value] of given) {
    if (!KEYS.includes(key)) lacking.push(`no view is named ${key}`);
    else if (!value) continue;
    else if (choices[key] && !choices[key].has(value)) lacking.push(`${key} ${value.slice(0, 80)} is not among the samples that this page holds`);
    else view[key] = value;
  }
  return lacking;
};

let writing;
const writeView = () => {
  clearTimeout(writing);
  writing = setTimeout(() => {
    const wanted = addressOf(view);
    if (wanted === location.hash || (wanted === "#" && !location.hash.includes("="))) return;
    history.replaceState(null, "", wanted);
  }, 120);
};
