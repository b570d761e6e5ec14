/* The samples of the page, by row (prompt and seed) and column, and one sample as an element. */
const [COLUMN, PROMPT, SEED, STATE, FILE, REASON, SCORE, WIDTH, HEIGHT, KEY, BOXES, MORE, FRAMES, FPS] = Array(14).keys();
const MARKS = { right: "✓", wrong: "✗", unscored: "?" };
const SVG = "http://www.w3.org/2000/svg";
const thumbs = new Map();
document.querySelectorAll(".shot img").forEach((img) => thumbs.set(Number(img.parentNode.dataset.k), img.src));
const absent = new Set();

const rows = [];
const rowOf = new Map();
data.samples.forEach((shot, k) => {
  const name = `${shot[PROMPT]}/${shot[SEED]}`;
  if (!rowOf.has(name)) {
    const [id, text, task] = data.prompts[shot[PROMPT]];
    rowOf.set(name, { name, place: shot[PROMPT], seed: shot[SEED], id, text, task, at: [] });
    rows.push(rowOf.get(name));
  }
  rowOf.get(name).at[shot[COLUMN]] = k;
});
rows.sort((a, b) => a.seed - b.seed || a.place - b.place);

const stateOf = (k) => data.states[data.samples[k][STATE]];
const scoreOf = (k) => (k === undefined ? null : data.samples[k][SCORE]);
const fileOf = (k) => data.samples[k][FILE] || "";
const isVideo = (k) => /\.(mp4|webm)$/.test(fileOf(k));
const stepsText = (steps) => `${steps} step${steps === 1 ? "" : "s"}`;
const columnText = (column) => `${column.label} at ${stepsText(column.steps)}`;
const saidOf = (k) => {
  const reason = data.reasons[data.samples[k][REASON]];
  const state = stateOf(k);
  const word = state === "scored" ? String(Number(scoreOf(k).toPrecision(4))) : state === "missing" ? "sample missing" : state;
  return reason ? `${word}: ${reason}` : word;
};

const hole = (text) => make("span", text, "hole");

/* Without the folder beside the page its own thumbnails are all there is; the page says so once. */
const lost = (k, el) => {
  absent.add(fileOf(k));
  $("alone").hidden = false;
  el.replaceWith(still(k));
};

/* A picture that does not move: the sample itself if it is an image, or the thumbnail in the page. */
const still = (k, large) => {
  const file = fileOf(k);
  const there = file && !absent.has(file) && !isVideo(k);
  const source = there && (large || !thumbs.has(k)) ? `media/${file}` : thumbs.get(k);
  if (!source) return hole(!file ? (stateOf(k) === "missing" ? "missing" : "no picture") : isVideo(k) && !absent.has(file) ? "video" : "not in this page");
  const img = make("img");
  img.decoding = "async";
  if (!large) img.loading = "lazy";
  if (source.startsWith("media/")) img.onerror = ({ target }) => lost(k, target);
  img.onload = ({ target }) => target.classList.toggle("pixel", Math.max(target.naturalWidth, target.naturalHeight) <= 96);
  img.src = source;
  img.alt = "";
  return img;
};

const moving = (k) => {
  const video = make("video");
  Object.assign(video, { muted: true, playsInline: true, preload: "auto", disablePictureInPicture: true });
  video.tabIndex = -1;
  video.onerror = () => lost(k, video);
  if (thumbs.has(k)) video.poster = thumbs.get(k);
  video.src = `media/${fileOf(k)}`;
  return video;
};

const large = (k) => (isVideo(k) && !absent.has(fileOf(k)) ? moving(k) : still(k, true));

const named = (name, score) => name + (score === null ? "" : ` ${score.toFixed(2)}`);

/* Boxes with their names, in the pixels of the sample. */
const boxes = (k, width, height, shownWidth) => {
  const svg = document.createElementNS(SVG, "svg");
  const size = (11 * width) / Math.max(shownWidth, 1);
  const add = (name, attributes, text) => {
    const el = document.createElementNS(SVG, name);
    Object.entries(attributes).forEach(([key, value]) => el.setAttribute(key, value));
    if (text) el.textContent = text;
    svg.append(el);
  };
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("aria-hidden", "true");
  const found = data.samples[k][BOXES] || [];
  for (const [x0, y0, x1, y1] of found)
    for (const css of ["under", "over"])
      add("rect", { x: x0, y: y0, width: Math.max(x1 - x0, 0), height: Math.max(y1 - y0, 0), class: css });
  found.forEach(([x0, y0, x1, y1, score, name], n) => {
    const right = x0 + x1 > width;
    const y = n % 2 ? Math.min(y1 + 1.05 * size, height - 0.3 * size) : Math.max(y0 - 0.35 * size, size);
    const at = { x: right ? Math.min(x1, width) : Math.max(x0, 0), y, "text-anchor": right ? "end" : "start", "font-size": size };
    add("text", at, named(name, score));
  });
  return svg;
};
