// The alerts page: the lists come anew every few seconds.
import { pill, swap } from './shell.js';

pill.show('polling');
setInterval(async () => {
  if (document.hidden || pill.paused) return;
  try { await swap(location.href, ['.head', '#alerts', '#firing']); pill.show('polling'); } catch { pill.show('lost'); }
}, 10000);
