// The dashboard: asks the API next to which it is served, and draws what it answers. Whatever comes from
// outside is put in as text, never as markup.

const EVERY_MS = 1000;          // From one look at the totals to the next.
const TREND_EVERY_MS = 5000;    // Sooner when the product's total has changed.
const SLOWEST_MS = 15000;       // Between two tries while the API cannot be reached.
const HANGS_MS = 5000;          // A look at the totals that takes longer is shown as trouble.
const FEW = 10, MANY = 100;     // Products shown.
const PLACED_SHOWN = 5;

// Also where the address has no slash at its end, as /api of a deployed stage.
const BASE = location.pathname.replace(/\/?$/, "/");
const $ = (id) => document.getElementById(id);
const number = new Intl.NumberFormat("en");
const short = new Intl.NumberFormat("en", {notation: "compact", maximumFractionDigits: 1});
const counted = (n, one, many) => `${number.format(n)} ${n === 1 ? one : many}`;

// --- Who may ask ---------------------------------------------------------------------------------

const {reads, writes} = document.body.dataset;   // open, key or iam: what the API wants with a request.
const SIGNED = "signed with AWS credentials, which a page does not have. The project’s docs/access.md says how to call it.";
let key = "";   // Typed in, and kept nowhere else.

$("entry").hidden = reads !== "key" && writes !== "key";
$("entry-form").onsubmit = (event) => {
  event.preventDefault();
  key = $("key").value.trim();
  hurry();
};
if (writes === "iam") {
  $("form").hidden = true;
  say("placing-note", `This API wants orders ${SIGNED}`);
}

function refusal() {
  return key ? "The API does not take this key." : "The API wants a key: type it in above.";
}

// --- The API -------------------------------------------------------------------------------------

class Failure extends Error {
  constructor(message, status, problems) {
    super(message);
    this.status = status;       // 0 where there was no answer.
    this.problems = problems || {};
  }
}

async function call(path, method = "GET", body = undefined) {
  const options = {method, cache: "no-store", signal: AbortSignal.timeout(20000), headers: key ? {"x-api-key": key} : {}};
  if (body) {
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  let answer, content;
  try {
    answer = await fetch(BASE + path, options);
    noteServerTime(Date.parse(answer.headers.get("date")));
    content = await answer.json();
  } catch (error) {
    if (answer?.ok === false) throw new Failure(`The API answered with an error (${answer.status}).`, answer.status);
    throw new Failure("The API cannot be reached.", 0);
  }
  if (answer.ok) return content;
  if (answer.status === 403 && (method === "GET" ? reads : writes) === "key") throw new Failure(refusal(), 403);
  throw new Failure(content.Message || content.message || `The API answered with an error (${answer.status}).`,
                    answer.status, content.problems);
}

// --- Elements ------------------------------------------------------------------------------------

function make(name, properties = {}, ...children) {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
}

function draw(name, attributes, text) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

function say(id, text) {
  const element = $(id);
  element.hidden = !text;
  if (element.textContent !== text) element.textContent = text;   // Else a screen reader says it again.
}

// --- Keeping up ----------------------------------------------------------------------------------

let selected = fromAddress();
let shown = FEW;
let failures = 0;
let looking = null;   // When the look under way started, by performance.now().
let hurry = () => {};

async function keepUp() {
  if (reads === "iam") {
    setStatus("red", "No totals here");
    return say("alert", `This API wants requests for totals ${SIGNED}`);
  }
  while (reads === "key" && !key) {
    setStatus("grey", "Waiting for a key");
    await new Promise((resume) => { hurry = resume; });
  }
  setInterval(() => { if (!document.hidden) showLight(); }, EVERY_MS);
  for (;;) {
    if (document.hidden) await new Promise((resume) => document.addEventListener("visibilitychange", resume, {once: true}));
    const started = looking = performance.now();
    try {
      await look();
      failures = 0;
      known.lost = null;
      say("alert", "");
    } catch (error) {
      failures += 1;
      const text = error.status === 0 ? "The server has been out of reach since {time}" : "No totals from the server since {time}";
      known.lost = {text, since: known.lost?.since ?? serverTime() - (performance.now() - started)};
      say("alert", `${error.message} What is shown may be out of date; trying again …`);
      if (!(error instanceof Failure)) console.error(error);
    }
    looking = null;
    showLight();
    // An API that takes long is asked less often.
    const took = performance.now() - started;
    await rest(Math.min(SLOWEST_MS, failures ? EVERY_MS * 2 ** failures : Math.max(EVERY_MS, 3 * took)));
  }
}

function rest(milliseconds) {
  return new Promise((resume) => {
    const timer = setTimeout(resume, milliseconds);
    hurry = () => { clearTimeout(timer); resume(); };
  });
}

async function look() {
  const {totals, freshness} = await call(`totals?top=${shown}`);
  known.freshness = freshness;
  known.totals = totals;
  showTotals(totals);
  if (selected === null && totals.length) selected = totals[0].product;
  markSelected();
  await lookAtTrend(totals.find((total) => total.product === selected));
}

// --- The light -----------------------------------------------------------------------------------

const LATE_SECONDS = 5, RECENT_MS = 10000, CAUGHT_UP_SHOWN_MS = 60000;

const span = (seconds) => seconds < 60 ? `${Math.max(1, Math.ceil(seconds))} s`
  : seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`;

// Return {state, colour, text, time}: what the light says. `{time}` in the text stands for `time`. All times are the
// server's, in milliseconds. The first row that applies wins.
function light({now, lost, waitedSeconds, freshness, totals}) {
  const {state, lagSeconds} = freshness ?? {};
  const [measured, failing] = [freshness?.measuredAt, freshness?.failingSince].map((each) => Date.parse(each));
  const counts = [state !== "failing" && measured, ...totals.map((total) => Date.parse(total.updatedAt))].filter(Boolean);
  const counted = counts.length ? Math.max(...counts) : null;
  const recent = counted !== null && Math.abs(now - counted) < RECENT_MS;
  const fails = state === "failing", backlog = state === "catchingUp", late = lagSeconds >= LATE_SECONDS;
  const waits = waitedSeconds >= LATE_SECONDS, waited = `order from this page has waited ${span(waitedSeconds)} to be counted`;
  const caughtUp = !backlog && late && now - measured < CAUGHT_UP_SHOWN_MS;
  const table = [
    // state       applies if                  colour    text                                                time
    ["lost",       lost,                       "red",    lost?.text,                                         lost?.since],
    ["failing",    fails && waits,             "amber",  `Counting has failed since {time}; an ${waited}`,    failing || measured],
    ["waiting",    waits,                      "amber",  `An ${waited}`,                                     null],
    ["failing",    fails,                      "red",    "Counting has failed since {time}; orders wait",    failing || measured],
    ["catchingUp", backlog && recent,          "amber",  `Catching up · ${span(lagSeconds)} behind`,          measured],
    ["stopped",    backlog,                    "amber",  "Nothing counted since {time}; orders may wait",    counted],
    ["never",      !counted && !totals.length, "grey",   "No order has been counted yet",                    null],
    ["unknown",    !counted,                   "grey",   "It is not known when orders were last counted",    null],
    ["caughtUp",   caughtUp && recent,         "green",  `Caught up at {time} · was ${span(lagSeconds)} behind`, measured],
    ["caughtUp",   caughtUp,                   "grey",   `Caught up at {time} · was ${span(lagSeconds)} behind`, measured],
    ["live",       recent && freshness && !late, "green", `Live · at most ${span(lagSeconds)} behind`,        counted],
    ["live",       recent,                     "green",  "Live",                                             counted],
    ["quiet",      true,                       "grey",   "Quiet since {time}",                               counted],
  ];
  const [found, , colour, text, time] = table.find(([, applies]) => applies);
  return {state: found, colour, text, time};
}

// --- Showing the light ---------------------------------------------------------------------------

const known = {lost: null, freshness: null, totals: null};   // As the server answered last.
const waitingSince = new Set();   // Of this page's orders that are not counted yet, by performance.now().
let server = null;    // The server's time, and when it came: the browser's own clock may be wrong.
let announced = "";

function noteServerTime(time) {
  if (time) server = {time, at: performance.now()};
}

function serverTime() {
  return server ? server.time + performance.now() - server.at : Date.now();
}

function showLight() {
  const ago = looking === null ? 0 : performance.now() - looking;
  const hangs = ago > HANGS_MS ? {text: "No answer from the server since {time}", since: serverTime() - ago} : null;
  const lost = known.lost ?? hangs;
  if (!lost && !known.totals) return;   // The first look is still under way.
  const waitedSeconds = waitingSince.size ? (performance.now() - Math.min(...waitingSince)) / 1000 : 0;
  const {state, colour, text, time} = light({...known, totals: known.totals ?? [], now: serverTime(), lost, waitedSeconds});
  setStatus(colour, text.replace("{time}", () => localTime(time)), time && `${new Date(time).toISOString().slice(0, 19).replace("T", " ")} UTC`);
  // A screen reader says what is wrong, once, and when it is over; #alert speaks for itself.
  const news = colour === "amber" || colour === "red" ? state : "fine";
  if (news !== announced) $("status-news").textContent = state === "lost" ? "" : $("status-text").textContent;
  announced = news;
}

function localTime(time) {
  const at = new Date(time), today = at.toDateString() === new Date(serverTime()).toDateString();
  return at.toLocaleString([], {hour: "2-digit", minute: "2-digit", hourCycle: "h23", ...(today ? {} : {day: "numeric", month: "short"})});
}

function setStatus(colour, text, title) {
  $("status").dataset.light = colour;
  $("status").title = title || "";
  say("status-text", text);
}

// --- Totals --------------------------------------------------------------------------------------

const rows = new Map();   // By product.

function showTotals(totals) {
  const largest = Math.max(1, ...totals.map((total) => total.totalQuantity));
  const names = new Set(totals.map((total) => total.product));
  for (const [product, row] of rows) {
    if (!names.has(product)) { row.item.remove(); rows.delete(product); }
  }
  const focused = document.activeElement;
  let place = $("bars").firstElementChild;
  for (const total of totals) {
    if (!rows.has(total.product)) rows.set(total.product, makeRow(total));
    const row = rows.get(total.product);
    fillRow(row, total, largest);
    if (row.item === place) place = place.nextElementSibling;
    else $("bars").insertBefore(row.item, place);
  }
  if (focused !== document.activeElement) focused.focus({preventScroll: true});   // Lost by being moved.
  $("empty").hidden = totals.length > 0;
  $("more").hidden = totals.length < FEW;
  showKnown(totals);
}

function makeRow({product, totalQuantity}) {
  const row = {
    total: totalQuantity,
    gain: make("span", {ariaHidden: "true"}),
    quantity: make("b"),
    count: make("span", {className: "count"}),
    bar: make("span", {className: "bar"}),
  };
  const button = make("button", {type: "button", onclick: () => select(product)},
    make("bdi", {className: "name", title: product, textContent: product}),
    make("span", {className: "amount"}, row.gain, row.quantity, " ", row.count),
    make("span", {className: "track", ariaHidden: "true"}, row.bar));
  row.button = button;
  row.item = make("li", {}, button);
  row.item.dataset.product = product;
  return row;
}

function fillRow(row, {totalQuantity, orderCount}, largest) {
  const gained = totalQuantity - row.total;
  if (gained) {
    row.gain.className = "";
    void row.gain.offsetWidth;   // So that the animation starts anew.
    row.gain.className = "gain";
    row.gain.textContent = `${gained > 0 ? "+" : "−"}${number.format(Math.abs(gained))}`;
  }
  row.total = totalQuantity;
  row.quantity.textContent = number.format(totalQuantity);
  row.count.textContent = counted(orderCount, "order", "orders");
  row.bar.style.setProperty("--share", totalQuantity / largest);
  row.bar.toggleAttribute("data-none", totalQuantity === 0);
}

function showKnown(totals) {
  const known = $("known");
  if ([...known.children].map((option) => option.value).join("\n") === totals.map((total) => total.product).join("\n")) return;
  known.replaceChildren(...totals.map((total) => make("option", {value: total.product})));
}

$("more").onclick = () => {
  shown = shown === FEW ? MANY : FEW;
  $("more").textContent = shown === FEW ? `Show ${MANY}` : `Show ${FEW}`;
  $("more").ariaExpanded = String(shown === MANY);
  hurry();
};

// --- Which product -------------------------------------------------------------------------------

function fromAddress() {
  const encoded = location.hash.match(/^#product=(.+)/)?.[1];
  try { return encoded ? decodeURIComponent(encoded) : null; } catch { return null; }
}

function select(product) {
  selected = product;
  history.replaceState(null, "", `#product=${encodeURIComponent(product)}`);
  markSelected();
  seen = null;
  lookAtTrend().catch(() => hurry());
  if ($("trend").getBoundingClientRect().top > innerHeight * .8) $("trend").scrollIntoView({block: "start"});
}

function markSelected() {
  for (const [product, row] of rows) row.button.ariaPressed = String(product === selected);
}

addEventListener("hashchange", () => {
  const product = fromAddress();
  if (product !== null) select(product);
});

// --- The trend -----------------------------------------------------------------------------------

let trend = null;     // As the API answered last.
let seen = null;      // What that answer was about and when it came.
let marked = null;    // The cell that is looked at: {day, hour}, hour being null for the whole day.

const daysAsked = () => Number($("days").querySelector(":checked").value);

async function lookAtTrend(total) {
  if (selected === null) return;
  const about = JSON.stringify([selected, daysAsked(), total?.totalQuantity, total?.orderCount]);
  if (seen && seen.about === about && performance.now() - seen.at < TREND_EVERY_MS) return;
  const product = selected, days = daysAsked();
  try {
    const answer = await call(`totals/${encodeURIComponent(product)}/trend?days=${days}`);
    if (product !== selected || days !== daysAsked()) return;   // Meanwhile something else was asked for.
    if (trend?.product !== product || trend.days.length !== days) marked = null;
    trend = answer;
    say("trend-problem", "");
    showTrend();
  } catch (failure) {
    if (failure.status !== 404 && failure.status !== 400) throw failure;
    if (product !== selected) return;
    trend = null;
    $("trend-title").textContent = product;
    say("trend-problem", failure.message);
    say("trend-sum", "");
  }
  $("trend").hidden = false;
  $("chart-frame").hidden = trend === null;
  if (trend) drawChart();
  seen = {about, at: performance.now()};
}

$("days").onchange = () => { seen = null; lookAtTrend().catch(() => hurry()); };

function showTrend() {
  $("trend-title").textContent = trend.product;
  const count = trend.days.length;
  $("trend-sum").hidden = false;
  $("trend-sum").replaceChildren(make("b", {textContent: number.format(trend.total)}), `ordered in the last ${count} days`);
  $("chart").ariaLabel = `${trend.product} by day and hour, ${number.format(trend.total)} in ${count} days.`
    + " The arrow keys go through days and hours.";
  if ($("numbers").open) showTable();
}

const dayName = new Intl.DateTimeFormat("en", {weekday: "short", day: "numeric", month: "short", timeZone: "UTC"});
const dayShort = new Intl.DateTimeFormat("en", {day: "numeric", month: "short", timeZone: "UTC"});
const hourName = (hour) => `${String(hour).padStart(2, "0")}:00–${String(hour + 1).padStart(2, "0")}:00`;

// The days as columns, and below each its 24 hours from top to bottom.
const LEFT = 34, TOP = 16, DAYS_HEIGHT = 96, GAP = 22, HOUR_HEIGHT = 8, BOTTOM = 6;
const HOURS_TOP = TOP + DAYS_HEIGHT + GAP;
const HEIGHT = HOURS_TOP + 24 * HOUR_HEIGHT + BOTTOM;

let geometry = null;   // Of the chart as it is drawn: the columns' distance and width, the mark.

function drawChart() {
  const width = Math.max(240, $("chart").clientWidth);
  const gap = (width - LEFT) / trend.days.length > 12 ? 3 : 1;
  const column = (width - LEFT + gap) / trend.days.length, inner = column - gap;
  const mark = draw("rect", {class: "mark", rx: 3});
  geometry = {column, inner, mark};
  $("chart").setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
  $("chart").style.height = `${HEIGHT}px`;
  $("chart").replaceChildren(...axes(width), ...bars(), ...cells(), mark);
  showMark();
}

function axes(width) {
  const {column, inner} = geometry;
  const most = Math.max(1, ...trend.days.map((day) => day.total));
  const text = (x, y, content, anchor = "end") => draw("text", {x, y, "text-anchor": anchor}, content);
  const parts = [text(LEFT - 8, TOP + 4, short.format(most)), text(LEFT - 8, TOP + DAYS_HEIGHT, "0")];
  for (const y of [TOP, TOP + DAYS_HEIGHT]) parts.push(draw("path", {class: "rule", d: `M${LEFT} ${y + .5}H${width}`}));
  for (const hour of [0, 6, 12, 18]) parts.push(text(LEFT - 8, HOURS_TOP + hour * HOUR_HEIGHT + 8, String(hour).padStart(2, "0")));
  const labelled = Math.ceil(64 / column);   // So many columns to one label, counted from today.
  for (let index = trend.days.length - 1; index >= 0; index -= labelled) {
    const middle = Math.min(LEFT + index * column + inner / 2, width - 20);
    if (middle > LEFT + 6) parts.push(text(middle, TOP + DAYS_HEIGHT + 15, dayShort.format(new Date(trend.days[index].day)), "middle"));
  }
  return parts;
}

function bars() {
  const {column, inner} = geometry;
  const most = Math.max(1, ...trend.days.map((day) => day.total));
  return trend.days.flatMap(({total}, index) => {
    const height = Math.max(2, total / most * DAYS_HEIGHT);
    const bar = {class: "some", x: LEFT + index * column, width: inner, y: TOP + DAYS_HEIGHT - height, height, rx: Math.min(3, inner / 3)};
    return total > 0 ? [draw("rect", bar)] : [];
  });
}

function cells() {
  const {column, inner} = geometry;
  const most = Math.max(1, ...trend.days.flatMap((day) => day.hours));
  const now = new Date().toISOString(), height = HOUR_HEIGHT - 1.5;
  const filled = [];
  let none = "";
  trend.days.forEach(({day, hours}, index) => hours.forEach((quantity, hour) => {
    const x = LEFT + index * column, y = HOURS_TOP + hour * HOUR_HEIGHT;
    const toCome = `${day}T${String(hour).padStart(2, "0")}` > now;
    if (quantity > 0) {
      // By the square root, so that small quantities are still seen to differ.
      const opacity = (.2 + .8 * Math.sqrt(quantity / most)).toFixed(3);
      filled.push(draw("rect", {class: "some", x, y, width: inner, height, rx: Math.min(1.5, inner / 3), "fill-opacity": opacity}));
    } else if (!toCome) none += `M${x} ${y}h${inner}v${height}h${-inner}z`;
  }));
  return [draw("path", {class: "none", d: none}), ...filled];
}

function showMark() {
  const {column, inner, mark} = geometry;
  mark.setAttribute("visibility", marked ? "visible" : "hidden");
  if (!marked) return say("readout", busiest());
  const day = trend.days[marked.day], name = dayName.format(new Date(day.day)), whole = marked.hour === null;
  const place = {
    x: LEFT + marked.day * column - 1.5, width: inner + 3,
    y: (whole ? TOP : HOURS_TOP + marked.hour * HOUR_HEIGHT) - 1.5, height: whole ? DAYS_HEIGHT + 3 : HOUR_HEIGHT + 1.5,
  };
  for (const [key, value] of Object.entries(place)) mark.setAttribute(key, value);
  say("readout", whole ? `${name}: ${number.format(day.total)}`
    : `${name}, ${hourName(marked.hour)}: ${number.format(day.hours[marked.hour])} of the day’s ${number.format(day.total)}`);
}

function busiest() {
  let most = {quantity: 0};
  for (const day of trend.days) day.hours.forEach((quantity, hour) => {
    if (quantity >= most.quantity) most = {quantity, day, hour};
  });
  const today = `Today: ${number.format(trend.days.at(-1).total)}.`;
  if (!most.quantity) return today;
  return `${today} Busiest hour: ${dayName.format(new Date(most.day.day))}, ${hourName(most.hour)}, with ${number.format(most.quantity)}.`;
}

function point(cell) {
  marked = cell;
  if (trend) showMark();
}

$("chart").onpointermove = $("chart").onpointerdown = (event) => {
  if (!trend) return;
  const box = $("chart").getBoundingClientRect();
  const x = event.clientX - box.left - LEFT, y = event.clientY - box.top;
  const day = Math.floor(x / geometry.column);
  const hour = y < HOURS_TOP ? null : Math.floor((y - HOURS_TOP) / HOUR_HEIGHT);
  if (day < 0 || day >= trend.days.length || hour > 23) return;
  if (marked?.day !== day || marked?.hour !== hour) point({day, hour});
};
$("chart").onpointerleave = () => { if (document.activeElement !== $("chart")) point(null); };
$("chart").onblur = () => point(null);
$("chart").onkeydown = (event) => {
  if (!trend || event.altKey || event.ctrlKey || event.metaKey) return;
  const last = trend.days.length - 1;
  const {day, hour} = marked ?? {day: last + (event.key === "ArrowLeft" ? 1 : 0), hour: null};
  const steps = {
    ArrowLeft: () => ({day: Math.max(0, day - 1), hour}),
    ArrowRight: () => ({day: Math.min(last, day + 1), hour}),
    ArrowDown: () => ({day, hour: hour === null ? 0 : Math.min(23, hour + 1)}),
    ArrowUp: () => ({day, hour: hour ? hour - 1 : null}),
    Home: () => ({day: 0, hour}),
    End: () => ({day: last, hour}),
  };
  if (event.key === "Escape") point(null);
  if (!steps[event.key]) return;
  event.preventDefault();
  const to = steps[event.key]();
  point({day: Math.min(last, to.day), hour: to.hour});
};
new ResizeObserver(() => { if (trend && !$("chart-frame").hidden) drawChart(); }).observe($("chart-frame"));

function showTable() {
  const hours = [...Array(24).keys()].map((hour) => make("th", {scope: "col", textContent: String(hour).padStart(2, "0")}));
  const head = make("tr", {}, make("th", {scope: "col", textContent: "Day"}), make("th", {scope: "col", textContent: "Total"}), ...hours);
  const lines = trend.days.toReversed().map((day) => make("tr", {},
    make("th", {scope: "row", textContent: day.day}),
    ...[day.total, ...day.hours].map((quantity) => {
      const cell = make("td", {textContent: number.format(quantity)});
      cell.toggleAttribute("data-none", !quantity);
      return cell;
    })));
  $("table").replaceChildren(make("thead", {}, head), make("tbody", {}, ...lines));
}
$("numbers").ontoggle = () => { if ($("numbers").open && trend) showTable(); };

// --- Placing an order ----------------------------------------------------------------------------

let attempt = null;   // What was sent last without an answer that settles it.
let placing = false;

function makeOrderId() {
  const random = [...crypto.getRandomValues(new Uint8Array(10))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return `web-${Date.now().toString(36)}-${random}`;
}

$("form").onsubmit = async (event) => {
  event.preventDefault();
  if (placing) return;
  const product = $("product").value;
  const typed = $("quantity").value.trim();
  const quantity = /^\d+$/.test(typed) ? Number(typed) : typed;   // The API says what is wrong with it.
  const content = JSON.stringify([product, quantity]);
  // Sent again after a lost answer it is the same order, and so placed once.
  if (attempt?.content !== content) attempt = {content, orderId: makeOrderId()};
  setPlacing(true);
  try {
    const order = await call("orders", "POST", {product, quantity, orderId: attempt.orderId});
    attempt = null;
    showProblems({});
    follow(order);
    $("product").select();
  } catch (failure) {
    if (failure.status >= 400 && failure.status < 500) attempt = null;
    showProblems(failure.problems, failure.status ? failure.message
      : `${failure.message} Press again to be sure: the order is placed once at most.`);
  }
  setPlacing(false);
};

function setPlacing(now) {
  placing = now;
  $("place").ariaDisabled = String(now);
}

function showProblems(problems, message = "") {
  let first = null;
  for (const name of ["product", "quantity"]) {
    const label = name[0].toUpperCase() + name.slice(1);
    say(`${name}-problem`, problems[name] ? `${label} ${problems[name]}.` : "");
    $(name).ariaInvalid = String(Boolean(problems[name]));
    if (problems[name]) first ??= $(name);
  }
  say("form-problem", first ? "" : message);
  first?.focus();
}

async function follow({orderId, product, quantity}) {
  const standing = make("span", {className: "standing", textContent: "Placed. Waiting to be counted …"});
  const line = make("li", {}, make("span", {className: "order", title: product}, `${number.format(quantity)} × `, make("bdi", {textContent: product})), standing);
  const started = performance.now();
  const end = (state, text) => {
    waitingSince.delete(started);
    standing.dataset.state = state;
    standing.textContent = text;
    hurry();
  };
  $("placed").prepend(line);
  const done = [...$("placed").children].slice(PLACED_SHOWN).filter((each) => each.querySelector("[data-state]"));
  for (const each of done) each.remove();   // One that still waits stays in sight.
  if (reads === "iam") return end("counted", "Placed");   // When it is counted is not for a page to see.
  waitingSince.add(started);
  for (let tries = 0; ; tries += 1) {
    await new Promise((resume) => setTimeout(resume, tries < 25 ? 200 : 2000));
    try {
      const order = await call(`orders/${encodeURIComponent(orderId)}`);
      if (order.counted) return end("counted", `Counted after ${((performance.now() - started) / 1000).toFixed(1)} s`);
      if (order.rejected) return end("failed", "Not counted: it was changed and is no longer valid");
    } catch (failure) {
      if (failure.status === 404) return end("failed", "Cancelled");
    }
  }
}

// --- The rest ------------------------------------------------------------------------------------

$("description").href = `${BASE}openapi.json`;
const withKey = writes === "key" ? " -H 'x-api-key: YOUR-KEY'" : "";
$("curl").textContent = `curl -X POST '${location.origin}${BASE}orders'${withKey} \\\n  -d '{"product": "Notebook", "quantity": 5}'`;
$("copy").onclick = async () => {
  try {
    await navigator.clipboard.writeText($("curl").textContent);
    $("copy").textContent = "Copied";
  } catch {   // Not over plain HTTP, except on one's own machine.
    getSelection().selectAllChildren($("curl"));
    $("copy").textContent = "Selected";
  }
  setTimeout(() => { $("copy").textContent = "Copy"; }, 2000);
};

keepUp();
