// Changes the page.
"use strict";

const byId = (id) => document.getElementById(id);

function text(node, value) {
  if (node.textContent !== String(value)) node.textContent = value;
}

function made(kind, ...children) {
  const node = document.createElement(kind);
  node.append(...children);
  return node;
}

// Tables are changed cell by cell: what is selected or has the focus stays.
function fill(id, rows) {
  const table = byId(id);
  const body = table.tBodies[0];
  table.closest(table.dataset.around ?? "section").hidden = !rows.length;
  while (body.rows.length > rows.length) body.deleteRow(-1);
  rows.forEach((cells, index) => {
    const row = body.rows[index] || body.insertRow();
    cells.forEach((cell, place) => {
      if (!row.cells[place]) {
        const added = made(place ? "td" : "th");
        added.className = table.tHead.rows[0].cells[place].className;
        if (!place) added.scope = "row";
        row.append(added);
      }
      if (cell instanceof Node) row.cells[place].replaceChildren(cell);
      else text(row.cells[place], cell);
    });
  });
}

function fillList(id, items) {
  const list = byId(id);
  while (list.children.length > items.length) list.lastChild.remove();
  items.forEach((item, index) => text(list.children[index] || list.appendChild(made("li")), item));
}
