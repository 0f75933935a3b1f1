// Placing an order, and following it until it is counted; the latest orders of everybody.

const MAX_PLACED = 5, RECENT = 5;   // Number of orders placed here, and of the latest ones of everybody, to show.

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
const randomHex = () => [...crypto.getRandomValues(new Uint8Array(10))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
const makeOrderId = () => `web-${Date.now().toString(36)}-${randomHex()}`;

$("form").onsubmit = async (event) => {
  event.preventDefault();
  if ($("place").ariaDisabled === "true") return;
  const values = Object.fromEntries(fields.map((field) => [field.name, readField(field)]));
  const content = JSON.stringify(values);
  // After a lost response, the same order id is sent again, so that the order is placed once.
  if (attempt?.content !== content) attempt = {content, orderId: makeOrderId()};
  $("place").ariaDisabled = "true";
  try {
    const order = await call("orders", "POST", {...values, orderId: attempt.orderId});
    attempt = null;
    showProblems({});
    showPlacedOrder(order);
    for (const method of ["focus", "select"]) inputs[fields[0].name][method]?.();
  } catch (error) {
    if (error.status >= 400 && error.status < 500) attempt = null;
    showProblems(error.problems, error.status ? error.message
      : `${error.message} Press “Place order” again to make sure. The order is placed only once.`);
  }
  $("place").ariaDisabled = "false";
};

function showProblems(problems, message = "") {
  let first = null;
  for (const {name, label, kind} of fields) {
    const rule = (problems[name] ?? "").replace(/\d{4,}/g, (digits) => exactly(digits));
    setText(`field-${name}-problem`, !rule ? "" : !inputs[name].value.trim() ? `Please fill in: ${label.toLowerCase()}.`
      : kind === "text" ? `${label} is too long, or has characters that cannot be used.` : `${label} ${rule}.`);
    inputs[name].ariaInvalid = String(Boolean(problems[name]));
    if (problems[name]) first ??= inputs[name];
  }
  setText("form-problem", first ? "" : message);
  first?.focus();
}

// Return the number of pieces of an order, such as "5 × ", and the values of its other fields.
function describeOrder(order) {
  const quantity = fields.find(({name, kind}) => name === "quantity" && kind === "whole");
  const text = fields.filter((field) => field !== quantity).flatMap(({name}) => order[name] ?? []).join(" · ");
  return [quantity && "quantity" in order ? `${number.format(order.quantity)} × ` : "", text || order.orderId];
}

let drawnRecent = "";   // The latest orders that are shown, as text.

function showRecentOrders(orders = []) {
  const text = JSON.stringify([orders, new Date(serverTime()).toDateString()]);
  if (text === drawnRecent || $("recent-orders").contains(document.activeElement)) return;
  drawnRecent = text;
  $("recent").hidden = !orders.length;
  $("recent-orders").replaceChildren(...orders.map((order) => {
    const [amount, content] = describeOrder(order), name = make("bdi", {textContent: content});
    const link = totalsView && order.product ? make("a", {href: address("totals", order.product)}, name) : name;
    return make("li", {}, make("span", {className: "order", title: content}, amount, link),
      make("span", {className: "order-status"}, makeTime(Date.parse(order.countedAt), true), ` · counted in ${order.lagSeconds.toFixed(1)} s`));
  }));
}

async function showPlacedOrder({orderId, ...order}) {
  const [amount, text] = describeOrder({orderId, ...order});
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

$("docs").href = `${BASE}docs`;
const withKey = writes === "key" ? " -H 'x-api-key: YOUR-KEY'" : "";
$("curl").textContent = `curl -X POST '${location.origin}${BASE}orders'${withKey} \\\n  -d '${document.body.dataset.example.replaceAll("'", "'\\''")}'`;
$("copy").onclick = () => {
  getSelection().selectAllChildren($("curl"));   // The clipboard needs HTTPS or localhost.
  navigator.clipboard?.writeText($("curl").textContent).then(() => { $("copy").textContent = "Copied"; }, () => {});
  setTimeout(() => { $("copy").textContent = "Copy"; }, 2000);
};
