// The display of this browser: its theme, applied before the first paint (loaded blocking, in <head>), and its zone.
(() => {
  "use strict";
  const root = document.documentElement;
  const stored = (key, otherwise) => { try { return localStorage.getItem(key) ?? otherwise; } catch { return otherwise; } };
  const store = (key, value) => { try { value ? localStorage.setItem(key, value) : localStorage.removeItem(key); } catch { /* for this page only */ } };

  function apply(theme) {
    if (theme === "auto") delete root.dataset.theme;
    else root.dataset.theme = theme;
  }
  function mark() {
    const chosen = { themeChoice: stored("theme", "auto"), zoneChoice: stored("zone", "home") };
    if (!document.querySelector(`[data-zone-choice="${chosen.zoneChoice}"]`)) chosen.zoneChoice = "home";
    for (const button of document.querySelectorAll("[data-theme-choice], [data-zone-choice]"))
      for (const [name, value] of Object.entries(button.dataset))
        if (name in chosen) button.setAttribute("aria-pressed", String(value === chosen[name]));
  }
  document.addEventListener("click", ({ target }) => {
    const { themeChoice: theme, zoneChoice: zone } = target.closest("[data-theme-choice], [data-zone-choice]")?.dataset ?? {};
    if (theme) {
      store("theme", theme);
      store("flower-theme", theme === "auto" ? "" : theme); // Flower's own key and its word for auto: none.
      apply(theme);
    }
    if (zone) {
      const name = { home: "", organisation: zone, UTC: "UTC", device: Intl.DateTimeFormat().resolvedOptions().timeZone }[zone];
      document.cookie = `zone=${name}; path=/; SameSite=Lax; max-age=${name ? 31536000 : 0}`; // The server writes the times.
      store("zone", zone);
      location.reload();
    }
    mark();
  });
  document.addEventListener("DOMContentLoaded", mark);
  document.cookie = `browser-zone=${Intl.DateTimeFormat().resolvedOptions().timeZone}; path=/; SameSite=Lax`;
  apply(stored("theme", "auto"));
})();
