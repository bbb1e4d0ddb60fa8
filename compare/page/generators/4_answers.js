"use strict";
// What the judge says of A's and B's pictures per class, and the difference.

const MOST_ROWS = 60, MOST_LINES = 15;

function changeOf(label) {  // how much the shares of a class's answers differ between A and B
  return answers.reduce((sum, _, answer) => sum + Math.abs(shareOf(state.a, label, answer) - shareOf(state.b, label, answer)), 0);
}

const shareOf = (model, label, answer) => counted(model, label, answer) / (pictures(model, label).length || 1);

let matrixShown = {truths: [], replies: []};
views.push(function matrices() {
  const labels = shownClasses(), sides = [state.a, state.b], changes = new Map(labels.map(label => [label, changeOf(label)]));
  const most = labels.toSorted((one, other) => changes.get(other) - changes.get(one)).slice(0, MOST_ROWS);
  const truths = most.sort((one, other) => one - other), given = new Set([NONE]);
  for (const [key] of sides.flatMap(model => [...countsOf[model]])) {
    if (changes.has(Math.floor(key / answers.length))) given.add(key % answers.length);
  }
  const replies = given.size > MOST_ROWS + 1 ? [...new Set([...truths, NONE])]
    : [...new Set([...truths, ...given])].sort((one, other) => one - other);
  matrixShown = {truths, replies};
  const cell = model => (label, answer) => ({count: counted(model, label, answer), share: shareOf(model, label, answer)});
  drawMatrix("matrix_a", truths, replies, answers, cell(state.a));
  drawMatrix("matrix_b", truths, replies, answers, cell(state.b));
  drawMatrix("matrix_difference", truths, replies, answers, (label, answer) => {
    const [a, b] = sides.map(model => cell(model)(label, answer));
    return {count: a.count - b.count, share: a.share - b.share};
  });
  byId("matrix_note").textContent = `A: ${models[state.a].name}. B: ${models[state.b].name}. Colour: share of the class's `
    + "pictures. A click on a cell shows that class alone in all views."
    + (truths.length < labels.length ? ` The ${truths.length} of ${labels.length} classes that differ most.` : "");
  answersTable(labels);
});

function answersTable(labels) {
  const cells = labels.flatMap(label => answers.map((_, answer) => [label, answer]))
    .filter(([label, answer]) => counted(state.a, label, answer) || counted(state.b, label, answer));
  const gap = ([label, answer]) => Math.abs(shareOf(state.a, label, answer) - shareOf(state.b, label, answer));
  const order = cells.sort((one, other) => gap(other) - gap(one)), shown = state.everything ? order : order.slice(0, MOST_LINES);
  fill("answers", ["asked for", "answer", "A", "A %", "B", "B %", "A − B %"], shown.map(([label, answer]) => {
    const [a, b] = [state.a, state.b].map(model => shareOf(model, label, answer));
    return [className(label), answers[answer], String(counted(state.a, label, answer)), percent(a),
      String(counted(state.b, label, answer)), percent(b), percent(a - b)];
  }));
  byId("all").hidden = shown.length === order.length;
}

function startAnswers() {
  byId("all").addEventListener("click", () => set("everything", true));
  for (const name of ["matrix_a", "matrix_b", "matrix_difference"]) {
    onTap(`${name}_cells`, ([at]) => {
      const truth = matrixShown.truths[figures[`${name}_cells`].data.y[at]];
      forgetTaps(`${name}_cells`);
      set("label", truth);
    });
  }
}
