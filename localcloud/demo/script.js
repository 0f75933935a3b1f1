const POLL_MS = 1000, POLL_MS_DURING_STEP = 400;
const NAMES = {truth: "Truth", plain: "Plain ADD", ours: "Order Totals"};
const buttons = [...document.querySelectorAll("[data-step]")];
const element = (id) => document.getElementById(id);
const signed = (number) => (number > 0 ? `+${number}` : `−${-number}`);
let isRunning = false, newest = 0, problem;

function make(tag, ...children) {
  const made = document.createElement(tag);
  made.append(...children);
  return made;
}

// A column that differs while a step runs is not wrong: its handler has not read the stream yet.
function verdict(off, isCounting) {
  if (!off) return ["✓ exact", "verdict good"];
  return isCounting ? ["counting …", "verdict"] : [`${signed(off)} too ${off > 0 ? "many" : "few"}`, "verdict bad"];
}

function logEntry({step, text, columns}) {
  const numbers = make("span");
  for (const [name, total] of Object.entries(columns)) {
    numbers.append(name === "truth" ? "" : " · ", `${NAMES[name]} ${total} `);
    if (total === columns.truth) continue;
    numbers.append(make("b", `(${signed(total - columns.truth)})`));
    numbers.lastChild.className = "bad";
  }
  const {why} = document.querySelector(`[data-step="${step}"]`).dataset;
  return make("li", make("p", make("b", text), numbers), make("span", why));
}

function show({columns, log, running}) {
  for (const [name, total] of Object.entries(columns)) {
    element(name).textContent = total;
    if (name === "truth") continue;
    const line = element(`${name}-verdict`);
    [line.textContent, line.className] = verdict(total - columns.truth, running || isRunning);
  }
  if (element("log").childElementCount !== log.length) element("log").replaceChildren(...log.map(logEntry).reverse());
}

// Only the newest request may change the page, because an older one may have read the tables earlier.
async function load(path, step) {
  const number = ++newest;
  let state = {};
  try {
    const response = await fetch(path, step && {method: "POST", headers: {"Content-Type": "application/json"}});
    state = await response.json();
    if (response.ok && number === newest) show(state);
  } catch {
    state = {problem: "The demo does not respond. Is make demo still running?"};
  }
  if (step) problem = state.problem;
  element("problem").textContent = state.problem ?? problem ?? "";
  element("problem").hidden = !element("problem").textContent;
}

async function carryOut(step) {
  if (isRunning) return;
  isRunning = true;
  for (const button of buttons) button.setAttribute("aria-disabled", "true");
  await load(`steps/${step}`, step);
  isRunning = false;
  await load("state");
  for (const button of buttons) button.removeAttribute("aria-disabled");
  element("news").textContent = element("log").firstChild.textContent;
}

async function poll() {
  if (!document.hidden) await load("state");
  setTimeout(poll, isRunning ? POLL_MS_DURING_STEP : POLL_MS);
}

for (const button of buttons) button.addEventListener("click", () => carryOut(button.dataset.step));
poll();
