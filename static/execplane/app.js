// The pages' one entry: small modules, each for one thing, all of them optional for reading a page.
import "./morph.js";
import { start as startTimes } from "./times.js";
import { start as startLive } from "./live.js";
import { start as startDialogs } from "./dialogs.js";
import { start as startKeys } from "./keys.js";
import { start as startFilters } from "./filters.js";
import { start as startGrid } from "./grid.js";
import { start as startGraph } from "./graph.js";

startTimes();
startDialogs();
startFilters();
startKeys();
startGrid();
startGraph();
if (document.getElementById("live-state")) startLive();
const log = document.querySelector("[data-log]");
if (log) import("./log.js").then((module) => module.start(log));
