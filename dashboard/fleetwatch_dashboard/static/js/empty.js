// The empty fleet: turns into the fleet page when the first host arrives.
import { pill } from './shell.js';

pill.show('live');
setInterval(async () => {
  const answer = await fetch('/api/v1/hosts?limit=1').catch(() => null);
  if (answer?.ok && (await answer.json()).hosts.length) location.reload();
}, 2000);
