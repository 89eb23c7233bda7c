// The WebSocket of a page: connects, comes back, tells when it was too slow, and says when to poll instead.
import { pill, serverSaid } from './shell.js';

const SILENCE_MS = 25000, POLL_MS = 10000;

export class Live {
  // on.frames(list of columnar frames), on.missed() when data must be fetched anew.
  constructor(subscription, on) {
    Object.assign(this, { subscription, on, since: 0, failures: 0, stopped: false });
    this.open();
    this.watch = setInterval(() => this.check(), POLL_MS);
  }

  open() {
    if (this.stopped) return;
    pill.tick();
    const socket = new WebSocket(`${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}/api/v1/live`);
    this.socket = socket;
    socket.onopen = () => {
      this.heard = Date.now();
      socket.send(JSON.stringify({ ...this.subscription, since: this.since }));
      if (this.known) this.on.missed();
      this.known = true;
    };
    socket.onmessage = (event) => this.hear(JSON.parse(event.data));
    socket.onclose = () => { if (socket === this.socket && !this.stopped) this.again(); };
  }

  hear(message) {
    Object.assign(this, { failures: 0, heard: Date.now() });
    if (message.type === 'frames') this.since = Math.max(this.since, newestOf(message.frames));
    serverSaid(message.t);
    pill.show('live');
    if (message.type === 'frames' && !pill.paused) this.on.frames(message.frames);
    if (message.type === 'skipped') this.on.missed();
  }

  again() {
    this.failures += 1;
    pill.show(this.failures > 2 ? 'polling' : 'lost');
    this.timer = setTimeout(() => this.open(), Math.min(30000, 500 * 2 ** this.failures));
  }

  check() {
    const open = this.socket?.readyState === WebSocket.OPEN;
    if (open && Date.now() - this.heard > SILENCE_MS) this.socket.close();
    if (!open && this.failures > 2 && !document.hidden && !pill.paused) this.on.missed();
  }

  change(subscription) {
    this.subscription = subscription;
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify({ ...subscription, since: this.since }));
  }

  stop() {
    this.stopped = true;
    clearInterval(this.watch);
    clearTimeout(this.timer);
    this.socket.close();
  }
}

// Rows of a columnar frame, one by one: host, tags, time in seconds, value(field).
export function* rows(frame) {
  for (let i = 0; i < frame.t.length; i += 1) {
    yield { host: frame.hosts[frame.host[i]], tags: frame.tagsets[frame.tagset[i]], t: frame.t[i] / 1000, value: (field) => frame.fields[field]?.[i] ?? null };
  }
}

export const newestOf = (frames) => Math.max(0, ...frames.flatMap((frame) => frame.t)) / 1000;
