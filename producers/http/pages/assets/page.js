// The page for people: looks at the service every two seconds, and sends what the form asks.

import { choose, form, question } from "./form.js";
import { cancel, start, submit, watch } from "./job.js";
import { show } from "./overview.js";
import { $, Problem, ask, hasKey, say, takeKeys, wantsKey } from "./service.js";

const LOOK_MS = 2000;
const ACTS = { show: watch, cancel };

let looking = null;

async function look() {
  clearTimeout(looking);
  looking = null;
  if (document.hidden || wantsKey()) return;
  try {
    show(await (await ask("v1/overview")).json(), ACTS);
    $("forget").hidden = !hasKey();
    document.body.classList.remove("stale");
  } catch (error) {
    document.body.classList.add("stale"); // what is shown is not of now
    $("dot").className = "dot away";
    const away = error instanceof Problem ? error.message : "The service does not answer; asking again.";
    say($("health"), error.status === 401 ? "An API key is needed." : away);
  }
  if (looking === null && !wantsKey()) looking = setTimeout(look, LOOK_MS);
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const asked = question();
  if (asked) submit(asked);
});

document.addEventListener("visibilitychange", look);
takeKeys(look);
start(look);
choose();
look();
