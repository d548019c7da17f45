// Sorts and filters the table of verdicts. Without this script the whole table is shown.
"use strict";

(() => {
  const table = document.getElementById("table");
  if (!table) return;
  const body = table.tBodies[0];
  const rows = Array.from(body.rows); // in the page's order, which sorting keeps among equals
  const headers = Array.from(table.tHead.rows[0].cells);
  const filters = Array.from(document.querySelectorAll("[data-filter]"));
  const search = document.getElementById("search");
  const status = document.getElementById("status");

  // A cell without a value comes last in both directions.
  function compare(a, b, column, type, sign) {
    const [x, y] = [a, b].map((row) => {
      const cell = row.cells[column];
      return cell.dataset.value ?? cell.textContent.trim();
    });
    if (x === "" || y === "") return (x === "") - (y === "");
    const [u, v] = type === "number" ? [Number(x), Number(y)] : [x.toLowerCase(), y.toLowerCase()];
    return sign * ((u > v) - (u < v));
  }

  function sort(column) {
    const header = headers[column];
    const ascending = header.getAttribute("aria-sort") !== "ascending";
    for (const other of headers) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    const sign = ascending ? 1 : -1;
    const sorted = [...rows].sort((a, b) => compare(a, b, column, header.dataset.type, sign));
    body.append(...sorted);
  }

  function filter() {
    const verdict = filters.find((b) => b.getAttribute("aria-pressed") === "true").dataset.filter;
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      const fits = !verdict || row.dataset.verdict === verdict;
      row.hidden = !(fits && words.every((word) => text.includes(word)));
      shown += !row.hidden;
    }
    status.textContent = verdict || words.length ? `Showing ${shown} of ${rows.length}.` : "";
  }

  headers.forEach((header, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    button.addEventListener("click", () => sort(column));
    header.append(button);
  });
  for (const button of filters) {
    button.addEventListener("click", () => {
      for (const other of filters) other.setAttribute("aria-pressed", String(other === button));
      filter();
    });
  }
  search.addEventListener("input", filter);
  document.getElementById("controls").hidden = false;
  document.documentElement.classList.add("js");
  filter(); // a browser may bring back what was typed before a reload
})();

// Paper cannot be opened: print every <details> open, then put back what was closed.
(() => {
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = Array.from(document.querySelectorAll("details:not([open])"));
    for (const one of opened) one.open = true;
  });
  addEventListener("afterprint", () => {
    for (const one of opened) one.open = false;
  });
})();
