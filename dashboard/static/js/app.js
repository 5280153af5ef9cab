// What HTML cannot do alone. One listener per kind of event, on the document; no inline handlers anywhere.
(() => {
  "use strict";
  const find = (selector) => document.querySelector(selector);
  const on = (event, act, capture = false) => document.addEventListener(event, act, capture);

  const stored = (key) => { try { return localStorage.getItem(key); } catch { return null; } };
  const store = (key, value) => { try { value ? localStorage.setItem(key, value) : localStorage.removeItem(key); } catch { /* keep going */ } };

  function flash(message, tone = "info") {
    const note = find(`#flash-${tone}`).content.firstElementChild.cloneNode(true);
    note.querySelector(".flash-text").textContent = message;
    find("#toasts").append(note);
    if (tone === "ok") setTimeout(() => note.remove(), 8000);
  }
  on("flash", (event) => flash(event.detail.message, event.detail.tone));

  // Live panels: quiet while hidden, patient while the server is away.
  const health = new WeakMap();
  const healthOf = (panel) => health.get(panel) ?? health.set(panel, { failures: 0, resumeAt: 0, seen: new Date() }).get(panel);
  const isPoll = (ctx) => ctx?.sourceElement?.matches?.("[data-live]");

  function say(text, stale = false) {
    const line = find("#live-status");
    if (line && line.textContent !== text) line.textContent = text;
    line?.classList.toggle("is-stale", stale);
  }
  function settled(panel, ok) {
    const state = healthOf(panel);
    state.failures = ok ? 0 : state.failures + 1;
    state.resumeAt = ok ? 0 : Date.now() + 1000 * Math.min(60, 2 ** state.failures);
    if (ok) state.seen = new Date();
    panel.toggleAttribute("data-stale", !ok);
    find(".live-chip button > :last-child")?.replaceChildren(panel.dataset.live); // The pace may have changed.
    say(ok ? panel.dataset.status ?? "" : `Last updated ${state.seen.toLocaleTimeString("en-GB")}, retrying`, !ok);
  }
  on("htmx:config:request", (event) => {
    const { ctx } = event.detail;
    if (isPoll(ctx) && (document.hidden || Date.now() < healthOf(ctx.sourceElement).resumeAt)) event.preventDefault();
  });
  on("htmx:after:swap", (event) => {
    const { ctx } = event.detail;
    if (isPoll(ctx) && ctx.response.status < 400) settled(ctx.sourceElement, true);
    refreshTimes();
  });
  on("htmx:error", (event) => {
    const { ctx } = event.detail;
    if (isPoll(ctx)) settled(ctx.sourceElement, false);
    else if (ctx) flash("The server could not be reached. Check your connection and try again.", "bad");
  });
  on("htmx:response:error", (event) => {
    const { ctx } = event.detail;
    if (ctx.response.status === 401) location.reload(); // The full page leads to sign-in and back here.
    else if (isPoll(ctx)) settled(ctx.sourceElement, false);
    else if (ctx.response.status !== 422) flash(reason(ctx.text), "bad");
  });
  function reason(html) {
    const page = new DOMParser().parseFromString(html ?? "", "text/html");
    return page.querySelector("[data-message]")?.textContent.trim() || "That did not work. Reload the page and try again.";
  }
  on("visibilitychange", () => {
    for (const panel of document.hidden ? [] : document.querySelectorAll("[data-live][hx-get]")) {
      healthOf(panel).resumeAt = 0;
      window.htmx?.trigger(panel, "every", {}, false);
    }
  });

  // "3 min ago" keeps counting between two answers of the server; core/formats.py has the same steps.
  function ago(then) {
    const seconds = Math.round((Date.now() - then) / 1000);
    const size = Math.abs(seconds);
    const [unit, length] = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]].find(([, from]) => size >= from) ?? ["s", 1];
    const amount = `${Math.floor(size / length)} ${unit}`;
    return size < 1 ? "now" : seconds < 0 ? `in ${amount}` : `${amount} ago`;
  }
  function refreshTimes() {
    for (const time of document.querySelectorAll("time[data-ago]")) {
      const text = ago(Date.parse(time.dateTime));
      if (time.textContent !== text) time.textContent = text;
    }
  }
  setInterval(() => document.hidden || refreshTimes(), 5000);

  // Forms: ask first where told to, never send twice.
  const sure = new WeakSet();
  on("submit", (event) => {
    const form = event.target, { submitter } = event;
    const question = submitter?.dataset.confirm ?? form.dataset.confirm;
    if (question && !sure.delete(form)) { stop(event); ask(question, form, submitter); return; }
    if ((submitter?.formMethod || form.method) !== "post") return;
    if (form.ariaBusy === "true") { stop(event); return; }
    form.ariaBusy = "true";
    setTimeout(() => release(form), 10000); // A download answers without leaving the page.
  }, true);
  const stop = (event) => { event.preventDefault(); event.stopImmediatePropagation(); };
  const release = (form) => form.removeAttribute("aria-busy");
  on("htmx:finally:request", (event) => release(event.detail.ctx.sourceElement));
  window.addEventListener("pageshow", () => document.querySelectorAll("form[aria-busy]").forEach(release));
  function ask(question, form, submitter) {
    const dialog = find("#confirm");
    dialog.querySelector("p").textContent = question;
    dialog.querySelector("[data-go] span").textContent = `Yes, ${submitter?.textContent.trim().toLowerCase() || "continue"}`;
    dialog.returnValue = "cancel";
    dialog.onclose = () => { if (dialog.returnValue === "go") { sure.add(form); form.requestSubmit(submitter); } };
    dialog.showModal();
  }

  // Clicks and changes, by data attribute.
  const clicks = {
    open: (element) => document.getElementById(element.dataset.open)?.showModal(),
    close: (element) => element.closest("dialog").close(),
    dismiss: (element) => element.closest(".flash").remove(),
    copy: async (element) => {
      await navigator.clipboard.writeText(element.dataset.copy);
      element.dataset.copied = "";
      setTimeout(() => delete element.dataset.copied, 1500);
      say("Copied");
    },
  };
  on("click", (event) => {
    const element = event.target.closest("[data-open], [data-close], [data-dismiss], [data-copy]");
    for (const name of Object.keys(element?.dataset ?? {})) clicks[name]?.(element);
  });
  on("change", ({ target }) => {
    const { checkAll, submit, shortcuts } = target.dataset;
    if (checkAll) for (const box of document.getElementsByName(checkAll)) box.checked = target.checked;
    if (submit !== undefined) target.form.requestSubmit();
    if (shortcuts !== undefined) store("shortcuts", target.checked ? "" : "off");
  });
  on("input", ({ target: { style, scrollHeight, tagName } }) => {
    if (tagName === "TEXTAREA" && !CSS.supports("field-sizing", "content")) style.height = `${scrollHeight + 2}px`;
  });

  // Keys: "/" searches, "?" explains, "g" and a letter go somewhere.
  let going = 0;
  on("keydown", (event) => {
    const typing = event.target.closest?.("input, textarea, select, [contenteditable], dialog[open]");
    if (typing || event.ctrlKey || event.metaKey || event.altKey || stored("shortcuts") === "off") return;
    const letter = Date.now() < going ? event.key : "";
    going = event.key === "g" && !letter ? Date.now() + 1500 : 0;
    const act = { "/": () => find("[data-search]")?.focus(), "?": () => find("#shortcuts")?.showModal() }[event.key];
    if (letter) find(`[data-key="${CSS.escape(letter)}"]`)?.click();
    else if (act) { event.preventDefault(); act(); }
  });

  document.documentElement.classList.toggle("no-clipboard", !navigator.clipboard);
  for (const box of document.querySelectorAll("[data-shortcuts]")) box.checked = stored("shortcuts") !== "off";
  find("[data-focus]")?.focus();
})();
