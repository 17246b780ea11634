// The log: tails and appends; only the chunks near the window are in the page, however long the log is.

import { plain, runs } from "./ansi.js";
import { isLive, onNudge } from "./live.js";
import { clockTime } from "./times.js";

const CHUNK = 200;
const POLL_MS = 2000;
const LEVELS = { DEBUG: 10, INFO: 20, WARNING: 30, ERROR: 40, CRITICAL: 50 };

function missing({ after_offset: after, count }) {
  if (count === null || count === undefined) return `An unknown number of lines after line ${after + 1} is missing.`;
  return count === 1 ? `Line ${after + 2} is missing.` : `Lines ${after + 2} to ${after + 1 + count} are missing.`;
}

class Log {
  constructor(root) {
    this.root = root;
    this.body = root.querySelector("[data-log-body]");
    this.foot = root.querySelector("[data-log-foot]");
    this.lines = [];
    this.view = [];
    this.chunks = [];
    this.offset = 0;
    this.complete = false;
    this.busy = false;
    this.again = false;
    this.query = "";
    this.hits = [];
    this.hit = -1;
    this.level = 0;
    this.target = /^#L\d+$/.test(location.hash) ? Number(location.hash.slice(2)) - 1 : null;
    this.follow = this.target === null;
    this.rowHeight = 20;
    this.seen = new IntersectionObserver((entries) => this.intersect(entries), { root: this.body, rootMargin: "800px 0px" });
  }

  // --- fetching

  async fetch() {
    if (this.complete) return;
    if (this.busy) {
      this.again = true;
      return;
    }
    this.busy = true;
    try {
      let more = true;
      while (more) {
        const response = await fetch(`${this.root.dataset.log}?offset=${this.offset}`, { headers: { "X-Requested-With": "fetch" } });
        const answer = await response.json();
        if (answer.error) {
          this.say(answer.error, answer.hint);
          break;
        }
        more = this.take(answer);
      }
    } catch {
      this.say("The log cannot be fetched just now.", "It is tried again.");
    } finally {
      this.busy = false;
      if (this.again) {
        this.again = false;
        this.fetch();
      }
    }
  }

  take({ page, ended, produced }) {
    const added = (page.records || []).map((record) => ({
      offset: record.offset,
      at: record.at,
      level: record.level || "INFO",
      stream: record.stream || "log",
      text: record.message,
    }));
    for (const gap of page.gaps || []) added.push({ after: gap.after_offset, level: "WARNING", gap: true, text: missing(gap) });
    // A gap stands behind the line before it.
    added.sort((a, b) => (a.gap ? a.after + 0.5 : a.offset) - (b.gap ? b.after + 0.5 : b.offset));
    const before = this.offset;
    this.offset = Math.max(this.offset, page.next_offset || 0);
    this.complete = Boolean(page.complete) && Boolean(ended);
    this.ended = Boolean(ended);
    this.append(added);
    this.describe(page.source, produced);
    return this.offset > before && !page.complete;
  }

  describe(source, produced) {
    const count = this.lines.length.toLocaleString("en");
    const parts = [];
    if (!this.lines.length) parts.push(this.ended ? "The attempt wrote no log." : "Waiting for the first line…");
    else parts.push(`${count} line${this.lines.length === 1 ? "" : "s"}`);
    if (!this.ended && this.lines.length) parts.push("still running");
    if (this.ended && produced > this.offset && this.lines.length) parts.push(`the worker produced ${produced}, the rest has not arrived`);
    if (source) parts.push(`from ${source}`);
    this.foot.textContent = parts.join(" · ");
    this.body.classList.toggle("is-empty", !this.lines.length);
  }

  say(text, hint = "") {
    this.foot.textContent = `${text} ${hint}`.trim();
    this.body.classList.toggle("is-empty", !this.lines.length);
  }

  // --- lines and chunks

  wanted(line) {
    return (LEVELS[line.level] ?? 20) >= this.level;
  }

  append(added) {
    if (!added.length) return;
    const start = this.view.length;
    for (const line of added) {
      this.lines.push(line);
      if (this.wanted(line)) this.view.push(line);
    }
    this.extend(start);
    this.search(false);
    if (this.target !== null && this.offset > this.target) this.reveal();
    else if (this.follow) this.toEnd();
  }

  extend(start) {
    for (let at = start; at < this.view.length; ) {
      const index = Math.floor(at / CHUNK);
      const end = Math.min(this.view.length, (index + 1) * CHUNK);
      let chunk = this.chunks[index];
      if (!chunk) {
        chunk = document.createElement("div");
        chunk.className = "chunk";
        chunk.index = index;
        this.chunks[index] = chunk;
        this.body.append(chunk);
        this.seen.observe(chunk);
      }
      if (chunk.filled) for (let i = at; i < end; i += 1) chunk.append(this.element(i));
      else chunk.style.height = `${(end - index * CHUNK) * this.rowHeight}px`;
      at = end;
    }
  }

  rebuild() {
    this.seen.disconnect();
    this.body.replaceChildren();
    this.chunks = [];
    this.view = this.lines.filter((line) => this.wanted(line));
    this.extend(0);
    this.search(false);
  }

  intersect(entries) {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting) this.fill(target);
      else if (target.filled && this.chunks.length > 6) this.drain(target);
    }
  }

  fill(chunk) {
    if (chunk.filled) return;
    const start = chunk.index * CHUNK;
    const end = Math.min(this.view.length, start + CHUNK);
    const rows = [];
    for (let i = start; i < end; i += 1) rows.push(this.element(i));
    chunk.replaceChildren(...rows);
    chunk.style.height = "";
    chunk.filled = true;
    if (chunk.offsetHeight && end > start) this.rowHeight = Math.max(16, Math.min(60, chunk.offsetHeight / (end - start)));
    if (this.follow) this.toEnd();
  }

  drain(chunk) {
    if (chunk.contains(document.activeElement)) return;
    chunk.style.height = `${chunk.offsetHeight}px`;
    chunk.replaceChildren();
    chunk.filled = false;
  }

  element(index) {
    const line = this.view[index];
    const row = document.createElement("div");
    row.className = `line l-${line.level.toLowerCase()}${line.gap ? " gap" : ""}${line.stream === "stderr" ? " err" : ""}`;
    if (line.gap) {
      row.textContent = line.text;
      return row;
    }
    row.id = `L${line.offset + 1}`;
    if (this.target === line.offset) row.classList.add("target");
    if (this.hits[this.hit] === index) row.classList.add("hit");
    const number = document.createElement("a");
    number.className = "no";
    number.href = `#L${line.offset + 1}`;
    number.textContent = line.offset + 1;
    const time = document.createElement("span");
    time.className = "at";
    time.textContent = clockTime(new Date(line.at));
    const text = document.createElement("span");
    text.className = "text";
    const above = this.view[index - 1];
    // The lines of one record (a traceback) carry its level once.
    if (LEVELS[line.level] >= 30 && !(above && above.level === line.level && above.at === line.at)) {
      const level = document.createElement("b");
      level.className = "level";
      level.textContent = line.level;
      text.append(level, " ");
    }
    for (const [part, names] of runs(line.text)) text.append(this.marked(part, names));
    row.append(number, time, text);
    return row;
  }

  marked(part, names) {
    const span = document.createElement("span");
    if (names) span.className = names;
    if (!this.query) {
      span.textContent = part;
      return span;
    }
    const lower = part.toLowerCase();
    let at = 0;
    for (let found = lower.indexOf(this.query); found >= 0; found = lower.indexOf(this.query, at)) {
      span.append(part.slice(at, found));
      const mark = document.createElement("mark");
      mark.textContent = part.slice(found, found + this.query.length);
      span.append(mark);
      at = found + this.query.length;
    }
    span.append(part.slice(at));
    return span;
  }

  // --- going places

  toEnd() {
    this.body.scrollTop = this.body.scrollHeight;
  }

  goTo(index) {
    const chunk = this.chunks[Math.floor(index / CHUNK)];
    if (!chunk) return;
    this.setFollow(false);
    this.fill(chunk);
    const row = chunk.children[index % CHUNK];
    // Only the log scrolls, and twice: chunks that fill on the way change heights above.
    const place = () => {
      this.body.scrollTop += row.getBoundingClientRect().top - this.body.getBoundingClientRect().top - this.body.clientHeight / 3;
    };
    place();
    requestAnimationFrame(() => requestAnimationFrame(place));
  }

  reveal() {
    const index = this.view.findIndex((line) => line.offset === this.target);
    if (index < 0) return;
    for (const old of this.body.querySelectorAll(".target")) old.classList.remove("target");
    this.goTo(index);
    this.body.querySelector(`#L${this.target + 1}`)?.classList.add("target");
    if (this.revealed) return;
    this.revealed = true;
  }

  search(jump) {
    this.hits = [];
    if (this.query) {
      this.view.forEach((line, index) => {
        if (plain(line.text).toLowerCase().includes(this.query)) this.hits.push(index);
      });
    }
    if (this.hit >= this.hits.length) this.hit = this.hits.length - 1;
    if (jump) {
      this.hit = this.hits.length ? 0 : -1;
      this.refill();
      if (this.hits.length) this.goTo(this.hits[0]);
    }
    this.count();
  }

  refill() {
    for (const chunk of this.chunks) {
      if (!chunk.filled) continue;
      chunk.filled = false;
      this.fill(chunk);
    }
  }

  count() {
    const label = this.root.querySelector("[data-log-found]");
    label.textContent = this.query ? `${this.hits.length ? this.hit + 1 : 0} of ${this.hits.length}` : "";
    for (const name of ["prev", "next"]) this.root.querySelector(`[data-log-${name}]`).disabled = !this.hits.length;
  }

  step(by) {
    if (!this.hits.length) return;
    this.hit = (this.hit + by + this.hits.length) % this.hits.length;
    this.refill();
    this.goTo(this.hits[this.hit]);
    this.count();
  }

  // --- switches

  setFollow(on) {
    this.follow = on;
    this.root.querySelector("[data-log-follow]").setAttribute("aria-pressed", String(on));
    if (on) this.toEnd();
  }

  toggle(name, className) {
    const button = this.root.querySelector(`[data-log-${name}]`);
    const on = button.getAttribute("aria-pressed") !== "true";
    this.press(name, className, on);
    localStorage.setItem(`execplane.log.${name}`, on ? "1" : "0");
  }

  press(name, className, on) {
    this.root.querySelector(`[data-log-${name}]`).setAttribute("aria-pressed", String(on));
    this.body.classList.toggle(className, on);
    if (this.follow) this.toEnd();
  }

  // The log's end belongs on the first screen, whatever stands above it.
  fit() {
    const top = this.body.getBoundingClientRect().top + scrollY;
    this.body.style.maxHeight = `${Math.max(260, innerHeight - top - 56)}px`;
    if (this.follow) this.toEnd();
  }

  listen() {
    addEventListener("resize", () => this.fit());
    this.fit();
    const find = (name) => this.root.querySelector(`[data-log-${name}]`);
    for (const [name, className] of [["times", "with-times"], ["wrap", "wrapped"]]) {
      this.press(name, className, (localStorage.getItem(`execplane.log.${name}`) ?? (name === "times" && innerWidth < 700 ? "0" : "1")) === "1");
      find(name).addEventListener("click", () => this.toggle(name, className));
    }
    this.setFollow(this.follow);
    find("follow").addEventListener("click", () => this.setFollow(!this.follow));
    find("prev").addEventListener("click", () => this.step(-1));
    find("next").addEventListener("click", () => this.step(1));
    find("search").addEventListener("input", (event) => {
      this.query = event.target.value.toLowerCase();
      this.search(true);
    });
    find("search").addEventListener("keydown", (event) => {
      if (event.key === "Enter") this.step(event.shiftKey ? -1 : 1);
    });
    find("level").addEventListener("change", (event) => {
      this.level = LEVELS[event.target.value] || 0;
      this.rebuild();
      if (this.follow) this.toEnd();
    });
    this.body.addEventListener("wheel", (event) => {
      if (event.deltaY < 0) this.setFollow(false);
    }, { passive: true });
    this.body.addEventListener("touchmove", () => this.setFollow(false), { passive: true });
    this.body.addEventListener("keydown", (event) => {
      if (/^(PageUp|ArrowUp|Home)$/.test(event.key)) this.setFollow(false);
      if (event.key === "End") this.setFollow(true);
    });
    this.body.addEventListener("scroll", () => {
      const atEnd = this.body.scrollHeight - this.body.scrollTop - this.body.clientHeight < 4;
      if (atEnd && !this.follow && !this.ended) this.setFollow(true);
    }, { passive: true });
    addEventListener("hashchange", () => {
      if (!/^#L\d+$/.test(location.hash)) return;
      this.target = Number(location.hash.slice(2)) - 1;
      this.reveal();
    });
    document.addEventListener("zone", () => this.refill());
    document.addEventListener("keydown", (event) => {
      if (event.target.closest("input, textarea, select") || event.ctrlKey || event.metaKey || event.altKey) return;
      if (document.querySelector("dialog[open]")) return;
      const act = { n: () => this.step(1), N: () => this.step(-1), f: () => this.setFollow(!this.follow), w: () => this.toggle("wrap", "wrapped") }[event.key];
      if (act) {
        event.preventDefault();
        act();
      }
    });
  }
}

export function start(root) {
  const log = new Log(root);
  log.listen();
  log.fetch();
  onNudge([root.dataset.topic, root.dataset.attemptTopic], () => log.fetch());
  const poll = setInterval(() => {
    if (log.complete) clearInterval(poll);
    else if (!document.hidden && !(log.ended && isLive() && log.lines.length)) log.fetch();
  }, POLL_MS);
}
