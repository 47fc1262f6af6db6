"use strict";

// Keeps the page up to date. All of the page is there without it.
(() => {
  const status = document.getElementById("live");
  const events = document.body.dataset.events;
  const lag = 30000; // before a connection that was refused is tried again

  function say(text, state) {
    if (status.textContent !== text) status.textContent = text;
    status.dataset.state = state;
  }

  // replace puts new content into an element and keeps where the reader was.
  function replace(id, html) {
    const element = document.getElementById(id);
    if (!element) return;
    const next = document.createElement("template");
    next.innerHTML = html; // made by the same escaping templates as the page
    if (next.innerHTML === element.innerHTML) return; // nothing to announce
    const selection = document.getSelection();
    if (!selection.isCollapsed && element.contains(selection.anchorNode)) return; // being copied
    const focusable = "a[href], [tabindex]";
    const focused = [...element.querySelectorAll(focusable)].indexOf(document.activeElement);
    const href = focused < 0 ? null : document.activeElement.getAttribute("href");
    const scroll = [...element.querySelectorAll(".scroll")].map((e) => [e.scrollTop, e.scrollLeft]);
    element.replaceChildren(next.content);
    element.querySelectorAll(".scroll").forEach((e, i) => {
      if (scroll[i]) [e.scrollTop, e.scrollLeft] = scroll[i];
    });
    if (focused >= 0) {
      const all = [...element.querySelectorAll(focusable)];
      const same = all.find((e) => href !== null && e.getAttribute("href") === href) || all[focused] || all[0];
      if (same) same.focus({ preventScroll: true });
    }
  }

  // As the server says it.
  function span(ms) {
    const all = Math.max(0, Math.round(ms / 1000));
    const [h, m, s] = [Math.floor(all / 3600), Math.floor(all / 60) % 60, all % 60];
    if (h) return m ? `${h} h ${m} min` : `${h} h`;
    if (m) return s ? `${m} min ${s} s` : `${m} min`;
    return `${s} s`;
  }

  let shown = Date.now(); // when the instants on the page were true
  setInterval(() => {
    document.querySelectorAll("time[data-until]").forEach((e) => {
      e.textContent = span(e.dataset.until - e.dataset.now - (Date.now() - shown));
    });
  }, 1000);

  function connect() {
    const source = new EventSource(events);
    source.addEventListener("open", () => say("Live", "on"));
    source.addEventListener("parts", (event) => {
      for (const part of JSON.parse(event.data)) {
        if (part.id === "countdown") shown = Date.now();
        replace(part.id, part.html);
      }
    });
    source.addEventListener("end", () => {
      source.close();
      say("The guard is closed", "off");
      setTimeout(connect, lag);
    });
    source.addEventListener("error", () => {
      say("Not connected: what you see may be old", "off");
      if (source.readyState === EventSource.CLOSED) setTimeout(connect, lag);
    });
  }
  connect();
})();
