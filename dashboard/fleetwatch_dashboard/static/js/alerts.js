// The alerts page: the lists come anew every few seconds.
import { pill, swap } from './shell.js';

pill.show('live');
setInterval(async () => {
  if (document.hidden || pill.paused) return;
  try { await swap(location.href, ['.head', '#alerts', '#firing']); pill.show('live'); } catch { pill.show('lost'); }
}, 10000);
