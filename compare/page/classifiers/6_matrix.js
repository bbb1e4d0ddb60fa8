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

let matrixShown = [];
views.push(function matrices(rows) {
  const a = confusion("a", rows), b = confusion("b", rows), totals = totalsOf(a);
  const [shown, present] = matrixClasses(a, b);
  matrixShown = shown;
  const shares = counts => (truth, reply) => {
    const count = counts(truth * classes.length + reply);
    return {count, share: count / (totals[truth] || 1)};
  };
  drawMatrix("matrix_a", shown, shown, classes, shares(at => a[at]));
  drawMatrix("matrix_b", shown, shown, classes, shares(at => b[at]));
  drawMatrix("matrix_difference", shown, shown, classes, shares(at => a[at] - b[at]));
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
