// A card of the host page: asks for its series, keeps them live, turns them into the lines of a chart.
import { $, $$, node, now } from './shell.js';
import { Chart } from './chart.js';
import { clock, length, words } from './units.js';

const HUES = ['violet', 'teal', 'orange', 'blue', 'pink', 'cyan'];
// A name keeps its colour; of two names of a chart with the same one the later takes the next that is free.
function hue(name, used) {
  let at = [...name].reduce((sum, ch) => (sum * 31 + ch.codePointAt(0)) >>> 0, 7);
  for (let n = 0; n < HUES.length && used.has(HUES[at % HUES.length]); n += 1) at += 1;
  used.add(HUES[at % HUES.length]);
  return HUES[at % HUES.length];
}
const CAUSES = { agent_stopped: 'agent stopped', reboot: 'host rebooted', points_lost: 'samples lost' };
const keyOf = (tags) => JSON.stringify(Object.entries(tags).sort());

export class Panel {
  constructor(card, spec, page, first) {
    Object.assign(this, { card, spec, page, first, view: spec.views[0], store: new Map(), raw: new Map() });
    this.choice = $('[data-choose]', card)?.value ?? $('[data-only]', card)?.dataset.only ?? '';
    // A metric of a program comes when the program sends it: no rhythm, so no gaps, and a lone value is a dot.
    this.sparse = spec.id.startsWith('custom-');
    this.chart = new Chart(card, { t: [], series: [], kind: 'lines', unit: '', page, bands: [], gaps: [], thresholds: [], events: [], words: first, gap: 60, dots: this.sparse });
    this.listen();
  }

  listen() {
    $('[data-choose]', this.card)?.addEventListener('change', (event) => { this.choice = event.target.value; this.load(); });
    this.card.addEventListener('click', (event) => {
      const view = event.target.closest('[data-view]'), table = event.target.closest('[data-do=table]');
      if (table) this.toggleTable(table);
      if (!view) return;
      for (const one of $$('[data-view]', this.card)) one.setAttribute('aria-pressed', String(one === view));
      this.view = this.spec.views[Number(view.dataset.view)];
      this.load();
    });
  }

  fields() { return [...new Set([...this.view.lines.flatMap((l) => l.fields), ...(this.long() && this.view.peak ? [this.view.peak] : [])])]; }

  // Whether a step of the chart holds several samples.
  long() { return (this.page.to - this.page.from) / this.page.points > this.page.interval; }

  tags() { return { ...this.spec.tags, ...(this.spec.select && this.choice ? { [this.spec.select]: this.choice } : {}) }; }

  async load() {
    if (!this.seen) { this.stale = true; return; }
    this.stale = false;
    const asked = this.asked = {}, ask = new URLSearchParams({ host: this.page.host, from: this.page.from.toFixed(3), to: this.page.to.toFixed(3), points: this.page.points });
    for (const field of this.fields()) ask.append('metric', `${this.spec.measurement}.${field}`);
    for (const [tag, value] of Object.entries(this.tags())) ask.set(`tag.${tag}`, value);
    ask.set('stats', !this.long() ? 'avg' : this.view.kind === 'lines' ? 'avg,min,max' : 'avg,max');
    const answer = await fetch(`/api/v1/series?${ask}`).catch(() => null);
    if (asked !== this.asked || !answer?.ok) return;
    this.take(await answer.json());
    this.draw(true);
  }

  take({ t, series, resolution_s: step, gap_s: gap }) {
    Object.assign(this, { t, step, gap: this.sparse ? Infinity : Math.max(gap, 2.5 * this.page.interval) });
    this.store.clear();
    for (const one of series) this.store.set(`${one.metric.slice(this.spec.measurement.length + 1)} ${keyOf(one.tags)}`, { ...one, n: 0, bin: -1 });
  }

  // One live row into the steps it belongs to. Rows already seen are left out; counters become rates.
  feed(row) {
    if (!this.t || Object.entries(this.tags()).some(([tag, value]) => row.tags[tag] !== value)) return;
    for (const field of this.fields()) {
      const key = `${field} ${keyOf(row.tags)}`, last = this.raw.get(key), value = row.value(field);
      if (value === null || (last && row.t <= last.t)) continue;
      this.raw.set(key, { t: row.t, value });
      const rate = this.view.rates.includes(field);
      if (rate && (!last || value < last.value)) continue;
      this.put(key, field, row, rate ? (value - last.value) / (row.t - last.t) : value);
    }
  }

  put(key, field, row, value) {
    const bin = Math.floor(row.t / this.step) * this.step;
    if (!this.store.has(key)) this.store.set(key, { metric: `${this.spec.measurement}.${field}`, tags: row.tags, avg: this.t.map(() => null), n: 0, bin: -1 });
    this.extend(bin);
    const i = Math.round((bin - this.t[0]) / this.step), one = this.store.get(key);
    if (i < 0 || i >= this.t.length) return;
    if (one.bin !== bin) Object.assign(one, { bin, n: one.avg[i] === null ? 0 : 1 });
    one.avg[i] = ((one.avg[i] ?? 0) * one.n + value) / (one.n + 1);
    one.n += 1;
    if (one.max) one.max[i] = Math.max(one.max[i] ?? value, value);
    if (one.min) one.min[i] = Math.min(one.min[i] ?? value, value);
    this.changed = true;
  }

  extend(bin) {
    while (this.t.length && this.t.at(-1) < bin && bin - this.t.at(-1) < 3600 * 24) {
      this.t.push(this.t.at(-1) + this.step);
      for (const one of this.store.values()) for (const column of [one.avg, one.min, one.max]) column?.push(null);
    }
    while (this.t.length > 2 && this.t[1] < this.page.from - this.step) {
      this.t.shift();
      for (const one of this.store.values()) for (const column of [one.avg, one.min, one.max]) column?.shift();
    }
  }

  sum(entries, column) {
    const { factor } = this.view;
    if (!entries.length || !entries.every((one) => one[column])) return undefined;
    return this.t.map((_, i) => { const values = entries.map((one) => one[column][i]).filter((v) => v !== null); return values.length ? values.reduce((a, v) => a + v, 0) * factor : null; });
  }

  lines() {
    const entries = [...this.store.values()], { view } = this;
    if (!view.split) return view.lines.map((l) => this.line(l.name, l.color, entries.filter((one) => l.fields.includes(this.fieldOf(one)))));
    const nameOf = (one) => view.split.split(',').map((tag) => one.tags[tag] ?? '').filter(Boolean).join(' ') || this.fieldOf(one);
    const place = (name) => { const at = view.lines.findIndex((l) => l.name === name); return at < 0 ? view.lines.length : at; }, used = new Set();
    return entries.filter((one) => view.lines[0].fields.includes(this.fieldOf(one))).map((one) => [nameOf(one), one])
      .sort(([a], [b]) => place(a) - place(b) || a.localeCompare(b)).slice(0, 24)
      .map(([name, one]) => this.line(name, view.lines.find((l) => l.name === name)?.color || hue(name, used), [one]));
  }

  fieldOf(one) { return one.metric.slice(this.spec.measurement.length + 1); }

  line(name, color, entries) {
    const extremes = this.long() && this.view.kind !== 'stack';
    return { name, color, data: this.sum(entries, 'avg') ?? [], high: extremes ? this.sum(entries, 'max') : undefined, low: extremes ? this.sum(entries, 'min') : undefined };
  }

  draw(anew = false) {
    const { view, page } = this, series = this.lines().filter((s) => s.data.some((v) => v !== null));
    const peak = this.long() && view.peak ? [...this.store.values()].find((one) => this.fieldOf(one) === view.peak)?.max : undefined;
    Object.assign(this.chart.o, { t: this.t, series, kind: view.kind, unit: view.unit, top: view.top, peak, gap: this.gap,
      gaps: series.length ? this.gaps(series) : [], bands: this.bands(), thresholds: this.thresholds(), events: page.events });
    $('[data-unit]', this.card).textContent = view.note || (view.top && view.unit === 'bytes' ? `of ${words(view.top, 'bytes')}` : view.kind === 'stack' ? page.cores : '');
    this.changed = false;
    this.chart.draw(anew);
    if (this.table) this.fillTable();
  }

  bands() {
    return this.page.alerts.filter((a) => a.charts.includes(this.spec.measurement) && a.level)
      .map((a) => ({ from: a.from, to: a.to ?? now(), level: a.level, text: a.to ? a.rule : `firing ${length(now() - a.from)}` }));
  }

  thresholds() {
    const { view, page } = this, found = (page.thresholds[view.threshold] ?? []).map((t) => ({ at: t.at, level: t.level }));
    const close = found.length === 2 && view.top;
    if (close) Object.assign(found[0], { below: true, text: `warning ${found[0].at}, critical ${found[1].at}` });
    return view.reference ? [...found, { at: view.reference[0], level: 'dim', text: view.reference[1], fit: true }] : found;
  }

  // Stretches without any sample that are longer than samples are apart, with what is known of their cause.
  gaps(series) {
    const found = [], { t, page } = this, begin = Math.max(page.from, page.firstSeen);
    let last = null;
    for (let i = 0; i < t.length; i += 1) {
      if (series.every((s) => s.data[i] === null)) continue;
      const from = last ?? begin;
      if (t[i] - from > this.gap) found.push(this.gapOf(last === null ? from : from + this.step, t[i]));
      last = t[i];
    }
    const end = Math.min(page.to, now());
    if (last !== null && end - last > Math.max(this.gap, 3 * page.interval)) found.push(this.gapOf(last + this.step, end));
    return found;
  }

  gapOf(from, to) {
    const why = this.page.events.find((e) => CAUSES[e.kind] && e.at > from - 60 && e.at < to + 60);
    return { from, to, text: `${why ? CAUSES[why.kind] : 'no data'} ${length(to - from)}` };
  }

  toggleTable(button) {
    const on = button.getAttribute('aria-pressed') !== 'true';
    button.setAttribute('aria-pressed', String(on));
    this.table?.remove();
    this.table = on ? this.card.appendChild(node('div', 'values')) : null;
    if (on) this.fillTable();
  }

  fillTable() {
    const { series, t, unit } = this.chart.o, table = node('table'), head = table.createTHead().insertRow(), body = table.createTBody();
    head.append(node('th', '', 'Time'), ...series.map((s) => node('th', 'r', s.name)));
    for (let i = t.length - 1, n = 0; i >= 0 && n < 120; i -= 1) {
      if (series.every((s) => s.data[i] === null)) continue;
      n += 1;
      body.insertRow().append(node('td', '', clock(t[i], 'date')), ...series.map((s) => node('td', 'r', words(s.data[i], unit))));
    }
    this.table.replaceChildren(table);
  }
}
