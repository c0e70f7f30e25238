// The documentation: a search among the operations, and the address of this page in the examples.
"use strict";

const label = document.createElement("label");
const field = document.createElement("input");
label.append("Search ", field);
field.type = "search";
field.id = "wanted";
document.getElementById("search").append(label);

const operations = [...document.querySelectorAll(".operation")].map((section) => {
  const link = document.querySelector(`.contents a[href="#${section.id}"]`);
  const title = section.querySelector("h3").textContent + section.querySelector("p").textContent;
  return { section, item: link.parentElement, words: title.toLowerCase() };
});

field.addEventListener("input", () => {
  const wanted = field.value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const { section, item, words } of operations) {
    section.hidden = item.hidden = !wanted.every((word) => words.includes(word));
  }
});

const here = location.href.replace(/\/docs.*$/, "");
for (const code of document.querySelectorAll(".operation pre code")) {
  code.textContent = code.textContent.replace(/http:\/\/127\.0\.0\.1:\d+/, here);
}
