// One job: submitted, its text while it is written, its answer.

import { eventsOf } from "./events.js";
import { facts } from "./overview.js";
import { $, Problem, ask, number, say } from "./service.js";

let current = null; // what stops following the job that is shown
let shown = null; // its id, once it has one
let text = null; // the text node that grows
let changed = () => {}; // called when a job begins or ends

// Words for the states of a job that nobody writes at the moment.
const WAITING = {
  queued: "Queued…",
  running: "Running…",
  joined: "Waiting for the same question of another…",
  deferred: "Waiting for another try…",
  parked: "Waiting for a worker with its model…",
};

// What an answer says beside its result, where there is something to say.
const SAID = [
  ["Steps", "steps"],
  ["Function", "function"],
  ["Not said", "missing"],
  ["Not in the message", "ungrounded"],
  ["By default", "defaulted"],
];

function begin(words) {
  current?.abort();
  current = new AbortController();
  text = document.createTextNode("");
  $("answer").replaceChildren(text);
  $("answer").classList.remove("code");
  $("answer").setAttribute("aria-busy", "true");
  $("facts").hidden = true;
  $("cancel").disabled = false;
  tell(words);
  return current;
}

function tell(words, bad = false) {
  $("state").className = bad ? "state bad" : "state";
  say($("state"), words);
}

function over(words, bad) {
  $("answer").setAttribute("aria-busy", "false");
  $("cancel").disabled = true;
  current = null;
  shown = null;
  tell(words, bad);
  changed();
}

function fail(error) {
  over(error instanceof Problem ? `${error.code}: ${error.message}` : `Failed: ${error.message}`, true);
}

function endWithout(error) {
  const isCancelled = error.code === "cancelled";
  const hint = error.hint ? `. ${error.hint}` : "";
  over(isCancelled ? "Cancelled." : `${error.code}: ${error.message}${hint}`, !isCancelled);
}

function textOf(answer) {
  const json = (value) => JSON.stringify(value, null, 2);
  if (answer.embeddings) {
    const rows = answer.embeddings.map((row) => `[${row.slice(0, 6).map((x) => x.toFixed(4)).join(", ")}, …]`);
    return `${rows.length} × ${answer.embeddings[0]?.length || 0} numbers\n${rows.join("\n")}`;
  }
  if (answer.message) return answer.message.tool_calls ? json(answer.message.tool_calls) : answer.message.content;
  if (answer.messages) return `${answer.summary}\n\n${json(answer.messages)}`;
  return answer.text ?? answer.summary ?? json(answer.parameters ?? answer.data ?? answer);
}

function end(answer) {
  const whole = textOf(answer);
  $("answer").classList.toggle("code", /^[[{]/.test(whole));
  if (text.data !== whole) text.data = whole;
  const { usage, timings } = answer;
  const took = timings.generation_seconds;
  const pace = took > 0 ? `, ${number.format(usage.completion_tokens / took)} a second` : "";
  facts($("facts"), [
    ["Job", answer.task_id],
    ["Model", answer.model],
    ["Origin", answer.origin],
    ["Tokens", `${usage.prompt_tokens} read, ${usage.completion_tokens} written${pace}`],
    ["Waited", `${number.format(timings.queued_seconds ?? 0)} s in the queue`],
    ["Ended by", answer.finish_reason],
    ...SAID.filter(([, field]) => answer[field]?.length || answer[field] > 1)
      .map(([term, field]) => [term, [answer[field]].flat().join(", ")]),
  ]);
  $("facts").hidden = false;
  over(answer.origin === "computed" ? "Done." : `Done, ${answer.origin}.`, false);
}

// Returns whether the job has ended.
function take({ event, data }) {
  if (event === "text") {
    if (text.length === 0) tell("Writing…");
    text.appendData(data.text);
    const box = $("answer");
    if (box.scrollHeight - box.scrollTop - box.clientHeight < 80) box.scrollTop = box.scrollHeight;
  } else if (event === "restart") {
    text.data = "";
    tell("It runs again: writing anew…");
  } else if (event === "status") {
    if (WAITING[data.status]) tell(WAITING[data.status]);
    if (data.status === "parked") explain();
  } else if (event === "progress") {
    tell(`${WAITING[data.phase] || `${data.phase}…`} ${data.done} of ${data.total} steps are done.`);
  } else if (event === "done") {
    end(data.answer);
    return true;
  } else if (event === "failed" || event === "cancelled") {
    endWithout(data.error);
    return true;
  }
  return false;
}

async function explain() {
  const id = shown;
  const found = await ask(`v1/jobs/${encodeURIComponent(id)}/explain`).then((reply) => reply.json());
  if (shown === id && found.status === "parked") tell(`It ${found.reason}.`);
}

// Reads a job's events to their end, and goes on where it was when the connection breaks.
async function follow(id, began) {
  const { signal } = began;
  const path = `v1/jobs/${encodeURIComponent(id)}`;
  let after = "";
  shown = id;
  tell("Queued…");
  changed();
  for (let pause = 500; ; pause = Math.min(2 * pause, 8000)) {
    try {
      const headers = after ? { "Last-Event-ID": after } : {};
      const reply = await ask(`${path}/events`, { headers, signal });
      for await (const event of eventsOf(reply)) {
        after = event.id || after;
        pause = 500;
        if (take(event)) return;
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof Problem && error.status < 500) return fail(error);
    }
    tell("The connection broke; reading on…");
    await new Promise((resolve) => setTimeout(resolve, pause));
    if (signal.aborted) return;
  }
}

// Submits a job and shows what becomes of it.
export async function submit(asked) {
  const began = begin("Sending…");
  const { signal } = began;
  try {
    const headers = { Prefer: "respond-async" };
    const reply = await ask("v1/jobs", { method: "POST", body: asked, headers, signal });
    const job = await reply.json();
    if (job.answer) end(job.answer);
    else if (job.error) endWithout(job.error);
    else await follow(job.id, began);
  } catch (error) {
    if (!signal.aborted) fail(error);
  }
}

// Shows a job that somebody has submitted.
export function watch(id) {
  const began = begin("Asking…");
  $("answer").focus();
  follow(id, began);
}

export async function cancel(id) {
  try {
    await ask(`v1/jobs/${encodeURIComponent(id)}`, { method: "DELETE" });
    if (shown === id) tell("Cancelling…");
  } catch (error) {
    tell(error.message, true);
  }
  changed();
}

// Lets the button cancel what is shown; `then` is called when a job begins or ends.
export function start(then) {
  changed = then;
  $("cancel").addEventListener("click", () => {
    if (shown) return cancel(shown);
    current?.abort();
    return over("Not sent.", false);
  });
}
