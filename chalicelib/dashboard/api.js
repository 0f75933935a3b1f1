// The API: requests with their key and errors; and the elements, numbers and times that all parts of the page use. Text
// from the API is inserted as text, never as markup.

// The page's path, with a slash at the end. A deployed stage's path can lack one: /api.
const BASE = location.pathname.replace(/\/?$/, "/");
const $ = (id) => document.getElementById(id);
const number = new Intl.NumberFormat("en");
const short = new Intl.NumberFormat("en", {notation: "compact", maximumFractionDigits: 1});
const plural = (n, one, many) => `${number.format(n)} ${n === 1 ? one : many}`;
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

const keyProblem = () => key ? "This API key is not accepted. Check it and try again." : "An API key is needed. Enter it above.";

// The status is 0 without a response.
const apiError = (message, status, problems = {}) => Object.assign(new Error(message), {status, problems});

async function call(path, method = "GET", body = undefined) {
  const options = {method, cache: "no-store", signal: AbortSignal.timeout(20000), headers: key ? {"x-api-key": key} : {}};
  if (body) Object.assign(options, {body: JSON.stringify(body), headers: {...options.headers, "Content-Type": "application/json"}});
  let response, content;
  try {
    response = await fetch(BASE + path, options);
    rememberServerTime(Date.parse(response.headers.get("date")));
    content = await response.json();
  } catch (error) {
    if (response?.ok === false) throw apiError(`The server returned an error (${response.status}).`, response.status);
    throw apiError("The server cannot be reached.", 0);
  }
  if (response.ok) return content;
  if (response.status === 403 && (method === "GET" ? reads : writes) === "key") throw apiError(keyProblem(), 403);
  throw apiError(content.Message || content.message || `The server returned an error (${response.status}).`, response.status, content.problems);
}

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

// Times are shown in the browser's zone, and in UTC to whoever hovers over one.
function localTime(time, seconds = false) {
  const at = new Date(time), today = at.toDateString() === new Date(serverTime()).toDateString();
  return at.toLocaleString([], {hour: "2-digit", minute: "2-digit", hourCycle: "h23", ...(seconds ? {second: "2-digit"} : {}),
    ...(today ? {} : {day: "numeric", month: "short"})});
}

const utcTime = (time) => `${new Date(time).toISOString().slice(0, 19).replace("T", " ")} UTC`;
const makeTime = (time, seconds) => make("time", {textContent: localTime(time, seconds), title: utcTime(time)});

function setText(id, text) {
  const element = $(id);
  element.hidden = !text;
  if (element.textContent !== text) element.textContent = text;   // An unchanged text must not be read out again.
}
