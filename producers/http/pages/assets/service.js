// Asks the service. Addresses are relative, so the pages also work behind a proxy that puts them
// under a path.

const KEY = "local-llm-api-key";

export const $ = (id) => document.getElementById(id);
export const number = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });

export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export class Problem extends Error {
  constructor(status, error) {
    super(error.message || "the service refused this");
    this.status = status;
    this.code = error.code || `HTTP ${status}`;
  }
}

export async function ask(path, { method = "GET", body, headers = {}, signal } = {}) {
  const key = sessionStorage.getItem(KEY);
  if (key) headers = { ...headers, Authorization: `Bearer ${key}` };
  if (body !== undefined) headers = { ...headers, "Content-Type": "application/json" };
  const text = body === undefined ? undefined : JSON.stringify(body);
  const reply = await fetch(path, { method, body: text, headers, signal, cache: "no-store" });
  if (reply.ok) return reply;
  const told = await reply.json().catch(() => ({}));
  const problem = new Problem(reply.status, told.error || {});
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

export const hasKey = () => sessionStorage.getItem(KEY) !== null;
export const wantsKey = () => !$("key").hidden;

// Calls `then` whenever a key was given.
export function takeKeys(then) {
  $("key").addEventListener("submit", (event) => {
    event.preventDefault();
    sessionStorage.setItem(KEY, $("key-text").value.trim());
    $("key-text").value = "";
    $("key").hidden = true;
    then();
  });
  $("forget").addEventListener("click", () => wantKey(""));
}
