// Shows what the service does now: figures, queues, workers, jobs, failures.

import { $, number, say } from "./service.js";

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

function jobRow(job, acts) {
  const id = job.task_id;
  const does = () => [
    button("Show", `Show job ${short(id)}`, () => acts.show(id)),
    button("Cancel", `Cancel job ${short(id)}`, () => acts.cancel(id)),
  ];
  const pace = job.tokens_per_second;
  return [id, [
    [name(id)],
    [(job.kind || "–") + (job.progress ? `, ${job.progress.done} of ${job.progress.total}` : "")],
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
  const version = worker.ollama_version;
  const server = version?.endsWith("+embedded") ? "Embedded, as Ollama" : "Ollama";
  const engine = version ? `${server} ${version.replace("+embedded", "")}` : "Ollama unreachable";
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

export function facts(list, pairs) {
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

// `acts`: what the buttons of a job do with its id, `show` and `cancel`.
export function show(seen, acts) {
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
    seen.workers.length ? "" : "No worker runs. Start one with python -m local_llm_service.worker.");
  const others = seen.running - seen.jobs.length;
  const more = others > 0 ? `${others} more, of other callers or just begun.` : "";
  fill("running", seen.jobs.map((job) => jobRow(job, acts)), seen.running || seen.jobs.length ? more : "No job runs.");
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
