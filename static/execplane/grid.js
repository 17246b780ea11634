// The grid: arrow keys, folding groups, a card for what the pointer or the keyboard is on.

import { stamp, zoneName } from "./times.js";

const grids = () => document.querySelectorAll("[data-grid]");
const foldKey = () => `execplane.folded:${location.pathname}`;
const folded = () => new Set(JSON.parse(sessionStorage.getItem(foldKey()) || "[]"));
let tip = null;

function applyFolds() {
  const closed = folded();
  for (const row of document.querySelectorAll("[data-grid] tr[data-in]")) {
    row.hidden = row.dataset.in.split(" ").some((group) => closed.has(group));
  }
  for (const button of document.querySelectorAll("[data-fold]")) {
    button.setAttribute("aria-expanded", String(!closed.has(button.dataset.fold)));
  }
}

function toggle(group) {
  const closed = folded();
  if (!closed.delete(group)) closed.add(group);
  sessionStorage.setItem(foldKey(), JSON.stringify([...closed]));
  applyFolds();
}

function rows(grid) {
  return [...grid.querySelectorAll("tr")].filter((row) => !row.hidden && row.querySelector("a.c, a.bar"));
}

function cellAt(row, column) {
  return row.children[column]?.querySelector("a.c, a.bar");
}

// One cell of the grid takes part in the tab order; the arrows move it.
function rove(grid, cell) {
  for (const old of grid.querySelectorAll('a[tabindex="0"]')) old.tabIndex = -1;
  if (cell) cell.tabIndex = 0;
}

function move(grid, cell, key) {
  const all = rows(grid);
  let y = all.indexOf(cell.closest("tr"));
  let x = [...cell.closest("tr").children].indexOf(cell.closest("td, th"));
  const [dx, dy] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1], Home: [-1e4, 0], End: [1e4, 0] }[key];
  const width = all[0].children.length;
  if (Math.abs(dx) > 1) x = dx < 0 ? 0 : width;
  do {
    x += Math.sign(dx);
    y += dy;
    if (y < 0 || y >= all.length || x < 0 || x > width) return;
  } while (!cellAt(all[y], x));
  const next = cellAt(all[y], x);
  rove(grid, next);
  next.focus();
}

function describe(cell) {
  const grid = cell.closest("table");
  const column = [...cell.closest("tr").children].indexOf(cell.closest("td, th"));
  const bar = grid.tHead.rows[0].children[column]?.querySelector("[data-run]");
  const task = cell.closest("tbody") ? cell.closest("tr").querySelector("th")?.textContent.trim() : "";
  return [task, cell.getAttribute("aria-label"), bar && task ? bar.dataset.run : "", bar ? `${stamp(new Date(bar.dataset.at))} ${zoneName()}` : ""];
}

function showTip(cell) {
  if (!tip) {
    tip = document.createElement("div");
    tip.className = "tip";
    tip.setAttribute("aria-hidden", "true");
    document.body.append(tip);
  }
  tip.replaceChildren(
    ...describe(cell).filter(Boolean).map((text, index) => {
      const line = document.createElement(index ? "span" : "strong");
      line.textContent = text;
      return line;
    }),
  );
  tip.hidden = false;
  const box = cell.getBoundingClientRect();
  const left = Math.min(Math.max(8, box.left + box.width / 2 - tip.offsetWidth / 2), innerWidth - tip.offsetWidth - 8);
  const above = box.top - tip.offsetHeight - 8;
  tip.style.left = `${left}px`;
  tip.style.top = `${above > 4 ? above : box.bottom + 8}px`;
}

function hideTip() {
  if (tip) tip.hidden = true;
}

function prepare() {
  for (const grid of grids()) {
    if (!grid.dataset.ready) {
      grid.dataset.ready = "1";
      grid.scrollLeft = grid.scrollWidth;
    }
    const all = rows(grid);
    if (!grid.querySelector('a[tabindex="0"]') && all.length) {
      const last = [...all[all.length > 1 ? 1 : 0].querySelectorAll("a.c, a.bar")].pop();
      rove(grid, document.activeElement?.closest?.("[data-grid]") === grid ? document.activeElement : last);
    }
  }
  applyFolds();
}

export function start() {
  prepare();
  document.addEventListener("htmx:afterSwap", prepare);
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-fold]");
    if (button) toggle(button.dataset.fold);
  });
  document.addEventListener("keydown", (event) => {
    const cell = event.target.closest?.("[data-grid] a.c, [data-grid] a.bar");
    if (!cell || !/^(Arrow|Home$|End$)/.test(event.key)) return;
    event.preventDefault();
    move(cell.closest("[data-grid]"), cell, event.key);
  });
  document.addEventListener("pointerover", (event) => {
    const cell = event.pointerType !== "touch" && event.target.closest("[data-grid] .c, [data-grid] .bar");
    if (cell) showTip(cell);
    else hideTip();
  });
  document.addEventListener("focusin", (event) => {
    const cell = event.target.closest("[data-grid] .c, [data-grid] .bar");
    if (cell && cell.matches(":focus-visible")) showTip(cell);
    else hideTip();
  });
  document.addEventListener("scroll", hideTip, { capture: true, passive: true });
}
