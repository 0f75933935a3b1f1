// The status light: what it shows in each situation. This part stands alone, and a test runs it without a page.

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
