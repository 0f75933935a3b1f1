// Refreshing: one request fetches all that the page shows. The last part, which starts the page.

const REFRESH_MS = 3000;   // Between two requests.
const ACTIVE_REFRESH_MS = 1000, ACTIVE_MS = 30000;   // The same for ACTIVE_MS after the page is opened, clicked or typed in.
const LIGHT_MS = 1000;           // Between two updates of the status light.
const MAX_RETRY_MS = 15000;      // Between two requests while they fail.
const SLOW_MS = 5000;            // After this time without a response, the status light turns red.
const REPORT_MS = 500;           // The handler reports just after it has counted.
const AUDIT_MS = 300000, AUDIT_ASKED_MS = 15000;   // Between two requests for the audit's verdict; while one is awaited.
const latest = {lost: null, freshness: null, totals: null};   // From the latest responses.
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
    if (started >= auditDue) loadAudit("GET");
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
      if (!("status" in error)) console.error(error);
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
  const response = await call(`totals?top=${maxProducts}&recent=${RECENT}${about}`), {totals, asOf, complete} = response;
  latest.freshness = response.freshness;
  latest.totals = totals;
  showTotals(totals);
  showAll(response);
  showRecentOrders(response.recentOrders);
  showListAge("list-age", Date.parse(asOf), complete, "products");
  if (selected === null && totals.length) selected = totals[0].product;
  showSelection();
  // The user may have selected something else meanwhile.
  if (!about || about !== wantedTrend()) return;
  const changed = receiveTrend(product, response.trend ?? null), listed = totals.find((each) => each.product === product);
  if (!trend || !(listed || changed)) return;
  // A product that the list lacks costs a request more, each time that its trend changes.
  const {totalQuantity, orderCount} = listed ?? await call(`totals/${encodeURIComponent(product)}`);
  setText("trend-all", `${number.format(totalQuantity)} in all, in ${plural(orderCount, "order", "orders")}`);
}

// --- The audit -----------------------------------------------------------------------------------

let auditDue = 0;   // When to ask for the verdict, by performance.now().

// Show the last audit's verdict. With POST, ask for an audit first.
async function loadAudit(method) {
  auditDue = performance.now() + AUDIT_MS;
  try {
    const {last, runningSince, requestedAt} = await call("audit", method);
    const parts = [last ? verdict(last) : "Not audited yet", runningSince ? "an audit is running" : requestedAt ? "an audit starts within 15 minutes" : ""];
    $("audit").dataset.verdict = last?.verdict ?? "";
    $("audit").title = last ? utcTime(Date.parse(last.finishedAt)) : "";
    setText("audit-verdict", parts.filter(Boolean).join(" · "));
    $("audit-ask").hidden = writes === "iam" || Boolean(runningSince ?? requestedAt);
    if (runningSince ?? requestedAt) auditDue = performance.now() + AUDIT_ASKED_MS;
  } catch (error) {
    if (method === "POST") setText("audit-verdict", `No audit: ${error.message}`);   // The verdict is not worth an alarm.
  }
  $("audit").hidden = !$("audit-verdict").textContent;
}

function verdict({verdict: found, finishedAt, orders, counters, driftedProducts}) {
  const at = localTime(Date.parse(finishedAt)), checked = plural(orders.checked, "order", "orders");
  if (found === "clean") return `Proven at ${at}: ${checked}, 0 drift`;
  if (found === "drifted") return `Wrong at ${at}: ${plural(Math.max(1, driftedProducts), "total", "totals")} of ${number.format(counters.checked)}`;
  return `Checked at ${at}: ${checked}, some still changing`;
}

$("audit-ask").onclick = () => loadAudit("POST");

// This page's uncounted orders: when each was placed, and from when on the totals and the handler's report include it.
// The handler writes its report just after it counts; a response from before would show an older one.
const waiting = new Map();   // Both by performance.now(); Infinity while the order waits.
let server = null;    // The server's time and when it was received. The browser's clock can be wrong.
let announced = "";   // The state that a screen reader read out last; "fine" for any green or grey one.
const rememberServerTime = (time) => { if (time) server = {time, at: performance.now()}; };
const serverTime = () => server ? server.time + performance.now() - server.at : Date.now();

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

function setStatus(colour, text, title) {
  $("status").dataset.light = colour;
  $("status").title = title || "";
  setText("status-text", text);
}

const zone = new Intl.DateTimeFormat("en", {timeZoneName: "long"}).formatToParts().find(({type}) => type === "timeZoneName").value;
$("zone").textContent = `Times are in ${zone}.${new Date().getTimezoneOffset() ? " Point at one to see it in UTC." : ""}`;
showTab();
keepRefreshing();
