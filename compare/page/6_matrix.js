"use strict";
// What A and B answer per true class, and the difference.

const MOST_CELLS = 100;  // classes a side
const FEWER = 50;  // classes shown where there are more

function confusion(side, rows) {  // images by true class * classes + answer
  const counts = new Uint32Array(classes.length ** 2);
  for (const row of rows) counts[data.label[row] * classes.length + answer(side, row)]++;
  return counts;
}

function totalsOf(counts) {
  const size = classes.length, totals = new Float64Array(size);
  for (let at = 0; at < counts.length; at++) totals[Math.floor(at / size)] += counts[at];
  return totals;
}

// The classes to show: those that occur, or of many those whose rows and columns differ most between A and B.
function matrixClasses(a, b) {
  const size = classes.length, weight = new Float64Array(size), seen = new Uint8Array(size);
  for (let at = 0; at < a.length; at++) {
    if (!a[at] && !b[at]) continue;
    const truth = Math.floor(at / size), reply = at % size, change = Math.abs(a[at] - b[at]);
    seen[truth] = seen[reply] = 1;
    weight[truth] += change;
    weight[reply] += change;
  }
  const present = [...seen.keys()].filter(label => seen[label]);
  if (present.length <= MOST_CELLS) return [present, present.length];
  const most = present.slice().sort((one, other) => weight[other] - weight[one]).slice(0, FEWER);
  return [most.sort((one, other) => one - other), present.length];
}

function drawMatrix(name, shown, value, count) {
  const cells = {x: [], y: [], share: [], count: [], true: [], answer: []};
  shown.forEach((truth, y) => shown.forEach((reply, x) => {
    const at = truth * classes.length + reply, images = count(at);
    if (!images && !value(at, truth)) return;
    cells.x.push(x); cells.y.push(y); cells.share.push(value(at, truth)); cells.count.push(images);
    cells.true.push(classes[truth]); cells.answer.push(classes[reply]);
  }));
  nameTicks(`${name}_x`, shown.map(label => classes[label]), 25);
  nameTicks(`${name}_y`, shown.map(label => classes[label]), 25);
  const end = Math.max(shown.length, 1) - 0.5;
  span(figures[name].x_range, -0.5, end);
  span(figures[name].y_range, end, -0.5);
  feed(`${name}_cells`, cells);
}

let matrixShown = [];
views.push(function matrices(rows) {
  const a = confusion("a", rows), b = confusion("b", rows), totals = totalsOf(a);
  const [shown, present] = matrixClasses(a, b);
  matrixShown = shown;
  drawMatrix("matrix_a", shown, (at, truth) => a[at] / (totals[truth] || 1), at => a[at]);
  drawMatrix("matrix_b", shown, (at, truth) => b[at] / (totals[truth] || 1), at => b[at]);
  drawMatrix("matrix_difference", shown, (at, truth) => (a[at] - b[at]) / (totals[truth] || 1), at => a[at] - b[at]);
  byId("matrix_note").textContent = "Colour: share of the true class. A click on a cell shows its images in all views."
    + (present > shown.length ? ` The ${shown.length} of ${present} classes that changed most.` : "");
  const order = [...a.keys()].filter(at => a[at] !== b[at])
    .sort((one, other) => Math.abs(a[other] - b[other]) - Math.abs(a[one] - b[one])).slice(0, 15);
  fill("confusions", ["true class", "answer", "A", "B", "A − B"], order.map(at => {
    const [truth, reply] = [Math.floor(at / classes.length), at % classes.length];
    return [classes[truth], classes[reply], String(a[at]), String(b[at]), String(a[at] - b[at])];
  }));
});

function startMatrices() {
  for (const [name, other] of [["matrix_a", "answerA"], ["matrix_b", "answerB"], ["matrix_difference", "answerA"]]) {
    onTap(`${name}_cells`, ([at]) => {
      const {x, y} = figures[`${name}_cells`].data, [truth, reply] = [matrixShown[y[at]], matrixShown[x[at]]];
      forgetTaps(`${name}_cells`);
      state.label = truth;
      set(other, reply);
    });
  }
}
