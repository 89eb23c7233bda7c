// Runs before the first paint: the cookie "theme" is auto, light or dark.
(() => {
  const kept = (document.cookie.match(/(?:^|; )theme=(auto|light|dark)(?:;|$)/) || [])[1];
  document.documentElement.dataset.theme = kept || 'auto';
})();
