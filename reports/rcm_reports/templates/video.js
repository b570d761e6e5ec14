/* One clock for all videos of the viewer. Paused, all show the same frame, exactly; playing, one that
   runs ahead waits for the slowest. Frames are counted from 0; times are set to the middle of a frame. */
const clock = { cells: [], frame: 0, playing: false, turn: 0 };
const calm = matchMedia("(prefers-reduced-motion: reduce)");

const lastOf = (cell) => cell.frames - 1;
const lastFrame = () => Math.max(0, ...clock.cells.map(lastOf));
const frameOf = (cell) => Math.min(Math.floor(cell.el.currentTime * cell.fps + 1e-6), lastOf(cell));
const timeOf = (cell) => (Math.min(clock.frame, lastOf(cell)) + 0.5) / cell.fps;

const tellFrame = () => {
  $("frame").max = lastFrame();
  $("frame").value = clock.frame;
  const text = `frame ${clock.frame + 1} of ${lastFrame() + 1}`;
  $("frame").setAttribute("aria-valuetext", text);
  $("frame-text").textContent = text;
};

/* Returns true once every video shows the frame, unless something else was asked for meanwhile. */
const seek = async (frame) => {
  const turn = ++clock.turn;
  clock.frame = Math.min(Math.max(frame, 0), lastFrame());
  tellFrame();
  await Promise.all(clock.cells.map((cell) => new Promise((done) => {
    const { el } = cell;
    if (el.error || !el.isConnected) { done(); return; }
    const go = () => {
      if (!el.seeking && Math.abs(el.currentTime - timeOf(cell)) < 1e-4 && el.readyState > 1) { done(); return; }
      el.addEventListener("seeked", done, { once: true });
      el.currentTime = timeOf(cell);
    };
    el.addEventListener("error", done, { once: true });
    if (el.readyState) go(); else el.addEventListener("loadedmetadata", go, { once: true });
  })));
  return turn === clock.turn;
};

const follow = (cell) => {
  if (!cell.el.requestVideoFrameCallback) return;
  const seen = (_, { mediaTime }) => {
    cell.seen = Math.round(mediaTime * cell.fps);
    if (clock.cells.includes(cell)) cell.el.requestVideoFrameCallback(seen);
  };
  cell.el.requestVideoFrameCallback(seen);
};

const useVideos = (cells) => {
  clock.cells = cells;
  cells.forEach((cell) => { cell.el.playbackRate = cells[0].fps / cell.fps; follow(cell); });
  $("clock").hidden = !cells.length;
  return seek(clock.frame);
};

const tick = () => {
  if (!clock.playing) return;
  const running = clock.cells.filter((cell) => frameOf(cell) < lastOf(cell) && !cell.el.error);
  if (!running.length) {
    if (calm.matches) halt(lastFrame()); else startFrom(0);
    return;
  }
  const slowest = Math.min(...running.map(frameOf));
  running.forEach((cell) => {
    if (frameOf(cell) > slowest) cell.el.pause();
    else if (cell.el.paused) cell.el.play().catch(() => {});
  });
  clock.frame = slowest;
  tellFrame();
  requestAnimationFrame(tick);
};

const startFrom = async (frame) => {
  clock.cells.forEach(({ el }) => el.pause());
  if (await seek(frame) && clock.playing) requestAnimationFrame(tick);
};

const tellPlaying = () => { $("play").textContent = clock.playing ? "Pause" : "Play"; };

const start = () => {
  if (!clock.cells.length) return;
  clock.playing = true;
  tellPlaying();
  startFrom(clock.frame >= lastFrame() ? 0 : clock.frame);
};

const halt = (frame) => {
  clock.playing = false;
  tellPlaying();
  clock.cells.forEach(({ el }) => el.pause());
  return seek(frame);
};
/* Stops at the frame that the slowest video has shown. */
const stop = () => halt(Math.min(clock.frame, ...clock.cells.filter((cell) => lastOf(cell) > clock.frame).map((cell) => cell.seen ?? frameOf(cell))));

const playOrPause = () => (clock.playing ? stop() : start());
const showFrame = async (frame) => {
  if (clock.playing) await stop();
  return seek(frame);
};
