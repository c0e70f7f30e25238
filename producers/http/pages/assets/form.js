// Reads the form: a kind, its arguments, and the options that all kinds have.

import { $ } from "./service.js";

export const form = $("ask");
const kind = () => form.elements.kind.value;

// Only the fields of the chosen kind are there for the browser's checks and for the keyboard.
export function choose() {
  for (const group of form.querySelectorAll(".fields")) {
    const chosen = group.dataset.kind === kind();
    group.hidden = !chosen;
    for (const field of group.querySelectorAll("[name]")) field.disabled = !chosen;
  }
}

const ROLE = /^(system|user|assistant|tool):\s*/i;

// A message begins with its role at the beginning of a line; without one the user says all.
function messages(text) {
  return text.split(/\n(?=(?:system|user|assistant|tool):)/i).map((part) => {
    const role = ROLE.exec(part);
    return { role: role ? role[1].toLowerCase() : "user", content: part.replace(ROLE, "").trim() };
  });
}

const READ = {
  number: Number,
  json: JSON.parse,
  lines: (text) => text.split("\n").map((line) => line.trim()).filter(Boolean),
  messages,
};

export function question() {
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
