"use strict";
// What is asked for, and which images pass. Every view draws from this; nothing else is remembered.

const initial = () => ({sets: new Set(sets.keys()), label: EVERY, answerA: EVERY, answerB: EVERY, outcome: "all",
  selected: null});
const state = {...initial(), a: content.first[0], b: content.first[1], signal: "margin", attack: "models",
  threshold: null, colour: "set", shown: "both", lines: false, sort: "change", down: true, limit: 25, pinned: null};

const OUTCOMES = {
  all: ["all", () => true],
  differ: ["A and B answer differently", row => answer("a", row) !== answer("b", row)],
  failed: ["A failed to forget", row => setOf(row) === "forget" && right(state.a, row)
    && !(models[state.b].retrained && right(state.b, row))],
  forgotten: ["A forgot", row => setOf(row) === "forget" && !right(state.a, row)],
  damaged: ["A damaged: wrong, and right in B",
    row => !setOf(row).startsWith("forget") && !right(state.a, row) && right(state.b, row)],
  right: ["A gets right", row => right(state.a, row)],
  wrong: ["A gets wrong", row => !right(state.a, row)],
};

const answer = (side, row) => data.models[state[side]].predicted[row];

// Whether an image passes every filter but that of sets, which an attack chooses by itself.
function fits(row) {
  return (state.label === EVERY || data.label[row] === state.label)
    && (state.answerA === EVERY || answer("a", row) === state.answerA)
    && (state.answerB === EVERY || answer("b", row) === state.answerB)
    && (!state.selected || state.selected.has(row)) && OUTCOMES[state.outcome][1](row);
}

function passing(everySet = false) {
  const rows = [];
  for (let row = 0; row < data.count; row++) {
    if ((everySet || state.sets.has(data.set[row])) && fits(row)) rows.push(row);
  }
  return rows;
}

function redraw() {
  const rows = passing();
  for (const view of views) view(rows);
  const total = data.count.toLocaleString("en");
  document.getElementById("status").textContent = `${rows.length.toLocaleString("en")} of ${total} images pass`
    + (state.selected ? `, among ${state.selected.size.toLocaleString("en")} selected on the map` : "");
}
