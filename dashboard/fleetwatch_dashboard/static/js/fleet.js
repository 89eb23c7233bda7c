// The fleet page: digits change in place as frames arrive; states, incidents and sparklines come anew every few seconds.
import { $, $$, pill, setText, swap } from './shell.js';
import { Live, newestOf, rows } from './live.js';

const PARTS = ['#counts', '#incidents', '#hosts', '#firing'], ANEW_MS = 15000;
const SHOWN = { cpu: ['cpu', 'usage_active', 0], mem: ['mem', 'used_percent', 0], system: ['load', 'load1_per_core', 2] };
let byHost, live, busy;

function index() {
  byHost = new Map($$('tr[data-host]').map((row) => [row.dataset.host, row]));
}

const subscription = () => ({
  hosts: [...byHost.keys()],
  select: { cpu: { fields: ['usage_active'], tags: { cpu: 'cpu-total' } }, mem: { fields: ['used_percent'] }, system: { fields: ['load1_per_core'] } },
});

function show(frames) {
  pill.newest = Math.max(pill.newest, newestOf(frames));
  for (const frame of frames) {
    const [name, field, places] = SHOWN[frame.measurement] ?? [];
    if (name) for (const row of rows(frame)) update(byHost.get(row.host), name, row.value(field), places, row.t);
  }
}

function update(row, name, value, places, at) {
  if (!row) return;
  const age = $('.age time', row), meter = $(`[data-m=${name}]`, row);
  if (age && Date.parse(age.dateTime) < at * 1000) age.dateTime = new Date(at * 1000).toISOString();
  if (value === null) return;
  setText($(`[data-v=${name}]`, row), places ? value.toFixed(places) : String(value > 99 && value < 100 ? 99 : Math.round(value)));
  meter?.setAttribute('width', Math.min(100, value).toFixed(1));
}

async function anew() {
  if (busy) return;
  busy = true;
  const before = [...byHost.keys()].join();
  try { await swap(location.href, PARTS); index(); } catch { pill.show('lost'); } finally { busy = false; }
  if (before !== [...byHost.keys()].join()) live.change(subscription());
}

let typed;
async function filter() {
  const url = new URL(location.href), form = new FormData($('#filter'));
  for (const [key, value] of form) if (value) url.searchParams.set(key, value); else url.searchParams.delete(key);
  url.searchParams.delete('page');
  history.replaceState(null, '', url);
  await anew();
}
$('#filter').addEventListener('submit', (event) => { event.preventDefault(); clearTimeout(typed); filter(); });
$('#q').addEventListener('input', () => { clearTimeout(typed); typed = setTimeout(filter, 250); });

index();
pill.newest = Math.max(0, ...$$('.age time').map((el) => Date.parse(el.dateTime) / 1000));
live = new Live(subscription(), { frames: show, missed: anew });
setInterval(() => { if (!document.hidden && !pill.paused) anew(); }, ANEW_MS);
