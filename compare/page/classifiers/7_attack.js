"use strict";
// Who tells two groups of outputs apart by a threshold, and how well.

const DELTA = 1e-5, SMALLEST = 1e-10, BINS = 50;  // as of the privacy score

// What an attack with these error rates is worth, in [0, 1].
function worth(falsePositive, falseNegative) {
  if (falsePositive >= 1 - DELTA || falseNegative >= 1 - DELTA) return 0;
  if (falsePositive === 0 && falseNegative === 0) return 1;
  const [a, b] = [falsePositive || SMALLEST, falseNegative || SMALLEST];
  const bound = Math.min(Math.log(1 - DELTA - a) - Math.log(b), Math.log(1 - DELTA - b) - Math.log(a));
  return 1 - 2 ** -Math.max(0, bound);
}

const GROUPS = {  // positive and negative: model and set
  models: [["a", "forget"], ["b", "forget"]],
  forget: [["a", "forget"], ["a", "test"]],
  retain: [["a", "retain"], ["a", "test"]],
};

function sortedSignal([side, name], rows) {
  const values = data.models[state[side]][state.signal];
  return Float64Array.from(rows.filter(row => setOf(row) === name), row => values[row]).sort();
}

// The share of sorted values that are at or above a threshold; NaN without values.
function above(values, threshold) {
  let [low, high] = [0, values.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (values[middle] < threshold) low = middle + 1; else high = middle;
  }
  return values.length ? 1 - low / values.length : NaN;
}

const bothWays = (fpr, tpr) => Math.max(worth(fpr, 1 - tpr), worth(1 - fpr, tpr));

// Every threshold between two values that differ, with its rates, from the highest down.
function rates(positive, negative) {
  const values = [...new Set([...positive, ...negative])].sort((one, other) => one - other);
  const found = [];
  for (let at = values.length - 1; at > 0; at--) {
    const threshold = (values[at] + values[at - 1]) / 2;
    found.push({threshold, tpr: above(positive, threshold), fpr: above(negative, threshold)});
  }
  return found;
}

function areaUnder(curve) {
  const points = [{tpr: 0, fpr: 0}, ...curve, {tpr: 1, fpr: 1}];
  return points.slice(1).reduce((sum, {tpr, fpr}, at) => sum + (fpr - points[at].fpr) * (tpr + points[at].tpr) / 2, 0);
}

const tprAt = (curve, most) => curve.reduce((best, {tpr, fpr}) => fpr <= most ? Math.max(best, tpr) : best, 0);

let attacked = {positive: [], negative: [], curve: [], low: 0, high: 1, area: NaN};
views.push(function attackView() {
  const rows = passing(true), groups = GROUPS[state.attack];
  const [positive, negative] = groups.map(group => sortedSignal(group, rows));
  const curve = positive.length && negative.length ? rates(positive, negative) : [];
  const [low, high] = drawHistogram(rows);
  attacked = {positive, negative, curve, low, high, area: curve.length ? areaUnder(curve) : NaN};
  if (state.threshold === null || state.threshold < low || state.threshold > high) state.threshold = (low + high) / 2;
  const every = Math.max(1, Math.floor(curve.length / 500)), thin = curve.filter((_, at) => at % every === 0);
  const corners = points => curve.length ? [0, ...points, 100] : [];
  feed("roc_curve", {x: corners(thin.map(({fpr}) => 100 * fpr)), y: corners(thin.map(({tpr}) => 100 * tpr))});
  figures.histogram.below[0].axis_label = {margin: "margin of the true class (logit of its probability)",
    confidence: "confidence (logit of the largest probability)", entropy: "entropy at temperature 2 (nats)"}[state.signal];
  drawThreshold();
});

function drawHistogram(rows) {
  const bars = {left: [], right: [], top: [], bottom: [], color: [], hatch: [], set: [], model: [], share: []};
  const groups = [];
  for (const side of ["a", "b"]) {
    for (const [at, {name}] of sets.entries()) {
      if (!state.sets.has(at)) continue;
      const values = sortedSignal([side, name], rows);
      if (values.length) groups.push({side, name, values});
    }
  }
  const low = Math.min(...groups.map(({values}) => values[0])), high = Math.max(...groups.map(({values}) => values.at(-1)));
  if (!groups.length) { feed("bars", bars); return [0, 1]; }
  const width = (high - low) / BINS || 1, hatches = {forget: "right_diagonal_line", test: "dot", val: "cross"};
  for (const {side, name, values} of groups) {
    const counts = new Float64Array(BINS);
    for (const value of values) counts[Math.min(BINS - 1, Math.floor((value - low) / width))]++;
    counts.forEach((count, bin) => {
      if (!count) return;
      const part = 100 * count / values.length, edges = side === "a" ? [part, 0] : [0, -part];
      const entry = {left: low + bin * width, right: low + (bin + 1) * width, top: edges[0], bottom: edges[1],
        color: COLOURS[name], hatch: hatches[name] ?? "blank", set: name, model: models[state[side]].name, share: part};
      for (const [key, value] of Object.entries(entry)) bars[key].push(value);
    });
  }
  feed("bars", bars);
  span(figures.histogram.x_range, low - width, high + width);
  span(figures.histogram.y_range, 1.1 * Math.min(0, ...bars.bottom), 1.1 * Math.max(0, ...bars.top));
  return [low, high];
}

function drawThreshold() {
  const {positive, negative, curve, low, high, area} = attacked, at = state.threshold;
  const tpr = above(positive, at), fpr = above(negative, at);
  if (figures.threshold.location !== at) figures.threshold.location = at;
  byId("slider").value = 1000 * (at - low) / (high - low || 1);
  byId("threshold").value = at.toFixed(3);
  feed("roc_point", {x: [100 * fpr], y: [100 * tpr], threshold: [at]});
  const [[side, name], [otherSide, otherName]] = GROUPS[state.attack];
  byId("attack_caption").textContent = `Positive: ${name} set under ${models[state[side]].name} `
    + `(${positive.length.toLocaleString("en")}); negative: ${otherName} set under ${models[state[otherSide]].name} `
    + `(${negative.length.toLocaleString("en")}). An output at or above the threshold is called positive.`;
  const none = !positive.length || !negative.length, score = none ? NaN : 1 - bothWays(fpr, tpr);
  const shown = value => none ? "-" : percent(value);
  fill("attack_table", ["threshold", "TPR (%)", "FPR (%)", "balanced accuracy (%)", "privacy score", "AUC (%)",
    "TPR at 1 % FPR (%)", "TPR at 0.1 % FPR (%)"], [[at.toFixed(3), shown(tpr), shown(fpr), shown((1 + tpr - fpr) / 2),
    none ? "-" : score.toFixed(4), shown(area), shown(tprAt(curve, 0.01)), shown(tprAt(curve, 0.001))]]);
  const worst = content.privacy[`${state.a},${state.b}`];
  byId("attack_note").textContent = "The privacy score is 1 where this threshold tells nothing, in the better of both "
    + "directions. " + (worst ? `Over all thresholds of confidence and entropy, A's forget set against B's: ${
      worst.score.toFixed(4)} (whole set, unrounded outputs). ` : "")
    + "The filter of sets changes the histogram alone; the other filters count. In the histogram drag the line.";
}

function strongestThreshold() {
  let best = -1;
  for (const {threshold, tpr, fpr} of attacked.curve) {
    const value = bothWays(fpr, tpr);
    if (value > best) [best, state.threshold] = [value, threshold];
  }
  drawThreshold();
}

function startAttack() {
  byId("slider").addEventListener("input", ({target}) => {
    state.threshold = attacked.low + target.value / 1000 * (attacked.high - attacked.low);
    drawThreshold();
  });
  byId("threshold").addEventListener("change", ({target}) => {
    if (Number.isFinite(target.valueAsNumber)) state.threshold = target.valueAsNumber;
    drawThreshold();
  });
  byId("strongest").addEventListener("click", strongestThreshold);
  figures.threshold.properties.location.change.connect(() => {
    if (figures.threshold.location !== state.threshold) {
      state.threshold = figures.threshold.location;
      drawThreshold();
    }
  });
}
