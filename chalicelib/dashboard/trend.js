// The trend of a product by day and hour: the chart, and its numbers as a table.

let trend = null;         // The response with the trend on the page, null without one.
let drawnTrend = "";      // The trend that is drawn, as text.
let highlighted = null;   // The highlighted day or hour: {day, hour}, with hour null for the whole day.
const selectedDays = () => Number($("days").querySelector(":checked").value);

// The API counts hours of UTC. One day more has all hours of the local days. It has at most 90, so the oldest may lack some.
const wantedTrend = () => selected === null || !trendView ? "" : `&trend=${encodeURIComponent(selected)}&days=${Math.min(90, selectedDays() + 1)}`;

// Return a trend by local days and hours: {product, total, days: [{day, total, hours}]}, each day as a Date at midnight.
function inLocalTime({product, days}) {
  const today = new Date(serverTime()), found = new Map();
  for (let back = selectedDays() - 1; back >= 0; back -= 1) {
    const day = new Date(today.getFullYear(), today.getMonth(), today.getDate() - back);
    found.set(day.toDateString(), {day, total: 0, hours: Array(24).fill(0)});
  }
  for (const {day, hours} of days) hours.forEach((quantity, hour) => {
    const at = new Date(Date.parse(day) + hour * 3600000), local = found.get(at.toDateString());
    if (!local) return;
    local.hours[at.getHours()] += quantity;
    local.total += quantity;
  });
  return {product, days: [...found.values()], total: [...found.values()].reduce((sum, day) => sum + day.total, 0)};
}

// Show a trend; return whether it has changed.
function receiveTrend(product, received) {
  const text = JSON.stringify([product, received, new Date().toISOString().slice(0, 13)]);   // Each hour it has a new cell.
  if (text === drawnTrend) return false;
  drawnTrend = text;
  if (trend?.product !== product || trend?.days.length !== selectedDays()) highlighted = null;
  trend = received && inLocalTime(received);
  $("trend").hidden = false;
  $("chart-frame").hidden = trend === null;
  setText("trend-problem", trend ? "" : `Nothing has been counted for ${product} yet. A product’s name must be spelled as in its orders.`);
  $("trend-title").textContent = product;
  if (!trend) setText("trend-sum", "");
  if (trend?.product !== $("trend").dataset.product) setText("trend-all", "");
  $("trend").dataset.product = trend?.product;
  if (trend) {
    showTrend();
    drawChart();
  }
  return true;
}

$("days").onchange = () => refreshNow();

function showTrend() {
  const count = trend.days.length;
  $("trend-sum").hidden = false;
  $("trend-sum").replaceChildren(make("b", {textContent: number.format(trend.total)}), `ordered in the last ${count} days`);
  $("chart").ariaLabel = `${trend.product} by day and hour, ${number.format(trend.total)} in ${count} days.`
    + " Use the arrow keys to go through days and hours.";
  if ($("numbers").open) showTable();
}

const dayName = new Intl.DateTimeFormat("en", {weekday: "short", day: "numeric", month: "short"});
const dayShort = new Intl.DateTimeFormat("en", {day: "numeric", month: "short"});
const pad = (hour) => String(hour).padStart(2, "0");
const hourName = (hour) => `${pad(hour)}:00–${pad(hour + 1)}:00`;

// The chart has a column for each day: a bar, and below it a cell for each of the 24 hours.
const LEFT = 34, TOP = 16, DAYS_HEIGHT = 96, GAP = 22, HOUR_HEIGHT = 8, BOTTOM = 6;
const HOURS_TOP = TOP + DAYS_HEIGHT + GAP;
const HEIGHT = HOURS_TOP + 24 * HOUR_HEIGHT + BOTTOM;
let geometry = null;   // Distance and width of the columns, the element that marks the highlighted cell, the largest day.

function drawChart() {
  const width = Math.max(240, $("chart").clientWidth);
  const gap = (width - LEFT) / trend.days.length > 12 ? 3 : 1;
  const column = (width - LEFT + gap) / trend.days.length, inner = column - gap;
  const mark = makeSvg("rect", {class: "mark", rx: 3});
  geometry = {column, inner, mark, most: Math.max(1, ...trend.days.map((day) => day.total))};
  $("chart").setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
  $("chart").style.height = `${HEIGHT}px`;
  $("chart").replaceChildren(...axes(width), ...bars(), ...cells(), mark);
  showMark();
}

function axes(width) {
  const {column, inner, most} = geometry;
  const text = (x, y, content, anchor = "end") => makeSvg("text", {x, y, "text-anchor": anchor}, content);
  const parts = [text(LEFT - 8, TOP + 4, short.format(most)), text(LEFT - 8, TOP + DAYS_HEIGHT, "0")];
  for (const y of [TOP, TOP + DAYS_HEIGHT]) parts.push(makeSvg("path", {class: "rule", d: `M${LEFT} ${y + .5}H${width}`}));
  for (const hour of [0, 6, 12, 18]) parts.push(text(LEFT - 8, HOURS_TOP + hour * HOUR_HEIGHT + 8, pad(hour)));
  const labelled = Math.ceil(64 / column);   // Columns for each label, from today backwards.
  for (let index = trend.days.length - 1; index >= 0; index -= labelled) {
    const middle = Math.min(LEFT + index * column + inner / 2, width - 20);
    if (middle > LEFT + 6) parts.push(text(middle, TOP + DAYS_HEIGHT + 15, dayShort.format(trend.days[index].day), "middle"));
  }
  return parts;
}

function bars() {
  const {column, inner, most} = geometry;
  return trend.days.flatMap(({total}, index) => {
    const height = Math.max(2, total / most * DAYS_HEIGHT);
    const bar = {class: "some", x: LEFT + index * column, width: inner, y: TOP + DAYS_HEIGHT - height, height, rx: Math.min(3, inner / 3)};
    return total > 0 ? [makeSvg("rect", bar)] : [];
  });
}

function cells() {
  const {column, inner} = geometry;
  const most = Math.max(1, ...trend.days.flatMap((day) => day.hours));
  const now = new Date(serverTime()), height = HOUR_HEIGHT - 1.5;
  const filled = [];
  let none = "";
  trend.days.forEach(({day, hours}, index) => hours.forEach((quantity, hour) => {
    const x = LEFT + index * column, y = HOURS_TOP + hour * HOUR_HEIGHT;
    const inFuture = new Date(day.getFullYear(), day.getMonth(), day.getDate(), hour) > now;
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
  const day = trend.days[highlighted.day], name = dayName.format(day.day), whole = highlighted.hour === null;
  const place = {
    x: LEFT + highlighted.day * column - 1.5, width: inner + 3,
    y: (whole ? TOP : HOURS_TOP + highlighted.hour * HOUR_HEIGHT) - 1.5, height: whole ? DAYS_HEIGHT + 3 : HOUR_HEIGHT + 1.5,
  };
  for (const [key, value] of Object.entries(place)) mark.setAttribute(key, value);
  setText("readout", whole ? `${name}: ${number.format(day.total)}`
    : `${name}, ${hourName(highlighted.hour)}: ${number.format(day.hours[highlighted.hour])} of the day’s ${number.format(day.total)}`);
  $("readout").title = `From ${utcTime(new Date(day.day).setHours(highlighted.hour ?? 0))}`;
}

function busiestHour() {
  const hours = trend.days.flatMap((day) => day.hours.map((quantity, hour) => ({quantity, day, hour})));
  const most = hours.reduce((best, each) => each.quantity >= best.quantity ? each : best);
  const today = `Today: ${number.format(trend.days.at(-1).total)}.`;
  return !most.quantity ? today : `${today} Busiest hour: ${dayName.format(most.day.day)}, ${hourName(most.hour)}, with ${number.format(most.quantity)}.`;
}

const highlight = (cell) => { highlighted = cell; if (trend) showMark(); };

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
  const step = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1], Home: [-last, 0], End: [last, 0]}[event.key];
  if (event.key === "Escape") highlight(null);
  if (!step) return;
  event.preventDefault();
  const toHour = Math.min(23, (hour ?? -1) + step[1]);
  highlight({day: Math.min(last, Math.max(0, day + step[0])), hour: toHour < 0 ? null : toHour});
};
new ResizeObserver(() => { if (trend && !$("chart-frame").hidden) drawChart(); }).observe($("chart-frame"));

function showTable() {
  const hours = [...Array(24).keys()].map((hour) => make("th", {scope: "col", textContent: pad(hour)}));
  const head = make("tr", {}, make("th", {scope: "col", textContent: "Day"}), make("th", {scope: "col", textContent: "Total"}), ...hours);
  const lines = trend.days.toReversed().map((day) => make("tr", {},
    make("th", {scope: "row", textContent: dayName.format(day.day), title: `From ${utcTime(day.day)}`}),
    ...[day.total, ...day.hours].map((quantity) => make("td", {className: quantity ? "" : "none", textContent: number.format(quantity)}))));
  $("table").replaceChildren(make("thead", {}, head), make("tbody", {}, ...lines));
}
$("numbers").ontoggle = () => { if ($("numbers").open && trend) showTable(); };
