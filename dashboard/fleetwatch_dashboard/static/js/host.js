// The host page: one span, one crosshair, one locked moment for all cards; live frames go to the cards, tiles and processes.
import { $, $$, node, now, pill, setText, swap } from './shell.js';
import { Live, newestOf, rows } from './live.js';
import { Panel } from './panel.js';
import { clock, digits, length, words } from './units.js';

const PARTS = ['#facts', '#banners', '#tiles', '#card-events', '#range', '#firing'];
const page = { lock: 0, points: 600, zoom, back, pin };
let panels = [], live, table = [], sortKey = 'cpu_percent', tableAt = 0, depth = 0;

function read(doc) {
  const data = JSON.parse($('#data', doc).textContent);
  const { span } = data;
  Object.assign(page, { host: data.host, from: span.from, to: span.to, range: span.range, interval: data.interval_s, firstSeen: data.first_seen,
    alerts: data.alerts, events: data.events, thresholds: data.thresholds, cores: data.cores });
  pill.interval = data.interval_s;
  return data;
}

// --- the span ---
async function go(url) {
  const doc = await swap(url, PARTS);
  read(doc);
  page.lock = 0;
  panels.forEach((panel) => panel.load());
  listenLive();
  await showProcesses();
}

function zoom(from, to) {
  const url = new URL(location.href);
  for (const key of ['range', 'at']) url.searchParams.delete(key);
  url.searchParams.set('from', Math.floor(from));
  url.searchParams.set('to', Math.max(Math.ceil(to), Math.floor(from) + 2));
  history.pushState(null, '', url);
  depth += 1;
  go(url);
}

function back() { if (depth) history.back(); }
addEventListener('popstate', () => { depth = Math.max(0, depth - 1); go(location.href); });

// --- the locked moment ---
function pin(at) {
  page.lock = at;
  panels.forEach((panel) => panel.chart.draw());
  showProcesses();
}

async function showProcesses() {
  const at = page.lock || (page.range ? 0 : page.to), moment = $('#moment');
  moment.hidden = !at;
  $('#unlock').hidden = !page.lock;
  if (at) setText($('span', moment), `at ${clock(at)}`);
  const answer = await fetch(`/api/v1/processes?${new URLSearchParams({ host: page.host, at: at ? at.toFixed(3) : 'now' })}`).catch(() => null);
  if (!answer?.ok || at !== (page.lock || (page.range ? 0 : page.to))) return;
  const found = await answer.json();
  fillProcesses(found.processes, found.t ?? (at || now()));
}

function fillProcesses(found, at) {
  table = found;
  tableAt = at;
  const body = $('#processes tbody'), cell = (cls, text) => node('td', cls, text);
  body.replaceChildren(...[...found].sort((a, b) => (b[sortKey] ?? 0) - (a[sortKey] ?? 0)).map((p) => {
    const row = node('tr'), name = cell('nowrap', ''), cpu = cell('r', '');
    name.append(Object.assign(node('b', '', p.name), { title: p.name }));
    cpu.append(node('b', '', words(p.cpu_percent, 'percent')));
    if (p.started && at - p.started < 900 && at >= p.started) name.append(' ', node('span', 'tag not-s', `started ${clock(p.started)}`));
    row.append(cell('r dim not-s', p.pid), name, cell('not-s mid', p.user), cpu, cell('r mid', words(p.rss, 'bytes')), cell('r not-s mid', words(p.read_bytes, 'bytes')),
      cell('r not-s mid', words(p.write_bytes, 'bytes')), cell('r not-s mid', words(p.threads)), cell('r mid', p.started ? length(at - p.started) : '–'));
    return row;
  }));
  $('#no-processes').hidden = found.length > 0;
}

$('#card-processes').addEventListener('click', (event) => {
  const key = event.target.closest('[data-key]');
  if (event.target.closest('#unlock')) pin(0);
  if (!key) return;
  sortKey = key.dataset.key;
  for (const one of $$('[data-key]')) one.setAttribute('aria-pressed', String(one === key));
  const sorted = { cpu_percent: 3, rss: 4, read_bytes: 5, write_bytes: 6 }[sortKey];
  $$('#processes th').forEach((th, i) => (i === sorted ? th.setAttribute('aria-sort', 'descending') : th.removeAttribute('aria-sort')));
  fillProcesses(table, tableAt);
});

// --- live ---
function listenLive() {
  live?.stop();
  live = null;
  if (!page.range) { pill.show('past'); return; }
  const select = Object.fromEntries(['cpu', 'mem', 'swap', 'disk', 'process_top', ...panels.map((p) => p.spec.measurement)].map((name) => [name, {}]));
  live = new Live({ hosts: [page.host], select, fast: true }, { frames: take, missed: anew });
}

function take(frames) {
  const at = newestOf(frames);
  if (at > pill.newest) pill.newest = at;
  const age = $('#age time');
  if (age && at) age.dateTime = new Date(at * 1000).toISOString();
  for (const frame of frames) {
    for (const row of rows(frame)) {
      if (row.host !== page.host) continue;
      for (const panel of panels) if (panel.spec.measurement === frame.measurement) panel.feed(row);
    }
    showTiles(frame);
    if (frame.measurement === 'process_top' && !page.lock) fromFrame(frame);
  }
}

function showTiles(frame) {
  for (const el of $$('.tile [data-metric]')) {
    const [measurement, field] = el.dataset.metric.split('.'), wanted = el.dataset.tags ? el.dataset.tags.split(',').map((pair) => pair.split('=')) : [];
    if (measurement !== frame.measurement) continue;
    const values = [...rows(frame)].filter((row) => wanted.every(([tag, value]) => row.tags[tag] === value)).map((row) => row.value(field)).filter((v) => v !== null);
    if (values.length) el.firstChild.nodeValue = digits(Number((el.dataset.pick === 'max' ? Math.max(...values) : values.at(-1)).toFixed(1)));
  }
}

function fromFrame(frame) {
  const last = Math.max(...frame.t), names = ['pid', 'name', 'user', 'cpu_percent', 'rss', 'read_bytes', 'write_bytes', 'threads', 'started'];
  const found = [...rows(frame)].filter((row) => row.t * 1000 >= last - 1 && row.value('pid')).map((row) => Object.fromEntries(names.map((name) => [name, row.value(name)])));
  if (found.length) fillProcesses(found, last / 1000);
}

// Once a second the span moves on; only cards in view are drawn, only when something changed.
setInterval(() => {
  if (document.hidden || pill.paused || !page.range) return;
  const width = page.to - page.from;
  Object.assign(page, { to: now(), from: now() - width });
  for (const panel of panels) if (panel.changed && panel.chart.visible) panel.draw();
}, 1000);

// What the server alone knows: states, alerts, events, sparklines. The span and the locked moment stay.
async function fresh() {
  const doc = await swap(location.href, PARTS.filter((part) => part !== '#range')).catch(() => null);
  if (doc) { const { from, to } = page; read(doc); Object.assign(page, { from, to }); }
}

// After frames were missed, or instead of them: the charts too.
async function anew() {
  if (!page.range) return;
  const width = page.to - page.from;
  Object.assign(page, { to: now(), from: now() - width });
  await fresh();
  panels.forEach((panel) => panel.load());
  if (!page.lock) await showProcesses();
}

setInterval(() => { if (!document.hidden && !pill.paused && page.range) fresh(); }, 30000);

// --- start ---
const data = read(document), cards = new Map($$('[data-panel]').map((card) => [card.dataset.panel, card]));
panels = data.panels.map((spec, i) => new Panel(cards.get(spec.id), spec, page, i === 0));
const byCard = new Map(panels.map((panel) => [panel.card, panel]));
const watcher = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    const panel = byCard.get(target);
    if (isIntersecting && !panel.seen) { panel.seen = true; panel.load(); }
    if (isIntersecting && panel.changed) panel.draw();
    panel.chart.show(isIntersecting);
  }
}, { rootMargin: '200px' });
for (const panel of panels) { panel.stale = true; watcher.observe(panel.card); }

const redraw = () => panels.forEach((panel) => panel.chart.draw(true));
document.addEventListener('theme', redraw);
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => document.dispatchEvent(new Event('theme')));
document.addEventListener('keydown', (event) => { if (event.key === 'Escape' && page.lock) pin(0); });
document.addEventListener('click', async (event) => {
  if (!event.target.closest('[data-do=link]')) return;
  const url = new URL(location.href);
  url.search = new URLSearchParams({ from: Math.floor(page.from), to: Math.ceil(page.to), ...(page.lock ? { at: Math.round(page.lock) } : {}) });
  await navigator.clipboard?.writeText(url.href);
});
const asked = Number(new URLSearchParams(location.search).get('at'));
if (asked) pin(asked);
fillProcesses([...data.processes], data.span.to);
listenLive();
pill.newest = Date.parse($('#age time')?.dateTime ?? 0) / 1000 || 0;
