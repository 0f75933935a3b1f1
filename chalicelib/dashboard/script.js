// The dashboard's script: it reads totals and trends from the API, draws them, and places orders. Text from the API
// is inserted as text, never as markup.

const REFRESH_MS = 3000;         // Between two requests. One request fetches everything that the page shows.
const ACTIVE_REFRESH_MS = 1000;  // The same for ACTIVE_MS after the page is opened, clicked or typed in.
const ACTIVE_MS = 30000;
const LIGHT_MS = 1000;           // Between two updates of the status light.
const MAX_RETRY_MS = 15000;      // Between two requests while they fail.
const SLOW_MS = 5000;            // After this time without a response, the status light turns red.
const LIST_AGE_SHOWN_MS = 5000;  // The page says how old the list of totals is if it is older than this.
const FEW = 10, MANY = 100;      // Number of products to show.
const MAX_PLACED = 5;            // Number of placed orders to show.

// The page's path, with a slash at the end. A deployed stage's path can lack one: /api.
const BASE = location.pathname.replace(/\/?$/, "/");
const $ = (id) => document.getElementById(id);
const number = new Intl.NumberFormat("en");
const short = new Intl.NumberFormat("en", {notation: "compact", maximumFractionDigits: 1});
const plural = (n, one, many) => `${number.format(n)} ${n === 1 ? one : many}`;

// --- Access --------------------------------------------------------------------------------------

const {reads, writes} = document.body.dataset;   // Access settings of the stage: open, key or iam.
const SIGNED = "signed with AWS credentials, which this page does not have. See docs/access.md in the project.";
let key = "";   // The API key that the user typed in. It is not stored.

$("key-entry").hidden = reads !== "key" && writes !== "key";
$("key-form").onsubmit = (event) => {
  event.preventDefault();
  key = $("key").value.trim();
  refreshNow();
};
if (writes === "iam") {
  $("form").hidden = true;
  setText("placing-note", `Orders must be ${SIGNED}`);
}

function keyProblem() {
  return key ? "This API key is not accepted. Check it and try again." : "An API key is needed. Enter it above.";
}

// --- The API -------------------------------------------------------------------------------------

class ApiError extends Error {
  constructor(message, status, problems) {
    super(message);
    this.status = status;       // 0 without a response.
    this.problems = problems || {};
  }
}

async function call(path, method = "GET", body = undefined) {
  const options = {method, cache: "no-store", signal: AbortSignal.timeout(20000), headers: key ? {"x-api-key": key} : {}};
  if (body) {
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  let response, content;
  try {
    response = await fetch(BASE + path, options);
    rememberServerTime(Date.parse(response.headers.get("date")));
    content = await response.json();
  } catch (error) {
    if (response?.ok === false) throw new ApiError(`The server returned an error (${response.status}).`, response.status);
    throw new ApiError("The server cannot be reached.", 0);
  }
  if (response.ok) return content;
  if (response.status === 403 && (method === "GET" ? reads : writes) === "key") throw new ApiError(keyProblem(), 403);
  throw new ApiError(content.Message || content.message || `The server returned an error (${response.status}).`,
                    response.status, content.problems);
}

// --- Elements ------------------------------------------------------------------------------------

function make(name, properties = {}, ...children) {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
}

function makeSvg(name, attributes, text) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

function setText(id, text) {
  const element = $(id);
  element.hidden = !text;
  if (element.textContent !== text) element.textContent = text;   // An unchanged text must not be read out again.
}

// --- Refreshing ----------------------------------------------------------------------------------

let place = fromAddress();      // What the page's address says: {view, key, query} or {product}.
let views = null;               // The views with a tab of their own, from GET /views; null before its response.
let selected = place.product;   // The product whose trend is shown.
let refreshed = null;           // What the last successful refresh was for.
let maxProducts = FEW;
let failures = 0;
let requestStarted = null;   // When the current request for the totals started, by performance.now(); null without one.
let refreshNow = () => {};   // Ends the pause before the next request.

async function keepRefreshing() {
  if (reads === "iam") {
    setStatus("red", "Totals are not available here");
    return setText("alert", `Requests for totals must be ${SIGNED}`);
  }
  while (reads === "key" && !key) {
    setStatus("grey", "Waiting for an API key");
    await new Promise((resume) => { refreshNow = resume; });
  }
  setInterval(() => { if (!document.hidden) showLight(); }, LIGHT_MS);
  for (;;) {
    if (document.hidden) await new Promise((resume) => document.addEventListener("visibilitychange", resume, {once: true}));
    const started = requestStarted = performance.now();
    try {
      await refresh();
      failures = 0;
      latest.lost = null;
      setText("alert", "");
    } catch (error) {
      failures += 1;
      const text = error.status === 0 ? "No connection to the server since {time}" : "No totals from the server since {time}";
      latest.lost = {text, since: latest.lost?.since ?? serverTime() - (performance.now() - started)};
      setText("alert", `${error.message} The totals may be out of date. Trying again …`);
      if (!(error instanceof ApiError)) console.error(error);
    }
    requestStarted = null;
    showLight();
    if (!failures && refreshed !== wanted()) continue;
    // Send fewer requests to a slow API.
    const took = performance.now() - started;
    const usual = isActive() ? ACTIVE_REFRESH_MS : REFRESH_MS;
    await pause(Math.min(MAX_RETRY_MS, failures ? ACTIVE_REFRESH_MS * 2 ** failures : Math.max(usual, 3 * took)));
  }
}

function pause(milliseconds) {
  return new Promise((resume) => {
    const timer = setTimeout(resume, milliseconds);
    refreshNow = () => { clearTimeout(timer); resume(); };
  });
}

let lastAction = performance.now();
const isActive = () => performance.now() - lastAction < ACTIVE_MS;

function noteAction() {
  const wasActive = isActive();
  lastAction = performance.now();
  if (!wasActive) refreshNow();
}

for (const type of ["pointerdown", "keydown"]) addEventListener(type, noteAction);

const wanted = () => location.hash + wantedTrend();

async function refresh() {
  const requested = performance.now(), about = wanted();
  if (shownView() === null) await refreshTotals();
  // Without the views, the totals can still be shown.
  if (!views) await loadViews().catch((error) => { if (shownView() !== null) throw error; });
  if (shownView()) await refreshView(shownView());
  for (const [started, reported] of waiting) if (reported <= requested) waiting.delete(started);
  refreshed = about;
}

async function refreshTotals() {
  const product = selected, about = wantedTrend();
  const {totals, asOf, complete, freshness, trend: received} = await call(`totals?top=${maxProducts}${about}`);
  latest.freshness = freshness;
  latest.totals = totals;
  showTotals(totals);
  showListAge("list-age", Date.parse(asOf), complete, "products");
  if (selected === null && totals.length) selected = totals[0].product;
  showSelection();
  // The user may have selected something else meanwhile.
  if (about && about === wantedTrend()) receiveTrend(product, received ?? null);
}

// --- The light -----------------------------------------------------------------------------------

const LATE_SECONDS = 5, RECENT_MS = 10000, CAUGHT_UP_SHOWN_MS = 60000;

const span = (seconds) => seconds < 60 ? `${Math.max(1, Math.ceil(seconds))} s`
  : seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`;

// Return {state, colour, text, time} of the status light. The page replaces `{time}` in the text with `time`. All times
// are in milliseconds of the server's clock. The first row of the table that applies wins.
function light({now, lost, waitedSeconds, freshness, totals}) {
  const {state, lagSeconds} = freshness ?? {};
  const [measured, failingSince] = [freshness?.measuredAt, freshness?.failingSince].map((each) => Date.parse(each));
  const times = [state !== "failing" && measured, ...totals.map((total) => Date.parse(total.updatedAt))].filter(Boolean);
  const counted = times.length ? Math.max(...times) : null;   // When an order was last counted.
  const recent = counted !== null && Math.abs(now - counted) < RECENT_MS;
  const failing = state === "failing", backlog = state === "catchingUp", late = lagSeconds >= LATE_SECONDS;
  const waiting = waitedSeconds >= LATE_SECONDS, waited = `order from this page has waited ${span(waitedSeconds)} to be counted`;
  const caughtUp = !backlog && late && now - measured < CAUGHT_UP_SHOWN_MS;
  const table = [
    // state       applies if                  colour    text                                                time
    ["lost",       lost,                       "red",    lost?.text,                                         lost?.since],
    ["failing",    failing && waiting,         "amber",  `Counting has failed since {time}; an ${waited}`,    failingSince || measured],
    ["waiting",    waiting,                    "amber",  `An ${waited}`,                                     null],
    ["failing",    failing,                    "red",    "Counting has failed since {time}; orders are waiting",   failingSince || measured],
    ["catchingUp", backlog && recent,          "amber",  `Catching up · ${span(lagSeconds)} behind`,          measured],
    ["stopped",    backlog,                    "amber",  "Nothing counted since {time}; orders may be waiting", counted],
    ["never",      !counted && !totals.length, "grey",   "No order has been counted yet",                    null],
    ["unknown",    !counted,                   "grey",   "Time of the last counted order unknown",           null],
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

const latest = {lost: null, freshness: null, totals: null};   // From the latest responses.
// This page's uncounted orders: when each was placed, and from when on the totals and the handler's report include it.
// The handler writes its report just after it counts; a response from before would show an older one.
const waiting = new Map();   // Both by performance.now(); Infinity while the order waits.
const REPORT_MS = 500;
let server = null;    // The server's time and when it was received. The browser's clock can be wrong.
let announced = "";   // The state that a screen reader read out last; "fine" for any green or grey one.

function rememberServerTime(time) {
  if (time) server = {time, at: performance.now()};
}

function serverTime() {
  return server ? server.time + performance.now() - server.at : Date.now();
}

function showLight() {
  const ago = requestStarted === null ? 0 : performance.now() - requestStarted;
  const slow = ago > SLOW_MS ? {text: "No response from the server since {time}", since: serverTime() - ago} : null;
  const lost = latest.lost ?? slow;
  if (!lost && !latest.totals) return;   // The first request is not finished.
  const waitedSeconds = waiting.size ? (performance.now() - Math.min(...waiting.keys())) / 1000 : 0;
  const {state, colour, text, time} = light({...latest, totals: latest.totals ?? [], now: serverTime(), lost, waitedSeconds});
  setStatus(colour, text.replace("{time}", () => localTime(time)), time && utcTime(time));
  // Screen readers read out a problem once, and its end. #alert is read out by itself.
  const announcement = colour === "amber" || colour === "red" ? state : "fine";
  if (announcement !== announced) $("status-news").textContent = state === "lost" ? "" : $("status-text").textContent;
  announced = announcement;
}

function localTime(time) {
  const at = new Date(time), today = at.toDateString() === new Date(serverTime()).toDateString();
  return at.toLocaleString([], {hour: "2-digit", minute: "2-digit", hourCycle: "h23", ...(today ? {} : {day: "numeric", month: "short"})});
}

const utcTime = (time) => `${new Date(time).toISOString().slice(0, 19).replace("T", " ")} UTC`;

function setStatus(colour, text, title) {
  $("status").dataset.light = colour;
  $("status").title = title || "";
  setText("status-text", text);
}

// --- Totals --------------------------------------------------------------------------------------

const rows = new Map();   // The row of each product.

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
  if (focused !== document.activeElement) focused.focus({preventScroll: true});   // Moving a row removes the focus.
  $("empty").hidden = totals.length > 0;
  $("more").hidden = totals.length < FEW;
  showSuggestions(totals);
}

function showListAge(id, at, complete, what) {
  const time = new Date(at).toLocaleTimeString([], {hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23"});
  setText(id, complete === false ? `The largest of a part of the ${what}. A list of all follows within five minutes.`
    : serverTime() - at > LIST_AGE_SHOWN_MS ? `As of ${time}` : "");
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
    void row.gain.offsetWidth;   // Restarts the animation.
    row.gain.className = "gain";
    row.gain.textContent = `${gained > 0 ? "+" : "−"}${number.format(Math.abs(gained))}`;
  }
  row.total = totalQuantity;
  row.quantity.textContent = number.format(totalQuantity);
  row.count.textContent = plural(orderCount, "order", "orders");
  row.bar.style.setProperty("--share", totalQuantity / largest);
  row.bar.toggleAttribute("data-none", totalQuantity === 0);
}

function showSuggestions(totals) {
  const list = $("suggestions");
  if ([...list.children].map((option) => option.value).join("\n") === totals.map((total) => total.product).join("\n")) return;
  list.replaceChildren(...totals.map((total) => make("option", {value: total.product})));
}

$("more").onclick = () => {
  maxProducts = maxProducts === FEW ? MANY : FEW;
  $("more").textContent = maxProducts === FEW ? `Show ${MANY}` : `Show ${FEW}`;
  $("more").ariaExpanded = String(maxProducts === MANY);
  refreshNow();
};

// --- Selecting a product -------------------------------------------------------------------------

// Addresses: #/totals, #/totals/PRODUCT, #/views/VIEW, #/views/VIEW/KEY?from=A&to=B and #/views/VIEW/KEY/SORT-KEY.
function fromAddress() {
  try {
    const [path, query = ""] = location.hash.split("?");
    const [, kind, name = null, ...key] = path.split("/").map(decodeURIComponent);
    return kind === "views" ? {view: name, key: key.filter(Boolean), query, product: null} : {product: kind === "totals" ? name : null};
  } catch { return {product: null}; }
}

const address = (...names) => `#/${names.map(encodeURIComponent).join("/")}`;

function select(product) {
  selected = product;
  history.replaceState(null, "", address("totals", product));
  place = fromAddress();
  showSelection();
  refreshNow();
  bringIntoView($("trend"));
}

function bringIntoView(element) {
  if (element.getBoundingClientRect().top > innerHeight * .8) element.scrollIntoView({block: "start"});
}

function showSelection() {
  for (const [product, row] of rows) row.button.ariaPressed = String(product === selected);
}

addEventListener("hashchange", () => {
  place = fromAddress();
  showTab();
  if (place.product !== null) select(place.product);
  else refreshNow();
});

// --- Tabs ----------------------------------------------------------------------------------------

const {totals: totalsView, trend: trendView} = document.body.dataset;   // Their names, or empty if the model lacks them.

// Return the view in the tab that is shown: null for the totals, undefined as long as the views are not known.
function shownView() {
  if (!views) return totalsView && !place.view ? null : undefined;
  return views.find(({view}) => view === place.view) ?? (totalsView ? null : views[0]);
}

const labelOf = (name) => {   // totalQuantity is "Total quantity".
  const words = name.replace(/_/g, " ").replace(/([a-z0-9])([A-Z])/g, "$1 $2").toLowerCase();
  return words[0].toUpperCase() + words.slice(1);
};

async function loadViews() {
  views = ((await call("views")).views ?? []).filter(({view}) => view !== totalsView);
  const makeTab = (name, panel, ...target) => {
    const tab = make("button", {id: `tab-${name}`, type: "button", role: "tab", textContent: labelOf(name)});
    tab.setAttribute("aria-controls", panel);
    tab.onclick = () => { location.hash = address(...target); };
    return tab;
  };
  $("tabs").replaceChildren(...totalsView ? [makeTab(totalsView, "panel-totals", "totals")] : [],
    ...views.map(({view}) => makeTab(view, "panel-view", "views", view)));
  $("tabs").hidden = $("tabs").children.length < 2;
  showTab();
}

function showTab() {
  const view = shownView();
  $("panel-totals").hidden = view !== null;
  $("panel-view").hidden = !view;
  for (const tab of $("tabs").children) {
    tab.ariaSelected = String(tab.id === `tab-${view ? view.view : totalsView}`);
    tab.tabIndex = tab.ariaSelected === "true" ? 0 : -1;
    if (tab.tabIndex === 0) tab.scrollIntoView({block: "nearest"});
  }
  document.title = view ? `${labelOf(view.view)} · Order totals` : "Order totals";
  if (view) showViewHead(view);
}

$("tabs").onkeydown = (event) => {
  const tabs = [...$("tabs").children], last = tabs.length - 1, at = tabs.indexOf(event.target);
  const to = {ArrowLeft: at ? at - 1 : last, ArrowRight: at < last ? at + 1 : 0, Home: 0, End: last}[event.key];
  if (to === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  tabs[to].focus();
  tabs[to].click();
};

// --- A view's tab --------------------------------------------------------------------------------

// A table of rows on the page: the request path of its rows, the rows by key, and the cursor of the next page.
const newTable = (id) => ({id, path: null, rows: new Map(), cursor: null, hasMore: false, drawn: ""});
const list = newTable("list"), detail = newTable("detail");
let maxRows = FEW;   // Number of largest rows to show.

const keyOf = (view, row) => view.key.map((name) => row[name]);
const wantedKey = (view) => place.view === view.view ? place.key.slice(0, view.key.length) : [];
const isPartition = (view) => wantedKey(view).length < view.key.length;

function showViewHead(view) {
  const key = wantedKey(view), path = address("views", view.view), range = new URLSearchParams(place.query);
  $("panel-view").setAttribute("aria-labelledby", `tab-${view.view}`);
  $("view-title").textContent = labelOf(view.view);
  setText("view-note", [view.complete ? "" : "Older orders are missing until a backfill has run.",
    view.keepDays ? `Rows are kept for ${plural(view.keepDays, "day", "days")}.` : ""].join(" ").trim());
  $("search-label").textContent = labelOf(view.key[0]);
  $("from-label").textContent = `${labelOf(view.key.at(-1))} from`;
  $("search-from").parentElement.hidden = $("search-to").parentElement.hidden = view.key.length < 2;
  $("search-key").value = key[0] ?? "";
  for (const end of ["from", "to"]) $(`search-${end}`).value = range.get(end) ?? "";
  $("close").href = path;
  if (list.path !== path.slice(2)) { maxRows = FEW; clear(list, path.slice(2)); }
  $("detail").hidden = !key.length;
  $("detail-title").textContent = key.join(" · ");
  const detailPath = address("views", view.view, ...key).slice(2) + (isPartition(view) && place.query ? `?${place.query}` : "");
  if (detail.path !== detailPath) clear(detail, detailPath);
  if (key.length) bringIntoView($("detail"));
}

async function refreshView(view) {
  const path = detail.path, key = wantedKey(view);
  const listed = await call(`${list.path}${view.top ? `?top=${maxRows}` : ""}`);
  if (shownView() !== view) return;
  latest.freshness = listed.freshness;
  latest.totals = listed.rows.map((row) => ({updatedAt: row[stampOf(view, row)]}));
  receive(list, view, listed);
  setText("list-problem", listed.rows.length ? "" : "Nothing has been counted in this view yet.");
  if (view.top) showListAge("view-age", Date.parse(listed.asOf), listed.complete, "rows");
  else setText("view-age", "");
  if (!key.length) return;
  let found = listed.rows.find((row) => JSON.stringify(keyOf(view, row)) === JSON.stringify(key));   // Saves a request.
  try { found ??= await call(path); } catch (error) { if (error.status !== 404) throw error; }
  if (shownView() !== view || path !== detail.path) return;
  receive(detail, view, found?.rows ? found : {rows: found ? [found] : [], cursor: null});
  setText("detail-problem", detail.rows.size ? "" : `Nothing has been counted for ${key.join(" · ")} in ${labelOf(view.view)} yet.`);
}

function clear(table, path) {
  Object.assign(table, {path, rows: new Map(), cursor: null, hasMore: false, drawn: ""});
  $(`${table.id}-table`).replaceChildren();
  $(`${table.id}-more`).hidden = true;
  setText(`${table.id}-problem`, "");
}

// Show the first page of a table. Keep the pages after it that the user asked for.
function receive(table, view, {rows, cursor}) {
  if (!table.hasMore) Object.assign(table, {rows: new Map(), cursor});
  for (const row of rows) table.rows.set(JSON.stringify(keyOf(view, row)), row);
  drawRows(table, view);
}

for (const table of [list, detail]) $(`${table.id}-more`).onclick = async () => {
  const view = shownView(), {path, cursor} = table;
  if (!cursor) {
    maxRows = MANY;
    return refreshNow();
  }
  try {
    const page = await call(`${path}${path.includes("?") ? "&" : "?"}cursor=${encodeURIComponent(cursor)}`);
    if (path !== table.path) return;
    Object.assign(table, {hasMore: true, cursor: page.cursor});
    receive(table, view, page);
  } catch (error) { setText(`${table.id}-problem`, error.message); }
};

const stampOf = (view, row) => Object.keys(row).find((name) => !view.key.includes(name) && !view.amounts.some((each) => each.name === name));

// Return a number with its places, which may have more digits than the numbers of JavaScript.
function exactly(amount) {
  const [whole, places] = String(amount).split(".");
  return whole.replace(/\B(?=(\d{3})+$)/g, ",") + (places ? `.${places}` : "");
}

function drawRows(table, view) {
  const rows = [...table.rows.values()], text = JSON.stringify([rows, place]), element = $(`${table.id}-table`);
  $(`${table.id}-more`).hidden = !table.cursor && !(table === list && view.top && maxRows === FEW && rows.length === FEW);
  if (text === table.drawn) return;
  table.drawn = text;
  const focused = element.contains(document.activeElement) ? document.activeElement.hash : null;
  const names = rows.length ? [...view.key, ...view.amounts.map(({name}) => name), stampOf(view, rows[0])].filter(Boolean) : [];
  const heads = names.map((name, index) => make("th", {scope: "col", className: index < view.key.length ? "text" : "", textContent: labelOf(name)}));
  if (view.top && table === list && rows.length) heads[names.indexOf(view.top)].ariaSort = "descending";
  element.replaceChildren(...table === detail && !isPartition(view)
    ? rows.flatMap((row) => names.map((name) => make("tr", {}, make("th", {scope: "row", className: "text", textContent: labelOf(name)}), makeCell(view, row, name, false))))
    : [make("thead", {}, make("tr", {}, ...heads)), make("tbody", {}, ...rows.map((row) => make("tr", {}, ...names.map((name) => makeCell(view, row, name, true)))))]);
  if (focused !== null) [...element.querySelectorAll("a")].find((link) => link.hash === focused)?.focus({preventScroll: true});
}

// Return the cell of an attribute. The partition key links to its rows, and the sort key to its row.
function makeCell(view, row, name, isLink) {
  const value = row[name], index = view.key.indexOf(name);
  if (view.amounts.some((each) => each.name === name)) return make("td", {textContent: exactly(value)});
  if (index < 0) return make("td", {}, value ? make("time", {textContent: localTime(Date.parse(value)), title: utcTime(Date.parse(value))}) : "");
  const text = make("bdi", {textContent: value});
  if (!isLink) return make("td", {}, text);
  const key = keyOf(view, row).slice(0, index + 1), link = make("a", {href: address("views", view.view, ...key), title: value}, text);
  if (JSON.stringify(key) === JSON.stringify(wantedKey(view))) link.ariaCurrent = "true";
  return make(index ? "td" : "th", {...index ? {} : {scope: "row"}, className: "text"}, link);
}

$("search").onsubmit = (event) => {
  event.preventDefault();
  const view = shownView(), range = new URLSearchParams();
  for (const end of ["from", "to"]) if (view.key.length > 1 && $(`search-${end}`).value) range.set(end, $(`search-${end}`).value);
  location.hash = address("views", view.view, $("search-key").value) + (range.size ? `?${range}` : "");
};

// --- The trend -----------------------------------------------------------------------------------

let trend = null;         // The response with the trend on the page, null without one.
let drawnTrend = "";      // The trend that is drawn, as text.
let highlighted = null;   // The highlighted day or hour: {day, hour}, with hour null for the whole day.

const selectedDays = () => Number($("days").querySelector(":checked").value);

const wantedTrend = () => selected === null || !trendView ? "" : `&trend=${encodeURIComponent(selected)}&days=${selectedDays()}`;

function receiveTrend(product, received) {
  const text = JSON.stringify([product, received, new Date().toISOString().slice(0, 13)]);   // Each hour it has a new cell.
  if (text === drawnTrend) return;
  drawnTrend = text;
  if (trend?.product !== product || trend?.days.length !== received?.days.length) highlighted = null;
  trend = received;
  $("trend").hidden = false;
  $("chart-frame").hidden = trend === null;
  setText("trend-problem", trend ? "" : `Nothing has been counted for ${product} yet.`);
  if (!trend) {
    $("trend-title").textContent = product;
    return setText("trend-sum", "");
  }
  showTrend();
  drawChart();
}

$("days").onchange = () => refreshNow();

function showTrend() {
  $("trend-title").textContent = trend.product;
  const count = trend.days.length;
  $("trend-sum").hidden = false;
  $("trend-sum").replaceChildren(make("b", {textContent: number.format(trend.total)}), `ordered in the last ${count} days`);
  $("chart").ariaLabel = `${trend.product} by day and hour, ${number.format(trend.total)} in ${count} days.`
    + " Use the arrow keys to go through days and hours.";
  if ($("numbers").open) showTable();
}

const dayName = new Intl.DateTimeFormat("en", {weekday: "short", day: "numeric", month: "short", timeZone: "UTC"});
const dayShort = new Intl.DateTimeFormat("en", {day: "numeric", month: "short", timeZone: "UTC"});
const hourName = (hour) => `${String(hour).padStart(2, "0")}:00–${String(hour + 1).padStart(2, "0")}:00`;

// The chart has a column for each day: a bar, and below it a cell for each of the 24 hours.
const LEFT = 34, TOP = 16, DAYS_HEIGHT = 96, GAP = 22, HOUR_HEIGHT = 8, BOTTOM = 6;
const HOURS_TOP = TOP + DAYS_HEIGHT + GAP;
const HEIGHT = HOURS_TOP + 24 * HOUR_HEIGHT + BOTTOM;

let geometry = null;   // Distance and width of the columns, and the element that marks the highlighted cell.

function drawChart() {
  const width = Math.max(240, $("chart").clientWidth);
  const gap = (width - LEFT) / trend.days.length > 12 ? 3 : 1;
  const column = (width - LEFT + gap) / trend.days.length, inner = column - gap;
  const mark = makeSvg("rect", {class: "mark", rx: 3});
  geometry = {column, inner, mark};
  $("chart").setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
  $("chart").style.height = `${HEIGHT}px`;
  $("chart").replaceChildren(...axes(width), ...bars(), ...cells(), mark);
  showMark();
}

function axes(width) {
  const {column, inner} = geometry;
  const most = Math.max(1, ...trend.days.map((day) => day.total));
  const text = (x, y, content, anchor = "end") => makeSvg("text", {x, y, "text-anchor": anchor}, content);
  const parts = [text(LEFT - 8, TOP + 4, short.format(most)), text(LEFT - 8, TOP + DAYS_HEIGHT, "0")];
  for (const y of [TOP, TOP + DAYS_HEIGHT]) parts.push(makeSvg("path", {class: "rule", d: `M${LEFT} ${y + .5}H${width}`}));
  for (const hour of [0, 6, 12, 18]) parts.push(text(LEFT - 8, HOURS_TOP + hour * HOUR_HEIGHT + 8, String(hour).padStart(2, "0")));
  const labelled = Math.ceil(64 / column);   // Columns for each label, from today backwards.
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
    return total > 0 ? [makeSvg("rect", bar)] : [];
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
    const inFuture = `${day}T${String(hour).padStart(2, "0")}` > now;
    if (quantity > 0) {
      // The square root makes small quantities distinguishable.
      const opacity = (.2 + .8 * Math.sqrt(quantity / most)).toFixed(3);
      filled.push(makeSvg("rect", {class: "some", x, y, width: inner, height, rx: Math.min(1.5, inner / 3), "fill-opacity": opacity}));
    } else if (!inFuture) none += `M${x} ${y}h${inner}v${height}h${-inner}z`;
  }));
  return [makeSvg("path", {class: "none", d: none}), ...filled];
}

function showMark() {
  const {column, inner, mark} = geometry;
  mark.setAttribute("visibility", highlighted ? "visible" : "hidden");
  if (!highlighted) return setText("readout", busiestHour());
  const day = trend.days[highlighted.day], name = dayName.format(new Date(day.day)), whole = highlighted.hour === null;
  const place = {
    x: LEFT + highlighted.day * column - 1.5, width: inner + 3,
    y: (whole ? TOP : HOURS_TOP + highlighted.hour * HOUR_HEIGHT) - 1.5, height: whole ? DAYS_HEIGHT + 3 : HOUR_HEIGHT + 1.5,
  };
  for (const [key, value] of Object.entries(place)) mark.setAttribute(key, value);
  setText("readout", whole ? `${name}: ${number.format(day.total)}`
    : `${name}, ${hourName(highlighted.hour)}: ${number.format(day.hours[highlighted.hour])} of the day’s ${number.format(day.total)}`);
}

function busiestHour() {
  let most = {quantity: 0};
  for (const day of trend.days) day.hours.forEach((quantity, hour) => {
    if (quantity >= most.quantity) most = {quantity, day, hour};
  });
  const today = `Today: ${number.format(trend.days.at(-1).total)}.`;
  if (!most.quantity) return today;
  return `${today} Busiest hour: ${dayName.format(new Date(most.day.day))}, ${hourName(most.hour)}, with ${number.format(most.quantity)}.`;
}

function highlight(cell) {
  highlighted = cell;
  if (trend) showMark();
}

$("chart").onpointermove = $("chart").onpointerdown = (event) => {
  if (!trend) return;
  const box = $("chart").getBoundingClientRect();
  const x = event.clientX - box.left - LEFT, y = event.clientY - box.top;
  const day = Math.floor(x / geometry.column);
  const hour = y < HOURS_TOP ? null : Math.floor((y - HOURS_TOP) / HOUR_HEIGHT);
  if (day < 0 || day >= trend.days.length || hour > 23) return;
  if (highlighted?.day !== day || highlighted?.hour !== hour) highlight({day, hour});
};
$("chart").onpointerleave = () => { if (document.activeElement !== $("chart")) highlight(null); };
$("chart").onblur = () => highlight(null);
$("chart").onkeydown = (event) => {
  if (!trend || event.altKey || event.ctrlKey || event.metaKey) return;
  const last = trend.days.length - 1;
  const {day, hour} = highlighted ?? {day: last + (event.key === "ArrowLeft" ? 1 : 0), hour: null};
  const steps = {
    ArrowLeft: () => ({day: Math.max(0, day - 1), hour}),
    ArrowRight: () => ({day: Math.min(last, day + 1), hour}),
    ArrowDown: () => ({day, hour: hour === null ? 0 : Math.min(23, hour + 1)}),
    ArrowUp: () => ({day, hour: hour ? hour - 1 : null}),
    Home: () => ({day: 0, hour}),
    End: () => ({day: last, hour}),
  };
  if (event.key === "Escape") highlight(null);
  if (!steps[event.key]) return;
  event.preventDefault();
  const to = steps[event.key]();
  highlight({day: Math.min(last, to.day), hour: to.hour});
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

// The fields of an order as model.py declares them: {name, label, required, kind, mode, options, value}.
const fields = JSON.parse(document.body.dataset.fields);
const inputs = Object.fromEntries(fields.map((field) => [field.name, makeInput(field)]));
$("place").before(...fields.map(makeField));

function makeInput({name, kind, required, mode = "", options, value = ""}) {
  const same = {id: `field-${name}`, name};
  let input;
  if (kind === "boolean" && required) input = make("input", {...same, type: "checkbox"});
  else if (options) input = make("select", {...same, required}, ...[["", ""], ...options].map(([value, text]) => make("option", {value, text})));
  else input = make("input", {...same, required, value, inputMode: mode, type: kind === "timestamp" ? "datetime-local" : "text", step: 1});
  input.setAttribute("aria-describedby", `${input.id}-problem`);
  if (name === "product") input.setAttribute("list", "suggestions");
  return input;
}

function makeField({name, label, kind, required}) {
  const input = inputs[name];
  const text = `${label}${kind === "timestamp" ? " (UTC)" : ""}${required ? "" : " (optional)"}`;
  return make("div", {className: kind === "text" || kind === "timestamp" ? "field grow" : "field"},
    make("label", {htmlFor: input.id, textContent: text}), input,
    make("p", {id: `${input.id}-problem`, className: "problem", hidden: true}));
}

// Return a field's value as the API expects it; the API validates it. JSON leaves out what is undefined.
function readField({name, kind, required}) {
  const {type, checked, value} = inputs[name];
  if (type === "checkbox") return checked;
  const typed = kind === "text" ? value : value.trim();
  if (!typed && !required) return undefined;
  if (kind === "boolean") return typed === "true";
  return kind === "whole" && /^-?\d+$/.test(typed) ? Number(typed) : typed;
}

let attempt = null;   // The last order sent, until a response confirms or rejects it.
let placing = false;

function makeOrderId() {
  const random = [...crypto.getRandomValues(new Uint8Array(10))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return `web-${Date.now().toString(36)}-${random}`;
}

$("form").onsubmit = async (event) => {
  event.preventDefault();
  if (placing) return;
  const values = Object.fromEntries(fields.map((field) => [field.name, readField(field)]));
  const content = JSON.stringify(values);
  // After a lost response, the same order id is sent again, so that the order is placed once.
  if (attempt?.content !== content) attempt = {content, orderId: makeOrderId()};
  setPlacing(true);
  try {
    const order = await call("orders", "POST", {...values, orderId: attempt.orderId});
    attempt = null;
    showProblems({});
    showPlacedOrder(order);
    inputs[fields[0].name].focus();
    inputs[fields[0].name].select?.();
  } catch (error) {
    if (error.status >= 400 && error.status < 500) attempt = null;
    showProblems(error.problems, error.status ? error.message
      : `${error.message} Press “Place order” again to make sure. The order is placed only once.`);
  }
  setPlacing(false);
};

function setPlacing(now) {
  placing = now;
  $("place").ariaDisabled = String(now);
}

function showProblems(problems, message = "") {
  let first = null;
  for (const {name, label} of fields) {
    setText(`field-${name}-problem`, problems[name] ? `${label} ${problems[name]}.` : "");
    inputs[name].ariaInvalid = String(Boolean(problems[name]));
    if (problems[name]) first ??= inputs[name];
  }
  setText("form-problem", first ? "" : message);
  first?.focus();
}

async function showPlacedOrder({orderId, ...order}) {
  const quantity = fields.find(({name, kind}) => name === "quantity" && kind === "whole");
  const text = fields.filter((field) => field !== quantity).flatMap(({name}) => order[name] ?? []).join(" · ");
  const amount = quantity && "quantity" in order ? `${number.format(order.quantity)} × ` : "";
  const orderStatus = make("span", {className: "order-status", textContent: "Placed. Waiting to be counted …"});
  const line = make("li", {}, make("span", {className: "order", title: text}, amount, make("bdi", {textContent: text})), orderStatus);
  const started = performance.now();
  const finish = (state, text) => {
    if (waiting.has(started)) waiting.set(started, performance.now() + REPORT_MS);
    noteAction();
    orderStatus.dataset.state = state;
    orderStatus.textContent = text;
    refreshNow();
    setTimeout(() => refreshNow(), REPORT_MS);
  };
  $("placed").prepend(line);
  const finished = [...$("placed").children].slice(MAX_PLACED).filter((each) => each.querySelector("[data-state]"));
  for (const each of finished) each.remove();   // Keep the ones that are not counted yet.
  if (reads === "iam") return finish("counted", "Placed");   // The page cannot read whether it is counted.
  waiting.set(started, Infinity);
  for (let tries = 0; ; tries += 1) {
    await new Promise((resume) => setTimeout(resume, tries < 25 ? 200 : 2000));
    try {
      const order = await call(`orders/${encodeURIComponent(orderId)}`);
      if (order.counted) return finish("counted", `Counted after ${((performance.now() - started) / 1000).toFixed(1)} s`);
      if (order.rejected) return finish("failed", "Not counted: the order was changed and is no longer valid");
    } catch (error) {
      if (error.status === 404) return finish("failed", "Cancelled");
    }
  }
}

// --- Links and the example command ---------------------------------------------------------------

$("docs").href = `${BASE}docs`;
const withKey = writes === "key" ? " -H 'x-api-key: YOUR-KEY'" : "";
$("curl").textContent = `curl -X POST '${location.origin}${BASE}orders'${withKey} \\\n  -d '${document.body.dataset.example.replaceAll("'", "'\\''")}'`;
$("copy").onclick = async () => {
  try {
    await navigator.clipboard.writeText($("curl").textContent);
    $("copy").textContent = "Copied";
  } catch {   // The clipboard needs HTTPS or localhost.
    getSelection().selectAllChildren($("curl"));
    $("copy").textContent = "Selected";
  }
  setTimeout(() => { $("copy").textContent = "Copy"; }, 2000);
};

showTab();
keepRefreshing();
