// The keyboard: letters act when nobody is typing; every shortcut is also a visible link or button.

const GO = {
  d: "/dags", r: "/runs", p: "/pods", o: "/pools", i: "/import-errors", l: "/loops", a: "/audit", v: "/variables", c: "/connections",
};
let prefix = 0;

function typing(target) {
  return target.closest("input, textarea, select, [contenteditable]") !== null;
}

function moveRow(step) {
  const links = [...document.querySelectorAll("[data-rows] [data-open]")].filter((link) => link.offsetParent);
  if (!links.length) return;
  const row = document.activeElement.closest("[data-rows] tr");
  const at = links.findIndex((link) => row && row.contains(link));
  const next = links[at < 0 ? (step > 0 ? 0 : links.length - 1) : Math.min(links.length - 1, Math.max(0, at + step))];
  next.focus();
  next.closest("tr").scrollIntoView({ block: "nearest" });
}

function act(key) {
  if (key === "/") {
    const search = document.querySelector("[data-search]");
    search?.focus();
    search?.select();
    return search !== null;
  }
  if (key === "?") {
    document.getElementById("keys")?.showModal();
    return true;
  }
  if (key === "j" || key === "k") {
    moveRow(key === "j" ? 1 : -1);
    return true;
  }
  if (key === "u") {
    document.querySelector("[data-up]")?.click();
    return true;
  }
  if (/^[1-9]$/.test(key)) {
    document.querySelectorAll(".tabs a")[Number(key) - 1]?.click();
    return true;
  }
  if (key === "[" || key === "]") {
    const keyed = document.querySelector(`[data-key="${key}"]`);
    const here = document.querySelector(".attempts [aria-current]");
    (keyed || (key === "[" ? here?.previousElementSibling : here?.nextElementSibling))?.click();
    return true;
  }
  const element = /^[a-z]$/.test(key) && document.querySelector(`[data-key="${key}"]`);
  if (element) element.click();
  return Boolean(element);
}

export function start() {
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape" && typing(event.target) && !event.target.closest("dialog")) {
      event.target.blur();
      return;
    }
    if (typing(event.target) || document.querySelector("dialog[open]")) return;
    // Only where the menu leads, too: readers have no Variables.
    const link = prefix && performance.now() - prefix < 1200 && document.querySelector(`.nav a[href="${GO[event.key]}"]`);
    if (link) {
      event.preventDefault();
      location.assign(link.href);
      return;
    }
    prefix = event.key === "g" ? performance.now() : 0;
    if (act(event.key)) event.preventDefault();
  });
}
