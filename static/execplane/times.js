// Times: UTC or local as the reader chose, relative ones kept fresh, running durations counting on.

const KEY = "execplane.zone";
const pad = (n, width = 2) => String(n).padStart(width, "0");
let local = localStorage.getItem(KEY) === "local";

export function stamp(date, useLocal = local) {
  const get = (name) => (useLocal ? date[`get${name}`]() : date[`getUTC${name}`]());
  return `${get("FullYear")}-${pad(get("Month") + 1)}-${pad(get("Date"))} ${pad(get("Hours"))}:${pad(get("Minutes"))}:${pad(get("Seconds"))}`;
}

export function clockTime(date) {
  return stamp(date).slice(11) + "." + pad(date.getUTCMilliseconds(), 3);
}

export function zoneName() {
  if (!local) return "UTC";
  const part = new Intl.DateTimeFormat(undefined, { timeZoneName: "short" }).formatToParts(new Date());
  return part.find((p) => p.type === "timeZoneName")?.value || "local";
}

export function ago(date, now = Date.now()) {
  const seconds = (now - date) / 1000;
  const size = Math.abs(seconds);
  for (const [length, unit] of [[31536000, "y"], [86400, "d"], [3600, "h"], [60, "min"], [1, "s"]]) {
    if (size >= length) {
      const text = `${Math.floor(size / length)} ${unit}`;
      return seconds > 0 ? `${text} ago` : `in ${text}`;
    }
  }
  return "now";
}

export function duration(seconds) {
  if (seconds < 1) return `${Math.max(0, Math.round(seconds * 1000))} ms`;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  for (const [size, unit, lower, lowerUnit] of [[86400, "d", 3600, "h"], [3600, "h", 60, "min"], [60, "min", 1, "s"]]) {
    if (whole >= size) {
      const rest = Math.floor((whole % size) / lower);
      return `${Math.floor(whole / size)} ${unit}` + (rest ? ` ${rest} ${lowerUnit}` : "");
    }
  }
  return `${whole} s`;
}

function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function render(element, now) {
  const date = new Date(element.dateTime);
  if (element.classList.contains("abs")) {
    put(element, stamp(date) + (element.classList.contains("ms") ? "." + pad(date.getUTCMilliseconds(), 3) : ""));
    element.title = `${ago(date, now)} · ${stamp(date, false)} UTC`;
  } else if (element.classList.contains("rel")) {
    put(element, ago(date, now));
    element.title = `${stamp(date)} ${zoneName()}`;
  } else if (element.classList.contains("since")) {
    const seconds = (now - date) / 1000;
    // Tenths that tick once a second would only jitter.
    put(element, seconds < 10 ? `${Math.max(0, Math.floor(seconds))} s` : duration(seconds));
  }
}

export function refresh(root = document) {
  const now = Date.now();
  for (const element of root.querySelectorAll("time[datetime]")) render(element, now);
}

function clock() {
  const element = document.getElementById("clock");
  if (element) put(element, stamp(new Date()).slice(11, 16));
}

function showZone() {
  const button = document.getElementById("zone");
  if (!button) return;
  document.getElementById("zone-name").textContent = zoneName();
  button.setAttribute("aria-label", `Times are in ${zoneName()}. Switch to ${local ? "UTC" : "local time"}.`);
  clock();
  refresh();
}

export function start() {
  document.getElementById("zone")?.addEventListener("click", () => {
    local = !local;
    localStorage.setItem(KEY, local ? "local" : "utc");
    showZone();
    document.dispatchEvent(new CustomEvent("zone"));
  });
  showZone();
  refresh();
  setInterval(() => {
    if (document.hidden) return;
    clock();
    refresh();
  }, 1000);
  document.addEventListener("htmx:afterSwap", (event) => refresh(event.detail.target));
}
