// Numbers and times as the server writes them (units.py, times.py), for values that change while the page is open.
const BINARY = ['', 'Ki', 'Mi', 'Gi', 'Ti', 'Pi'], DECIMAL = ['', 'k', 'M', 'G', 'T', 'P'];
const SIGNS = { percent: '%', celsius: '°C', watts: 'W', rpm: 'rpm', milliseconds: 'ms', microseconds: 'µs', 'count/s': '/s', 'percent/s': '%/s' };

export function digits(value) {
  const size = Math.abs(value);
  if (size >= 99.95 || size === 0) return Math.round(value).toLocaleString('en').replaceAll(',', '\u2009');
  if (size < 0.01) return value.toPrecision(2);
  return value.toFixed(size >= 9.95 ? 1 : 2).replace(/\.?0+$/, '');
}

function scaled(value, base, names, unit) {
  let size = Math.abs(value), power = 0;
  while (size >= base * 0.9995 && power < names.length - 1) { size /= base; power += 1; }
  return [digits(value / base ** power), names[power] + unit];
}

// [text, unit] of a value in a unit of the catalogue, of a rate or bit/s.
export function shown(value, unit = '') {
  if (value === null || value === undefined || !Number.isFinite(value)) return ['–', ''];
  if (value === 0 && ['bytes', 'bytes/s', 'bit/s'].includes(unit)) return ['0', ''];
  if (unit === 'bytes' || unit === 'bytes/s') return scaled(value, 1024, BINARY, `B${unit.slice(5)}`);
  if (unit === 'bit/s') return scaled(value, 1000, DECIMAL, 'bit/s');
  if (unit === '' && Math.abs(value) >= 1e5) return scaled(value, 1000, DECIMAL, '');
  return [digits(value), SIGNS[unit] ?? ''];
}

export const words = (value, unit) => shown(value, unit).join(' ').trim();

export function length(seconds) {
  const s = Math.max(0, Math.round(seconds));
  const two = (big, b, small, a) => `${Math.floor(s / big)} ${b}${Math.floor((s % big) / small) ? ` ${Math.floor((s % big) / small)} ${a}` : ''}`;
  if (s < 60) return `${s} s`;
  if (s < 3600) return two(60, 'm', 1, 's');
  if (s < 86400) return two(3600, 'h', 60, 'm');
  return s < 864000 ? two(86400, 'd', 3600, 'h') : `${Math.floor(s / 86400)} d`;
}

const pad = (n) => String(n).padStart(2, '0');

// Time of day in the reader's zone; form is hm, hms, or date (the day too unless it is today).
export function clock(seconds, form = 'hms') {
  const d = new Date(seconds * 1000), hm = `${pad(d.getHours())}:${pad(d.getMinutes())}`;
  if (form === 'hms') return `${hm}:${pad(d.getSeconds())}`;
  if (form === 'hm' || d.toDateString() === new Date().toDateString()) return hm;
  return `${d.getDate()} ${d.toLocaleString('en', { month: 'short' })} ${hm}`;
}
