"use strict";
// Controls of the whole page, and the start.

function options(id, names, every) {
  if (every) byId(id).append(element("option", every, {value: EVERY}));
  names.forEach((name, value) => byId(id).append(element("option", name, {value})));
}

// A box for each of some choices in a fieldset, with a colour or without; `act` gets the set of the places of those that are checked.
function boxes(fieldset, choices, act) {
  choices.forEach(({id, name, colour}, value) => {
    const label = element("label"), key = element("span", undefined, {class: "key"});
    key.style.background = colour;
    label.append(element("input", undefined, {type: "checkbox", value, id}), ...(colour ? [key] : []), name);
    byId(fieldset).append(label);
  });
  byId(fieldset).addEventListener("change", () => {
    act(new Set([...byId(fieldset).querySelectorAll("input:checked")].map(box => Number(box.value))));
  });
}

function showBoxes(id, chosen) {
  for (const box of byId(id).querySelectorAll("input")) box.checked = chosen.has(Number(box.value));
}

// Selects by what of the state they choose; `act` gets its name and the value, a number for those in `numbers`.
function bind(controls, numbers, act) {
  for (const [name, id] of Object.entries(controls)) {
    byId(id).addEventListener("change", ({target}) => act(name, numbers.has(name) ? Number(target.value) : target.value));
  }
  for (const form of document.forms) form.addEventListener("submit", event => event.preventDefault());
}

function showSelects(controls, state) {
  for (const [name, id] of Object.entries(controls)) byId(id).value = state[name];
}

const PAPER = 690;  // pixels across a printed page

// Figures keep their size in print, so those that are wider than the paper are made smaller.
function fitToPaper() {
  window.addEventListener("beforeprint", () => {
    for (const one of document.querySelectorAll("figure[id]")) one.style.zoom = Math.min(1, PAPER / one.clientWidth);
  });
  window.addEventListener("afterprint", () => {
    for (const one of document.querySelectorAll("figure[id]")) one.style.zoom = "";
  });
}

async function begin(start) {
  try {
    await readArrays();
    await readFigures();
    start();
    fitToPaper();
    await drawFigures();
    document.documentElement.dataset.ready = "yes";
  } catch (error) {
    document.body.prepend(element("p", `This page needs a newer browser, or its file is damaged (${error.message}).`,
      {class: "broken", role: "alert"}));
    throw error;
  }
}
