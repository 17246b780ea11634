// Live pages: the socket only says that something changed; the parts that care fetch themselves again.
// Without a socket they ask every few seconds, while somebody looks.

const POLL_MS = 5000;
const SAFETY_MS = 30000;
const SPACING_MS = 700;
const listeners = new Set();
let socket = null;
let open = false;
let failures = 0;
const waiting = new Map();
const lastRun = new WeakMap();

/** Calls back with each nudge's topic ("*" means anything may have changed). */
export function onNudge(topics, callback) {
  listeners.add({ topics: new Set(topics), callback });
  subscribe();
}

export const isLive = () => open;

function parts() {
  return document.querySelectorAll("[data-topics][hx-get]");
}

function topicsOf(element) {
  return (element.dataset.topics || "").split(" ").filter(Boolean);
}

function subscribe() {
  if (!open) return;
  const wanted = new Set();
  for (const element of parts()) topicsOf(element).forEach((topic) => wanted.add(topic));
  for (const listener of listeners) listener.topics.forEach((topic) => wanted.add(topic));
  socket.send(JSON.stringify({ subscribe: [...wanted].slice(0, 400) }));
}

function run(element) {
  waiting.delete(element);
  if (!element.isConnected) return;
  if (document.hidden) {
    element.dataset.stale = "1";
    return;
  }
  lastRun.set(element, performance.now());
  htmx.trigger(element, "nudge");
}

// The first nudge is answered at once, a burst at most every SPACING_MS.
function schedule(element) {
  if (waiting.has(element)) return;
  const since = performance.now() - (lastRun.get(element) ?? -SPACING_MS);
  waiting.set(element, setTimeout(() => run(element), Math.max(30, SPACING_MS - since)));
}

function nudged(topic) {
  for (const element of parts()) {
    if (topic === "*" || topicsOf(element).includes(topic)) schedule(element);
  }
  for (const listener of listeners) {
    if (topic === "*" || listener.topics.has(topic)) listener.callback(topic);
  }
}

function show(state, title) {
  const element = document.getElementById("live-state");
  element.dataset.state = state;
  element.title = title;
  element.querySelector("span").textContent = state;
}

function connect() {
  socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws/live`);
  socket.onopen = () => {
    open = true;
    failures = 0;
    show("live", "Changes show without reloading");
    subscribe();
  };
  socket.onmessage = (event) => {
    const message = JSON.parse(event.data);
    // What changed between the page's rendering and this answer was told to nobody: look once.
    if ("subscribed" in message) nudged("*");
    if (message.topic) nudged(message.topic);
  };
  socket.onclose = (event) => {
    open = false;
    failures += 1;
    if (event.code === 4401) {
      show("logged out", "Log in again to go on");
      return;
    }
    show("reconnecting", `No live connection: asking every ${POLL_MS / 1000} s`);
    setTimeout(connect, Math.min(30000, 500 * 2 ** Math.min(failures, 6)) * (0.75 + Math.random() / 2));
  };
}

export function start() {
  connect();
  setInterval(() => {
    if (!open && !document.hidden) nudged("*");
  }, POLL_MS);
  // The safety net below the socket: a nudge may get lost, and an unchanged page costs an empty answer.
  setInterval(() => {
    if (open && !document.hidden) nudged("*");
  }, SAFETY_MS);
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) return;
    for (const element of document.querySelectorAll("[data-stale]")) {
      delete element.dataset.stale;
      schedule(element);
    }
  });
  document.addEventListener("refresh", () => nudged("*"));
  document.addEventListener("htmx:configRequest", (event) => {
    const { elt, headers } = event.detail;
    headers["X-CSRFToken"] = document.querySelector('meta[name="csrf-token"]').content;
    if (elt.id === "live") {
      event.detail.path = location.pathname + location.search;
      if (elt.dataset.have) headers["X-Have"] = elt.dataset.have;
    }
  });
  document.addEventListener("htmx:beforeSwap", (event) => {
    const { xhr, elt } = event.detail;
    // An expired session answers with the login page: go there instead of showing it inside this one.
    if (new URL(xhr.responseURL).pathname === "/login") {
      event.detail.shouldSwap = false;
      location.reload();
    } else if (elt.id === "live") {
      const digest = xhr.getResponseHeader("X-Digest");
      if (digest) elt.dataset.have = digest;
    }
  });
  document.addEventListener("htmx:afterSwap", (event) => {
    if (event.detail.target.id === "live") syncTopics(event.detail.xhr);
  });
}

function syncTopics(xhr) {
  const topics = xhr.getResponseHeader("X-Topics");
  const live = document.getElementById("live");
  if (topics !== null && decodeURIComponent(topics) !== live.dataset.topics) {
    live.dataset.topics = decodeURIComponent(topics);
    subscribe();
  }
}
