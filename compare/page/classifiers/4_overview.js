"use strict";
// Accuracy of all models per set, on the images that pass; beside it what the runs reported.

const REPORTED = ["UA", "MIA-Efficacy", "RA", "TA"];

function accuracies(rows) {  // by model and set: [right answers, images]
  const counts = models.map(() => sets.map(() => [0, 0]));
  for (const row of rows) {
    for (const model of models.keys()) {
      const cell = counts[model][data.set[row]];
      cell[0] += right(model, row);
      cell[1] += 1;
    }
  }
  return counts;
}

views.push(function overview(rows) {
  const counts = accuracies(rows), role = at => (at === state.a ? " (A)" : "") + (at === state.b ? " (B)" : "");
  const head = ["model", ...sets.map(set => `${set.name} accuracy (n)`), ...REPORTED, "RTE"];
  fill("models", head, models.map((model, at) => [
    model.name + role(at),
    ...counts[at].map(([hits, total]) => total ? `${percent(hits / total)} (${total.toLocaleString("en")})` : "-"),
    ...REPORTED.map(name => percent(model.scores[name] ?? NaN)),
    model.scores.RTE == null ? "-" : model.scores.RTE.toFixed(3),
  ]));
});
