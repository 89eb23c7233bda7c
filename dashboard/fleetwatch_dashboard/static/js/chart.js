// One chart kind on top of uPlot: lines, stacked areas, mirrored areas; thresholds, firing bands, gaps with their cause,
// event marks, a crosshair shared by the page and a locked moment. Colours come from the CSS tokens, never from here.
import { node, setText } from './shell.js';
import { clock, shown, words } from './units.js';

const probe = document.body.appendChild(Object.assign(document.createElement('i'), { hidden: true }));
const known = new Map();
document.addEventListener('theme', () => known.clear());
function token(name, alpha = 1) {
  const key = name + alpha;
  if (!known.has(key)) {
    probe.style.color = alpha === 1 ? `var(--${name})` : `color-mix(in srgb, var(--${name}) ${alpha * 100}%, transparent)`;
    known.set(key, getComputedStyle(probe).color);
  }
  return known.get(key);
}

function wide(u, text) {
  u.ctx.font = `600 ${11 * devicePixelRatio}px system-ui, sans-serif`;
  return u.ctx.measureText(text).width;
}

function write(u, text, x, y, color) {
  const { ctx } = u, width = wide(u, text);
  ctx.textAlign = 'left'; ctx.textBaseline = 'middle'; ctx.fillStyle = color;
  ctx.fillText(text, x, y);
  return x + width;
}

function line(u, x1, y1, x2, y2, color, dash = [], width = 1) {
  const { ctx } = u, px = devicePixelRatio;
  ctx.save(); ctx.strokeStyle = color; ctx.lineWidth = width * px; ctx.setLineDash(dash.map((d) => d * px));
  ctx.beginPath(); ctx.moveTo(x1, y1); ctx.lineTo(x2, y2); ctx.stroke(); ctx.restore();
}

function hatch(u, x, width) {
  const { ctx, bbox } = u, px = devicePixelRatio;
  ctx.save();
  ctx.beginPath(); ctx.rect(x, bbox.top, width, bbox.height); ctx.clip();
  ctx.fillStyle = token('sunken'); ctx.fillRect(x, bbox.top, width, bbox.height);
  ctx.strokeStyle = token('text-3', 0.4); ctx.lineWidth = px;
  ctx.beginPath();
  for (let d = -bbox.height; d < width; d += 6 * px) { ctx.moveTo(x + d, bbox.top + bbox.height); ctx.lineTo(x + d + bbox.height, bbox.top); }
  ctx.stroke();
  ctx.restore();
}

function stretch(u, { from, to }) {
  const a = Math.max(u.bbox.left, u.valToPos(from, 'x', true)), z = Math.min(u.bbox.left + u.bbox.width, u.valToPos(to, 'x', true));
  return [a, Math.max(z, a + 3 * devicePixelRatio)];
}

// uPlot remembers what it last set on its canvas, so whatever is drawn beside it must leave no trace.
function apart(u, paint, o) { u.ctx.save(); paint(u, o); u.ctx.restore(); }

const inView = (u, band) => band.to > u.scales.x.min && band.from < u.scales.x.max;

// Below the series: firing time, then gaps.
function under(u, o) {
  for (const b of o.bands.filter((one) => inView(u, one))) {
    const [a, z] = stretch(u, b);
    u.ctx.fillStyle = token(`${b.level}-fill`, 0.12); u.ctx.fillRect(a, u.bbox.top, z - a, u.bbox.height);
  }
  for (const g of o.gaps.filter((one) => inView(u, one))) { const [a, z] = stretch(u, g); hatch(u, a, z - a); }
}

// Above the series: the lane (why the time is shaded), thresholds, event marks, the locked moment.
function over(u, o) {
  const { ctx, bbox } = u, px = devicePixelRatio, right = bbox.left + bbox.width, bottom = bbox.top + bbox.height;
  let free = 0;
  for (const b of [...o.gaps, ...o.bands].filter((one) => inView(u, one)).sort((p, q) => p.from - q.from)) {
    const [a, z] = stretch(u, b);
    ctx.fillStyle = token(b.level ? `${b.level}-fill` : 'text-3'); ctx.fillRect(a, bbox.top - 4 * px, z - a, 3 * px);
    const at = o.words && b.text ? Math.min(a, right - wide(u, b.text)) : 0;
    if (at && at >= free) free = write(u, b.text, at, bbox.top - 12 * px, token(b.level || 'text-2')) + 8 * px;
  }
  for (const t of o.thresholds) {
    const y = u.valToPos(t.at, 'y', true), dim = t.level === 'dim';
    if (y < bbox.top - 1 || y > bottom + 1) continue;
    line(u, bbox.left, y, right, y, token(dim ? 'text-3' : `${t.level}-fill`), [5, 4]);
    if (t.text) write(u, t.text, bbox.left + 6 * px, y + (t.below ? 9 : -8) * px, token(dim ? 'text-3' : t.level));
  }
  for (const e of o.events.filter((one) => one.at >= u.scales.x.min && one.at <= u.scales.x.max)) {
    const x = u.valToPos(e.at, 'x', true);
    line(u, x, bbox.top, x, bottom, token('accent', 0.6), [2, 3]);
    ctx.fillStyle = token('accent'); ctx.beginPath();
    ctx.moveTo(x, bottom); ctx.lineTo(x - 4 * px, bottom + 6 * px); ctx.lineTo(x + 4 * px, bottom + 6 * px); ctx.fill();
  }
  if (o.page.lock) { const x = u.valToPos(o.page.lock, 'x', true); if (x >= bbox.left && x <= right) line(u, x, bbox.top, x, bottom, token('accent'), [], 1.5); }
}

function stackUp(series) {
  const sums = new Array(series[0]?.data.length ?? 0).fill(0);
  return series.map((s) => s.data.map((v, i) => (v === null ? null : (sums[i] += v))));
}

const nearest = (t, at) => {
  let lo = 0, hi = t.length - 1;
  while (hi - lo > 1) { const mid = (lo + hi) >> 1; if (t[mid] > at) hi = mid; else lo = mid; }
  return at - t[lo] < t[hi] - at ? lo : hi;
};
const lastKnown = (o) => { let i = o.t.length - 1; while (i > 0 && o.series.every((s) => s.data[i] === null)) i -= 1; return i; };

// Ticks that are round in the unit they are printed in: bytes in powers of two.
const splits = (base) => (u, axis, min, max, incr) => {
  const power = base ** Math.max(0, Math.floor(Math.log(Math.max(Math.abs(min), Math.abs(max)) || 1) / Math.log(base)));
  let step = 10 ** Math.floor(Math.log10((incr || 1) / power)) * power;
  for (const k of [1, 2, 5, 10]) if (step * k >= incr) { step *= k; break; }
  const out = [];
  for (let v = Math.ceil(min / step) * step; v <= max + step / 1e6; v += step) out.push(v);
  return out;
};

// `o`: t, series [{name, color, data, low, high}], kind, unit, top, page {from, to, lock, zoom(), back(), pin()}, bands, gaps, thresholds,
// events, words, peak. The owner changes it and calls draw().
export class Chart {
  constructor(card, o) {
    Object.assign(this, { card, o, box: card.querySelector('.chart'), key: card.querySelector('.legend'), visible: false, dirty: true });
    this.bubble = this.box.appendChild(node('div', 'tip'));
    this.bubble.hidden = true;
    new ResizeObserver(() => { if (this.u && this.box.clientWidth - 10 !== this.u.width && this.box.clientWidth) this.u.setSize({ width: this.box.clientWidth - 10, height: 172 }); }).observe(this.box);
  }

  // Columns for uPlot: the lines, then what marks the extremes of long steps.
  columns() {
    const { o } = this, flip = (data) => data.map((v) => (v === null ? null : -v));
    if (o.kind === 'stack') return [...stackUp(o.series), ...(o.peak ? [o.peak] : [])];
    const lines = o.series.map((s, k) => (o.kind === 'mirror' && k ? flip(s.data) : s.data));
    const edges = o.series.flatMap((s, k) => (!s.high ? [] : o.kind === 'mirror' ? [k ? flip(s.high) : s.high] : [s.high, s.low]));
    return [...lines, ...edges];
  }

  styles() {
    const { o } = this, stack = o.kind === 'stack', mirror = o.kind === 'mirror';
    const gaps = (u, k, a, z, found) => { const px = (u.bbox.width * o.gap) / (u.scales.x.max - u.scales.x.min); return found.filter((g) => g[1] - g[0] > px); };
    const plain = { spanGaps: false, gaps, points: o.dots ? { size: 5 } : { show: false } };
    const lines = o.series.map((s, k) => ({ ...plain, label: s.name, stroke: token(`c-${s.color}`), width: stack ? 1 : 1.5,
      fill: stack ? (k ? undefined : token(`c-${s.color}`, 0.55)) : mirror ? token(`c-${s.color}`, 0.22) : undefined }));
    if (stack) return [...lines, ...(o.peak ? [{ ...plain, label: 'max', stroke: token('text-3'), width: 1 }] : [])];
    const edge = (s) => ({ ...plain, label: '', stroke: token(`c-${s.color}`, mirror ? 0.45 : 0), width: mirror ? 1 : 0 });
    return [...lines, ...o.series.flatMap((s) => (!s.high ? [] : mirror ? [edge(s)] : [edge(s), edge(s)]))];
  }

  bandFills() {
    const { o } = this;
    if (o.kind === 'stack') return o.series.slice(1).map((s, k) => ({ series: [k + 2, k + 1], fill: token(`c-${s.color}`, 0.55) }));
    if (o.kind === 'mirror') return [];
    let at = o.series.length + 1;
    return o.series.flatMap((s) => { if (!s.high) return []; at += 2; return [{ series: [at - 2, at - 1], fill: token(`c-${s.color}`, 0.18) }]; });
  }

  range(lo, hi) {
    const { o } = this, most = Math.max(hi ?? 0, ...o.thresholds.map((t) => (t.fit ? t.at : 0)));
    if (o.top) return [0, o.top];
    if (o.kind === 'mirror') { const size = Math.max(hi ?? 0, -(lo ?? 0)) * 1.12 || 1; return [-size, size]; }
    if (o.unit === 'celsius' && lo > 0) return [Math.max(0, lo - 10), hi + 10];
    return [Math.min(0, lo ?? 0), most * 1.15 || 1];
  }

  axes() {
    const { o } = this, binary = o.unit.startsWith('bytes');
    const axis = { stroke: token('text-3'), font: '11px system-ui, sans-serif', ticks: { show: false }, grid: { stroke: token('grid'), width: 1 } };
    const span = o.page.to - o.page.from, dates = span > 86400 * 2;
    return [
      { ...axis, size: 20, gap: 3, grid: { show: false }, space: dates ? 96 : 76, values: (u, at) => at.map((t) => (dates ? clock(t, 'date').replace(/ 00:00$/, '') : clock(t, span < 600 ? 'hms' : 'hm'))) },
      { ...axis, size: 52, gap: 6, space: 34, ...(binary ? { splits: splits(1024) } : {}), values: (u, at) => at.map((v) => this.tick(v)) },
    ];
  }

  tick(value) {
    const [text, unit] = shown(Math.abs(value), this.o.unit);
    return unit === '°C' ? `${text}°` : this.o.unit === 'bit/s' || this.o.unit === 'bytes/s' ? `${text} ${unit.replace(/(bit|B)\/s$/, '')}`.trim() : `${text} ${unit}`.trim();
  }

  build() {
    const { o } = this;
    this.u?.destroy();
    this.u = new uPlot({
      width: this.box.clientWidth - 10, height: 172, legend: { show: false }, padding: [o.words ? 22 : 9, 10, 0, 0],
      cursor: { sync: { key: 'page' }, y: false, drag: { x: true, y: false, setScale: false }, bind: { dblclick: () => null },
        points: { show: (u, k) => k <= o.series.length, size: 6, fill: (u, k) => token(`c-${o.series[k - 1]?.color ?? 'blue'}`) } },
      scales: { x: { range: () => [o.page.from, o.page.to] }, y: { range: (u, lo, hi) => this.range(lo, hi) } },
      axes: this.axes(), series: [{}, ...this.styles()], bands: this.bandFills(),
      hooks: { drawClear: [(u) => apart(u, under, o)], draw: [(u) => apart(u, over, o)], setCursor: [() => this.pointed()], setSelect: [(u) => this.selected(u)] },
    }, [o.t, ...this.columns()], this.box);
    this.listen(this.u.over);
    this.form = this.shape();
  }

  // What cannot change without building the chart anew.
  shape() { const { o } = this; return JSON.stringify([o.kind, o.words, o.unit, Boolean(o.peak), o.page.to - o.page.from > 172800, o.series.map((s) => [s.name, s.color, Boolean(s.high)])]); }

  draw(anew = false) {
    this.dirty = true;
    if (!this.visible) { this.anew ||= anew; return; }
    this.dirty = false;
    const { o } = this;
    setText(this.empty ??= this.card.appendChild(node('p', 'note dim small')), o.series.length ? '' : 'No data in this range.');
    this.empty.hidden = o.series.length > 0;
    if (anew || this.anew || !this.u || this.form !== this.shape()) { this.anew = false; this.build(); } else this.u.setData([o.t, ...this.columns()]);
    this.pointed();
    const i = lastKnown(o);
    this.box.setAttribute('aria-label', o.series.length ? `${clock(o.t[i])}: ${o.series.map((s) => `${s.name} ${words(s.data[i], o.unit)}`).join(', ')}` : 'no data');
  }

  show(visible) { this.visible = visible; if (visible && this.dirty) this.draw(); }

  // The selection is drawn on every chart of the page; only the one that was dragged zooms.
  selected(u) {
    const { left, width } = u.select;
    if (width > 6 && this.held) this.o.page.zoom(u.posToVal(left, 'x'), u.posToVal(left + width, 'x'));
    this.held = false;
    if (width) u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
  }

  listen(area) {
    let pressed = 0;
    area.addEventListener('mousedown', (event) => { pressed = event.clientX; this.held = true; });
    area.addEventListener('click', (event) => { if (event.detail === 1 && Math.abs(event.clientX - pressed) < 4) this.o.page.pin(this.u.posToVal(event.clientX - area.getBoundingClientRect().left, 'x')); });
    area.addEventListener('dblclick', () => this.o.page.back());
  }

  pointed() {
    const { o, u } = this;
    if (!u || !o.series.length) return;
    const inside = u.over.matches(':hover'), i = u.cursor.idx ?? (o.page.lock ? nearest(o.t, o.page.lock) : lastKnown(o));
    this.legend(i);
    if (inside && u.cursor.idx !== null && u.cursor.idx !== undefined) this.tip(u.cursor.idx);
    else if (o.page.lock && o.words && this.box.clientWidth > 480 && u.cursor.idx == null) this.tip(i);
    else this.bubble.hidden = true;
  }

  legend(i) {
    const { o, key } = this;
    if (key.children.length !== o.series.length || this.named !== this.shape()) {
      this.named = this.shape();
      key.replaceChildren(...o.series.map((s) => { const li = node('li'); li.append(node('i', `k-${s.color}`), s.name, node('b')); return li; }));
    }
    o.series.forEach((s, k) => setText(key.children[k].lastChild, words(s.data[i], o.unit)));
  }

  tip(i) {
    const { o, u, bubble } = this, head = node('header'), list = node('ul');
    head.append(node('b', '', clock(o.t[i], o.page.to - o.page.from > 172800 ? 'date' : 'hms')), node('span', '', o.page.lock && nearest(o.t, o.page.lock) === i ? 'locked' : ''));
    for (const s of o.kind === 'stack' ? [...o.series].reverse() : o.series.slice(0, 12)) {
      const li = list.appendChild(node('li'));
      li.append(node('i', `k-${s.color}`), s.name, node('b', '', words(s.data[i], o.unit) + (s.high && s.high[i] !== null ? ` (max ${words(s.high[i], o.unit)})` : '')));
    }
    const why = [...o.gaps, ...o.bands].find((b) => b.text && b.from <= o.t[i] && b.to >= o.t[i]);
    const foot = why ? [Object.assign(node('footer', '', why.text))] : [];
    if (why) foot[0].dataset.level = why.level || 'none';
    bubble.replaceChildren(head, list, ...foot);
    bubble.hidden = false;
    const x = u.valToPos(o.t[i], 'x'), left = u.over.offsetLeft;
    bubble.style.top = `${u.over.offsetTop}px`;
    bubble.style.left = `${x > u.over.clientWidth * 0.55 ? left + x - bubble.offsetWidth - 14 : left + x + 14}px`;
  }
}
