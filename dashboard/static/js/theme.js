// Applies the stored theme before the first paint; loaded blocking, in <head>.
(() => {
  try {
    const theme = localStorage.getItem("theme");
    if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  } catch { /* Storage is blocked: the browser's own preference decides. */ }
})();
