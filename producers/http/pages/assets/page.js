// The page for people: what the service does now, and a form for each kind. Addresses are relative,
// so the page also works behind a proxy that puts it under a path.
"use strict";

const $ = (id) => document.getElementById(id);
const number = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const KEY = "local-llm-api-key";
const LOOK_MS = 2000;

// --- asking the service -------------------------------------------------------------------------

class Problem extends Error {
  constructor(status, error) {
    const hint = error.hint ? ` ${error.hint}` : "";
    super(`${error.message || "The service refused this"}${hint}`);
    this.status = status;
    this.code = error.code || `HTTP ${status}`;
  }
}

async function ask(path, { method = "GET", body, headers = {}, signal } = {}) {
  const key = sessionStorage.getItem(KEY);
  if (key) headers = { ...headers, Authorization: `Bearer ${key}` };
  if (body !== undefined) headers = { ...headers, "Content-Type": "application/json" };
  const text = body === undefined ? undefined : JSON.stringify(body);
  const reply = await fetch(path, { method, body: text, headers, signal, cache: "no-store" });
  if (reply.ok) return reply;
  const told = await reply.json().catch(() => ({}));
  const problem = new Problem(reply.status, { hint: told.hint, ...told.error });
  if (reply.status === 401) wantKey(key ? "The service does not know this key." : "");
  throw problem;
}

function wantKey(problem) {
  const first = $("key").hidden;
  $("key").hidden = false;
  $("key-problem").textContent = problem;
  $("forget").hidden = true;
  sessionStorage.removeItem(KEY);
  if (first && document.activeElement === document.body) $("key-text").focus();
}

$("key").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(KEY, $("key-text").value.trim());
  $("key-text").value = "";
  $("key").hidden = true;
  look();
});

$("forget").addEventListener("click", () => wantKey(""));

// --- what the service does now ------------------------------------------------------------------

function ago(seconds) {
  if (seconds < 100) return `${Math.floor(seconds)} s`;
  if (seconds < 6000) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86400)} d`;
}

function size(bytes) {
  if (bytes < 1000) return `${bytes} B`;
  return bytes < 1e6 ? `${number.format(bytes / 1e3)} kB` : `${number.format(bytes / 1e6)} MB`;
}

function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// Rows stay the same elements while their job does, so that the keyboard's focus stays, too.
function fill(table, rows, note) {
  const body = $(table).tBodies[0];
  const kept = new Map([...body.rows].map((row) => [row.dataset.key, row]));
  const wanted = new Set(rows.map(([key]) => key));
  for (const [key, row] of kept) {
    if (wanted.has(key)) continue;
    if (row.contains(document.activeElement)) $(`${table}-title`).focus();
    row.remove();
  }
  rows.forEach(([key, cells], place) => {
    const row = kept.get(key) || document.createElement("tr");
    row.dataset.key = key;
    cells.forEach(([text, style], column) => {
      const cell = row.cells[column] || row.insertCell();
      cell.className = style || "";
      if (typeof text === "string") say(cell, text);
      else if (cell.dataset.state !== text.state) {
        cell.dataset.state = text.state;
        cell.replaceChildren(...text.make());
      }
    });
    if (body.rows[place] !== row) body.insertBefore(row, body.rows[place] || null);
  });
  $(table).hidden = rows.length === 0;
  say($(`${table}-note`), note);
}

function button(text, label, act) {
  const made = document.createElement("button");
  made.type = "button";
  made.className = "plain";
  made.textContent = text;
  made.setAttribute("aria-label", label);
  made.addEventListener("click", act);
  return made;
}

const short = (id) => (id.length > 12 ? `…${id.slice(-8)}` : id);

function name(id) {
  const code = document.createElement("code");
  code.className = "id";
  code.title = id;
  code.textContent = short(id);
  return { state: id, make: () => [code] };
}

function jobRow(job) {
  const id = job.task_id;
  const does = () => [
    button("Show", `Show job ${short(id)}`, () => watch(id)),
    button("Cancel", `Cancel job ${short(id)}`, () => cancelJob(id)),
  ];
  const pace = job.tokens_per_second;
  return [id, [
    [name(id)],
    [job.kind || "–"],
    [job.queue.replace("llm.", ""), "wide"],
    [ago(job.seconds), "n"],
    [number.format(job.tokens), "n wide"],
    [pace === null ? "–" : number.format(pace), "n"],
    [{ state: id, make: does }, "do"],
  ]];
}

function workerRow(worker) {
  const slots = () => {
    const meter = document.createElement("meter");
    meter.max = worker.slots;
    meter.value = worker.running;
    meter.setAttribute("aria-hidden", "true");
    return [meter, ` ${worker.running}/${worker.slots}`];
  };
  const engine = worker.ollama_version ? `Ollama ${worker.ollama_version}` : "Ollama unreachable";
  const why = [...worker.reasons, ...worker.notes];
  const breaks = worker.failing.map((model) => `the engine fails ${model}`);
  const closed = worker.closed_by.map((reason) => `takes no jobs: ${reason}`);
  const troubles = [...closed, ...breaks, ...why];
  return [worker.name, [
    [worker.name.replace("celery@", "")],
    [{ state: `${worker.running}/${worker.slots}`, make: slots }],
    [worker.model, "wide"],
    [[engine, ...troubles].join("; "), worker.reasons.length || closed.length ? "bad" : breaks.length ? "warn" : ""],
  ]];
}

function facts(list, pairs) {
  const state = JSON.stringify(pairs);
  if (list.dataset.state === state) return;
  list.dataset.state = state;
  list.replaceChildren(...pairs.flatMap(([term, text]) => {
    const [dt, dd] = [document.createElement("dt"), document.createElement("dd")];
    dt.textContent = term;
    dd.textContent = text;
    return [dt, dd];
  }));
}

function show(seen) {
  $("dot").className = `dot ${seen.status}`;
  const trouble = seen.reasons.length ? `: ${seen.reasons.join("; ")}` : "";
  say($("health"), `${seen.status}, model ${seen.model}${trouble}`);
  const total = (list, field) => list.reduce((sum, one) => sum + (one[field] || 0), 0);
  const stats = seen.stats;
  say($("f-waiting"), number.format(total(seen.queues, "waiting")));
  say($("f-running"), number.format(seen.running));
  say($("f-slots"), `of ${total(seen.workers, "slots")}`);
  say($("f-pace"), number.format(total(seen.jobs, "tokens_per_second")));
  say($("f-hits"), stats.cache_enabled ? `${number.format(100 * stats.hit_rate)} %` : "off");
  say($("f-latency"), `${number.format(stats.avg_latency_ms / 1000)} s`);
  say($("f-requests"), number.format(stats.total_requests));
  fill("queues", seen.queues.map((queue) => [queue.name, [
    [queue.name.replace("llm.", "")],
    [number.format(queue.waiting), "n"],
    [number.format(queue.unfinished), "n"],
    [queue.bytes ? size(queue.bytes) : "–", "n"],
  ]]), seen.deferred ? `${seen.deferred} more wait for another try.` : "");
  fill("workers", seen.workers.map(workerRow),
    seen.workers.length ? "" : "No worker runs. Start one with python -m worker.");
  const others = seen.running - seen.jobs.length;
  const more = others > 0 ? `${others} more, of other callers or just begun.` : "";
  fill("running", seen.jobs.map(jobRow), seen.running ? more : "No job runs.");
  fill("failures", seen.failures.map((one) => [one.task_id, [
    [`${ago(one.seconds_ago)} ago`], [one.error || "–", "bad"], [one.kind || "–"],
    [one.queue.replace("llm.", ""), "wide"], [name(one.task_id), "wide"],
  ]]), seen.failures.length ? "" : "None that is remembered.");
  facts($("cache"), [
    ["Answers kept", `${number.format(seen.cached)}, ${size(seen.cached_bytes)}`],
    ["Hits", number.format(stats.hits)],
    ["Joined one that ran", number.format(stats.joined)],
    ["Computed", number.format(stats.misses)],
    ["Tokens generated", number.format(stats.total_tokens_generated)],
  ]);
  const models = [...new Set(seen.workers.flatMap((worker) => worker.models))].sort();
  if ($("models").dataset.state === models.join()) return;
  $("models").dataset.state = models.join();
  $("models").replaceChildren(...models.map((model) => new Option(model)));
}

let looking = null;

async function look() {
  clearTimeout(looking);
  looking = null;
  if (document.hidden || !$("key").hidden) return;
  try {
    show(await (await ask("v1/overview")).json());
    $("forget").hidden = !sessionStorage.getItem(KEY);
  } catch (error) {
    $("dot").className = "dot away";
    const away = error instanceof Problem ? error.message : "The service does not answer; asking again.";
    say($("health"), error.status === 401 ? "An API key is needed." : away);
  }
  if (looking === null && $("key").hidden) looking = setTimeout(look, LOOK_MS);
}

document.addEventListener("visibilitychange", look);

// --- the form -----------------------------------------------------------------------------------

const form = $("ask");
const kind = () => form.elements.kind.value;

// Only the fields of the chosen kind are there for the browser's checks and for the keyboard.
function choose() {
  for (const group of form.querySelectorAll(".fields")) {
    const chosen = group.dataset.kind === kind();
    group.hidden = !chosen;
    for (const field of group.querySelectorAll("[name]")) field.disabled = !chosen;
  }
}

const ROLE = /^(system|user|assistant|tool):\s*/i;

function messages(text) {
  return text.split(/\n\s*\n|\n(?=(?:system|user|assistant|tool):)/i).map((part) => part.trim()).filter(Boolean).map((part) => {
    const role = ROLE.exec(part);
    return { role: role ? role[1].toLowerCase() : "user", content: part.replace(ROLE, "") };
  });
}

const READ = {
  number: Number,
  json: JSON.parse,
  lines: (text) => text.split("\n").map((line) => line.trim()).filter(Boolean),
  messages,
};

function question() {
  const args = {};
  for (const field of form.querySelectorAll(`[data-kind="${kind()}"] [name]`)) {
    if (field.value.trim() === "") continue;
    try {
      args[field.name] = (READ[field.dataset.as] || String)(field.value);
    } catch {
      field.setCustomValidity("This is no JSON.");
      field.reportValidity();
      return null;
    }
  }
  const asked = { kind: kind(), args, cache: form.elements.cache.checked };
  if (kind() !== "embed") asked.stream = true;
  for (const option of ["priority", "model"]) {
    if (form.elements[option].value) asked[option] = form.elements[option].value.trim();
  }
  const deadline = form.elements.deadline_seconds.value;
  if (deadline) asked.deadline_seconds = Number(deadline);
  return asked;
}

form.addEventListener("change", choose);
form.addEventListener("input", (event) => event.target.setCustomValidity(""));
form.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit($("send"));
});

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const asked = question();
  if (!asked) return;
  const began = begin("Sending…");
  try {
    const reply = await ask("v1/jobs", {
      method: "POST", body: asked, headers: { Prefer: "respond-async" }, signal: began.signal,
    });
    const job = await reply.json();
    if (reply.status === 200) end(job.answer || job);
    else await follow(job.id, began);
  } catch (error) {
    if (!began.signal.aborted) fail(error);
  }
});

// --- one job, while it is written ---------------------------------------------------------------

let current = null;  // what stops following the job that is shown
let text = null;     // the text node that grows

function begin(words) {
  current?.abort();
  current = new AbortController();
  text = document.createTextNode("");
  $("answer").replaceChildren(text);
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
  look();
}

function fail(error) {
  over(error instanceof Problem ? `${error.code}: ${error.message}` : `Failed: ${error.message}`, true);
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
  ]);
  $("facts").hidden = false;
  over(answer.origin === "computed" ? "Done." : `Done, ${answer.origin}.`, false);
}

async function* eventsOf(reply) {
  const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (rest + value.replaceAll("\r", "")).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const event = { event: "message", id: "", data: "" };
      for (const line of block.split("\n")) {
        const [, field, data] = /^(\w+): ?(.*)$/.exec(line) || [];
        if (field) event[field] = data;
      }
      if (event.data) yield { ...event, data: JSON.parse(event.data) };
    }
  }
}

let shown = null;  // the id of the job that is shown

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
    tell(`${data.status[0].toUpperCase()}${data.status.slice(1)}…`);
  } else if (event === "done") {
    end(data.answer || data);
    return true;
  } else if (event === "failed" || event === "cancelled") {
    const error = data.error || data;
    const hint = error.hint ? ` ${error.hint}` : "";
    over(event === "cancelled" ? "Cancelled." : `${error.code}: ${error.message}${hint}`, event === "failed");
    return true;
  }
  return false;
}

// Reads a job's events to their end, and goes on where it was when the connection breaks.
async function follow(id, began) {
  const { signal } = began;
  const path = `v1/jobs/${encodeURIComponent(id)}`;
  let after = "";
  shown = id;
  tell("Queued…");
  look();
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

function watch(id) {
  const began = begin("Asking…");
  $("answer").focus();
  follow(id, began);
}

async function cancelJob(id) {
  try {
    await ask(`v1/jobs/${encodeURIComponent(id)}`, { method: "DELETE" });
    if (shown === id) tell("Cancelling…");
  } catch (error) {
    tell(error.message, true);
  }
  look();
}

$("cancel").addEventListener("click", () => {
  if (shown) return cancelJob(shown);
  current?.abort();
  over("Not sent.", false);
});

choose();
look();
