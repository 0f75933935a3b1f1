// The tabs, and the rows of the views in them.

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
  for (const id of ["panel-totals", "side-totals"]) $(id).hidden = view !== null;
  for (const id of ["panel-view", "side-view"]) $(id).hidden = !view;
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
  const listed = await call(`${list.path}?${view.top ? `top=${maxRows}&` : ""}recent=${RECENT}`);
  if (shownView() !== view) return;
  showRecentOrders(listed.recentOrders);
  latest.freshness = listed.freshness;
  latest.totals = listed.rows.map((row) => ({updatedAt: row[stampOf(view, row)]}));
  receive(list, view, listed);
  setText("list-problem", listed.rows.length ? "" : "Nothing has been counted in this view yet.");
  showListAge("view-age", Date.parse(listed.asOf), listed.complete, "rows");
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
  if (!cursor) { maxRows = MANY; return refreshNow(); }
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
  if (index < 0) return make("td", {}, value ? makeTime(Date.parse(value)) : "");
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
