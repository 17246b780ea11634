// The graph: zoom, drag, and a highlighted way through the node under the pointer or the focus.

const MIN = 0.3;
const MAX = 2;
// Below READABLE nobody reads a box: what needs less opens at SCROLLED and is scrolled.
const READABLE = 0.6;
const SCROLLED = 0.75;
let scale = 0;

const box = () => document.querySelector("[data-graph]");

function apply() {
  const svg = box()?.querySelector("svg.graph");
  if (!svg) return;
  svg.setAttribute("width", Math.round(svg.dataset.w * scale));
  svg.setAttribute("height", Math.round(svg.dataset.h * scale));
}

function fitting() {
  const svg = box().querySelector("svg.graph");
  const scroll = box().querySelector(".graph-scroll");
  const height = parseFloat(getComputedStyle(scroll).maxHeight) || innerHeight;
  return Math.min((scroll.clientWidth - 4) / svg.dataset.w, (height - 4) / svg.dataset.h, 1);
}

function show(wanted) {
  scale = Math.max(MIN, wanted);
  apply();
}

function zoom(factor) {
  const scroll = box().querySelector(".graph-scroll");
  const x = (scroll.scrollLeft + scroll.clientWidth / 2) / scale;
  const y = (scroll.scrollTop + scroll.clientHeight / 2) / scale;
  scale = Math.min(MAX, Math.max(MIN, scale * factor));
  apply();
  scroll.scrollLeft = x * scale - scroll.clientWidth / 2;
  scroll.scrollTop = y * scale - scroll.clientHeight / 2;
}

function highlight(node) {
  const svg = box()?.querySelector("svg.graph");
  if (!svg) return;
  const id = node?.dataset.node;
  const near = new Set(id ? [id] : []);
  for (const edge of svg.querySelectorAll(".edges path")) {
    const touches = id && (edge.dataset.from === id || edge.dataset.to === id);
    edge.classList.toggle("on", Boolean(touches));
    if (touches) near.add(edge.dataset.from).add(edge.dataset.to);
  }
  svg.classList.toggle("focus", Boolean(id));
  for (const other of svg.querySelectorAll(".node")) other.classList.toggle("near", near.has(other.dataset.node));
}

function drag(scroll) {
  let from = null;
  scroll.addEventListener("pointerdown", (event) => {
    if (event.pointerType === "mouse" && event.button === 0 && !event.target.closest("a")) {
      from = [event.clientX + scroll.scrollLeft, event.clientY + scroll.scrollTop];
      scroll.setPointerCapture(event.pointerId);
    }
  });
  scroll.addEventListener("pointermove", (event) => {
    if (!from) return;
    scroll.scrollLeft = from[0] - event.clientX;
    scroll.scrollTop = from[1] - event.clientY;
  });
  scroll.addEventListener("pointerup", () => (from = null));
  scroll.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    zoom(event.deltaY < 0 ? 1.1 : 1 / 1.1);
  }, { passive: false });
}

export function start() {
  if (!box()) return;
  show(fitting() < READABLE ? SCROLLED : fitting());
  drag(box().querySelector(".graph-scroll"));
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-zoom]");
    if (!button) return;
    if (button.dataset.zoom === "fit") show(fitting());
    else zoom(button.dataset.zoom === "in" ? 1.25 : 0.8);
  });
  document.addEventListener("pointerover", (event) => highlight(event.target.closest?.(".node")));
  document.addEventListener("focusin", (event) => highlight(event.target.closest?.(".node")));
  document.addEventListener("htmx:afterSwap", apply);
}
