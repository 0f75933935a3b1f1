// The totals: all together, the largest by product, and the product that is selected.

const FEW = 10, MANY = 100;      // Number of products to show.
const LIST_AGE_SHOWN_MS = 5000;  // The page says how old the list of totals is if it is older than this.
const RATE_MS = 60000;           // The rate is that of the last minute.
const rows = new Map();   // The row of each product.
let counts = [];          // How many orders were counted at which times.

// Show the totals of all products together, and how many orders a minute are counted.
function showAll({all, asOf, complete}) {
  $("all").hidden = !all?.rows;
  if (!all?.rows) return;
  const {totalQuantity, orderCount} = all.amounts, at = Date.parse(asOf);
  if (counts.at(-1)?.at !== at) counts.push({at, orderCount});
  counts = counts.filter((each, index) => at - each.at <= RATE_MS || index === counts.length - 2);
  const [first] = counts, seconds = (at - first.at) / 1000;
  const rate = Math.round((orderCount - first.orderCount) / seconds * 60);
  $("all").replaceChildren(make("b", {textContent: number.format(totalQuantity)}),
    `in ${plural(orderCount, "order", "orders")} of ${complete ? "" : "at least "}${plural(all.rows, "product", "products")}`
    + (seconds >= 5 ? ` · ${plural(Math.max(0, rate), "order", "orders")} a minute` : ""));
}

function showTotals(totals) {
  const largest = Math.max(1, ...totals.map((total) => total.totalQuantity));
  const names = new Set(totals.map((total) => total.product));
  for (const [product, row] of rows) {
    if (names.has(product)) continue;
    if (row.item.contains($("trend"))) $("found").append($("trend"));
    row.item.remove();
    rows.delete(product);
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
  $("find").hidden = !totals.length;
  $("more").hidden = totals.length < FEW;
  showSuggestions(totals);
}

function showListAge(id, at, complete, what) {
  setText(id, complete === false ? `The largest of a part of the ${what}. A list of all follows within five minutes.`
    : serverTime() - at > LIST_AGE_SHOWN_MS ? `As of ${localTime(at, true)}` : "");
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
  $("more").textContent = `Show ${maxProducts === FEW ? MANY : FEW}`;
  $("more").ariaExpanded = String(maxProducts === MANY);
  refreshNow();
};

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
  const {top, bottom} = element.getBoundingClientRect();
  if (top > innerHeight * .8 || bottom < 0) element.scrollIntoView({block: "start"});
}

// The detail is beside the list, which scrolls under it. Where there is no room beside it, it is below the row.
const narrow = matchMedia("(max-width: 55.99rem)");

function showSelection() {
  for (const [product, row] of rows) row.button.ariaPressed = String(product === selected);
  const home = !narrow.matches ? $("side-totals") : rows.get(selected)?.item ?? $("found");
  if ($("trend").parentElement !== home) home.append($("trend"));
}
narrow.onchange = showSelection;

$("find").onsubmit = (event) => {
  event.preventDefault();
  select($("find-product").value);
};

addEventListener("hashchange", () => {
  place = fromAddress();
  showTab();
  if (place.product !== null) select(place.product);
  else refreshNow();
});
