// What every page does: theme, keys, local times, ages that tick, the Live pill, replacing parts of the page.
import { clock, length } from './units.js';

export const $ = (selector, root = document) => root.querySelector(selector);
export const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
export const node = (tag, cls = '', text = '') => Object.assign(document.createElement(tag), { className: cls, textContent: text });
export const setText = (el, text) => { if (el && el.textContent !== text) el.textContent = text; };

const skew = { s: Number(document.documentElement.dataset.now || Date.now()) / 1000 - Date.now() / 1000 };
export const now = () => Date.now() / 1000 + skew.s;
export const serverSaid = (seconds) => { skew.s = seconds - Date.now() / 1000; };

// Times of the page in the reader's zone, ages against the server's clock.
export function localise(root = document) {
  for (const el of $$('time[data-clock]', root)) setText(el, clock(Date.parse(el.dateTime) / 1000, el.dataset.clock));
  for (const el of $$('time[data-since]', root)) setText(el, length(now() - Date.parse(el.dateTime) / 1000));
}

function nextTheme() {
  const root = document.documentElement, order = ['auto', 'light', 'dark'];
  root.dataset.theme = order[(order.indexOf(root.dataset.theme) + 1) % 3];
  document.cookie = `theme=${root.dataset.theme};path=/;max-age=31536000;samesite=lax`;
  document.dispatchEvent(new Event('theme'));
}

function host(step) {
  const bar = $('#hostbar');
  if (bar) { location.href = (step > 0 ? bar.dataset.next : bar.dataset.previous) + location.search; return; }
  const links = $$('a.host'), at = links.indexOf(document.activeElement);
  links[Math.min(links.length - 1, Math.max(0, at + step))]?.focus();
}

const keys = {
  t: nextTheme,
  '/': () => { const field = $('#q') || $('#find'); field?.focus(); field?.select(); },
  j: () => host(1),
  k: () => host(-1),
  '?': () => $('#help').showModal(),
};

document.addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest('input, textarea, select, dialog')) return;
  const range = $$('[data-range]')[Number(event.key) - 1];
  if (keys[event.key]) { event.preventDefault(); keys[event.key](); } else if (range) range.click();
});

document.addEventListener('click', (event) => {
  const button = event.target.closest('button');
  if (button?.dataset.do === 'theme') nextTheme();
  if (!event.target.closest('#range')) $('#range')?.removeAttribute('open');
});

// The pill: state is live, polling, paused, past or lost; the age is that of the newest data.
export const pill = {
  newest: 0, interval: 10, state: 'lost', paused: false,
  show(state) { if (state) this.state = state; this.tick(); },
  tick() {
    const el = $('#live'), state = this.paused ? 'paused' : this.state, age = now() - this.newest;
    const name = { live: 'Live', polling: 'Polling', paused: 'Paused', past: 'Past', lost: 'Connecting' }[state];
    const late = this.newest && age > 3 * this.interval;
    el.dataset.level = state === 'live' ? (late ? 'warn' : 'ok') : state === 'polling' ? 'warn' : 'none';
    el.setAttribute('aria-pressed', String(state === 'live'));
    el.title = state === 'past' ? 'A fixed range is shown' : this.paused ? 'Go on with live updates' : 'Pause live updates';
    setText($('.word', el), name);
    setText($('#live-age'), this.newest && ['live', 'polling'].includes(state) ? length(age < 60 ? age : age - (age % 60)) : '');
  },
};
$('#live')?.addEventListener('click', () => {
  if (pill.state === 'past') return;
  pill.paused = !pill.paused;
  pill.tick();
  document.dispatchEvent(new Event('pause'));
});

// Replaces parts of the page by those of the same page fetched anew. Nothing in it runs: it is parsed, not executed.
export async function swap(url, selectors) {
  const answer = await fetch(url, { headers: { accept: 'text/html' } });
  if (!answer.ok) throw new Error(`${url}: ${answer.status}`);
  const fresh = new DOMParser().parseFromString(await answer.text(), 'text/html');
  const focused = document.activeElement?.getAttribute('href');
  for (const selector of selectors) {
    const from = $(selector, fresh), to = $(selector);
    if (from && to) { localise(from); to.replaceWith(from); }
  }
  if (focused && document.activeElement === document.body) $$('a').find((a) => a.getAttribute('href') === focused)?.focus({ preventScroll: true });
  if (fresh.title) document.title = fresh.title;
  const icon = $('link[rel=icon]'), wanted = $('link[rel=icon]', fresh)?.getAttribute('href');
  if (wanted && icon.getAttribute('href') !== wanted) icon.setAttribute('href', wanted);
  return fresh;
}

localise();
setInterval(() => { if (!document.hidden) { localise(); if ($('#live')) pill.tick(); } }, 1000);
