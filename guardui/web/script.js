"use strict";

// Keeps the page up to date. All of the page is there without it.
(() => {
  const status = document.getElementById("live");
  const events = document.body.dataset.events;
  const gone = document.getElementById("gone");
  const lag = 30000; // before a connection that was refused is tried again
  const silence = 45000; // after which the server is taken for gone: three beats
  let word = document.body.dataset.at; // the instant of the server's last word, as the server writes it
  let heard = Date.now(); // and when it came

  // alive notes a word of the server.
  function alive(at) {
    if (at) word = at;
    heard = Date.now();
    gone.hidden = true;
    delete document.body.dataset.gone;
  }

  // lost says in the verdict that it is no verdict of now any more.
  function lost() {
    say("Not connected: what you see is old", "off");
    if (document.body.dataset.gone) return;
    document.body.dataset.gone = "yes";
    gone.textContent = `Unknown: the server does not answer. Its last word was at ${word}; everything below is as of then.`;
    gone.hidden = false;
  }

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
    if (Date.now() - heard > silence) lost();
    if (document.body.dataset.gone) return; // nobody knows whether the limits still stand
    document.querySelectorAll("time[data-until]").forEach((e) => {
      e.textContent = span(e.dataset.until - e.dataset.now - (Date.now() - shown));
    });
  }, 1000);

  function connect() {
    const source = new EventSource(events);
    source.addEventListener("open", () => say("Live", "on"));
    source.addEventListener("beat", (event) => alive(event.data));
    source.addEventListener("parts", (event) => {
      alive(event.lastEventId);
      for (const part of JSON.parse(event.data)) {
        if (part.id === "countdown") shown = Date.now();
        replace(part.id, part.html);
      }
    });
    source.addEventListener("end", () => {
      source.close();
      alive();
      say("The guard is closed", "off");
      setTimeout(connect, lag);
    });
    source.addEventListener("error", () => {
      lost();
      if (source.readyState === EventSource.CLOSED) setTimeout(connect, lag);
    });
  }
  connect();
})();
