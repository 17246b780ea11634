// Questions in a dialog, toasts, menus, theme, copying: what the frame of every page does.

const $ = (id) => document.getElementById(id);
const THEMES = ["system", "light", "dark"];

export function toast(level, text, hint = "") {
  const box = document.createElement("div");
  box.className = `toast ${level}`;
  const words = document.createElement("p");
  words.append(...withCode(text));
  if (hint) {
    const small = document.createElement("small");
    small.append(...withCode(hint));
    words.append(document.createElement("br"), small);
  }
  const close = document.createElement("button");
  close.type = "button";
  close.className = "quiet square";
  close.setAttribute("aria-label", "Close");
  close.textContent = "×";
  box.append(words, close);
  $("toasts").append(box);
  expire(box);
}

// What stands between backticks is code.
function withCode(text) {
  return text.split(/`([^`\n]+)`/).map((part, index) => {
    if (index % 2 === 0) return part;
    const code = document.createElement("code");
    code.textContent = part;
    return code;
  });
}

function expire(box) {
  // Errors stay until they are read.
  if (!box.classList.contains("error")) setTimeout(() => box.remove(), 6000);
}

async function ask(href) {
  const dialog = $("dialog");
  await htmx.ajax("GET", href, { target: "#dialog", swap: "innerHTML" });
  if (!dialog.firstElementChild) return;
  if (!dialog.open) dialog.showModal();
  (dialog.querySelector("[autofocus], .dialog-body input:not([type=hidden]), .dialog-body select, .dialog-body textarea") ||
    // Enter on a dialog that has just opened must not do what cannot be undone.
    dialog.querySelector(".dialog-foot button:not(.danger)") || dialog.querySelector(".dialog-foot [data-close]"))?.focus();
}

function click(event) {
  const target = event.target.closest("[data-dialog], [data-close], [data-copy], [data-copy-from], .toast button");
  if (!target) return;
  if (target.matches(".toast button")) {
    target.closest(".toast").remove();
  } else if (target.hasAttribute("data-copy") || target.hasAttribute("data-copy-from")) {
    copy(target);
  } else if (target.hasAttribute("data-close")) {
    const dialog = target.closest("dialog");
    if (!dialog) return;
    event.preventDefault();
    dialog.close();
  } else if (!event.ctrlKey && !event.metaKey && !event.shiftKey && event.button === 0) {
    event.preventDefault();
    target.closest("details.menu")?.removeAttribute("open");
    ask(target.href);
  }
}

async function copy(button) {
  const from = button.dataset.copyFrom && $(button.dataset.copyFrom);
  const lines = from ? [...from.querySelectorAll("code")].map((code) => code.textContent) : [];
  const text = from ? lines.join("\n") : button.dataset.copy;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Plain http has no clipboard API.
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  button.classList.add("copied");
  setTimeout(() => button.classList.remove("copied"), 1200);
}

function showTheme() {
  const chosen = localStorage.getItem("execplane.theme") || "system";
  if (chosen === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = chosen;
  const button = $("theme");
  if (button) {
    button.title = `Theme: ${chosen === "system" ? "as the system" : chosen}`;
    button.setAttribute("aria-label", `${button.title}. Switch theme.`);
  }
}

export function start() {
  document.addEventListener("click", click);
  document.addEventListener("click", (event) => {
    for (const menu of document.querySelectorAll("details.menu[open]")) {
      if (!menu.contains(event.target)) menu.open = false;
    }
    const dialog = event.target.closest?.("dialog");
    if (dialog && event.target === dialog) dialog.close();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    for (const menu of document.querySelectorAll("details.menu[open]")) {
      menu.open = false;
      menu.querySelector("summary").focus();
    }
  });
  document.addEventListener("toast", (event) => toast(event.detail.level, event.detail.text, event.detail.hint));
  document.addEventListener("htmx:responseError", (event) => {
    if (event.detail.elt.id === "live") return;
    const status = event.detail.xhr.status;
    const words = new DOMParser().parseFromString(event.detail.xhr.responseText, "text/html");
    const said = [...words.querySelectorAll(".error-page p:not(.error-status):not(.actions)")].map((p) => p.textContent);
    toast("error", said[0] || `The server answered ${status}.`, said[1] || "");
  });
  document.addEventListener("htmx:sendError", (event) => {
    if (event.detail.elt.id !== "live") toast("error", "The server cannot be reached.", "Nothing was changed. Try again.");
  });
  $("theme")?.addEventListener("click", () => {
    const now = localStorage.getItem("execplane.theme") || "system";
    localStorage.setItem("execplane.theme", THEMES[(THEMES.indexOf(now) + 1) % THEMES.length]);
    showTheme();
  });
  showTheme();
  $("keys-button")?.addEventListener("click", () => $("keys").showModal());
  $("nav-button")?.addEventListener("click", () => {
    const shown = $("nav").classList.toggle("open");
    $("nav-button").setAttribute("aria-expanded", String(shown));
  });
  for (const box of document.querySelectorAll(".toast")) expire(box);
}
