"use strict";
// The scores of the models that are shown, as a table and as bars.

const BARS = {  // by figure: the scores in it
  shares: ["UA", "RA", "rejected", "plausibility"],
  distances: ["fd_judge", "fd_judge_retrain"],
};
const COLOURS = {UA: "#0072b2", RA: "#009e73", rejected: "#d55e00", plausibility: "#cc79a7", fd_judge: "#56b4e9",
  fd_judge_retrain: "#e69f00"};
const HATCHES = {RA: "right_diagonal_line", rejected: "dot", plausibility: "cross", fd_judge_retrain: "right_diagonal_line"};
const scoreOf = (model, {key, share}) => {
  const value = models[model].scores[key];
  return value === null ? null : share ? 100 * value : value;
};

function drawBars(name) {
  const scores = content.scores.filter(({key}) => BARS[name].includes(key)), shown = shownModels();
  const bars = {x: [], width: [], top: [], color: [], hatch: [], model: [], score: []}, width = 0.8 / (scores.length || 1);
  const floors = {x0: [], x1: [], y: []};
  shown.forEach((model, at) => {
    scores.forEach((score, place) => {
      const top = scoreOf(model, score);
      if (top === null) return;
      const entry = {x: at + (place - (scores.length - 1) / 2) * width, width: 0.9 * width, top, color: COLOURS[score.key],
        hatch: HATCHES[score.key] ?? "blank", model: models[model].name, score: score.title};
      for (const [key, value] of Object.entries(entry)) bars[key].push(value);
    });
    const floor = models[model].scores.fd_floor;
    if (name === "distances" && floor != null) {
      floors.x0.push(at - 0.5); floors.x1.push(at + 0.5); floors.y.push(floor);
    }
  });
  nameTicks(`${name}_axis`, shown.map(model => models[model].name));
  span(figures[name].x_range, -0.5, Math.max(shown.length, 1) - 0.5);
  span(figures[name].y_range, 0, name === "shares" ? 102 : 1.05 * Math.max(1e-9, ...bars.top, ...floors.y));
  feed(`${name}_bars`, bars);
  feed(`${name}_floors`, floors);
}

views.push(function overview() {
  const role = at => (at === state.a ? " (A)" : "") + (at === state.b ? " (B)" : "");
  const shown = value => value === null ? "-" : value.toFixed(2);
  fill("models", ["model", ...content.scores.map(({title}) => title), "seconds"], shownModels().map(at => [
    models[at].name + role(at), ...content.scores.map(score => shown(scoreOf(at, score))),
    models[at].seconds == null ? "-" : models[at].seconds.toFixed(1)]));
  drawBars("shares");
  drawBars("distances");
});

function startOverview() {
  const {name, accuracy} = content.judge;
  byId("overview_note").textContent = `Judge ${name}, which reads ${percent(accuracy)} % of the real test images. `
    + "UA: share of the forgotten class's pictures that it does not take for it. RA: share of the others that it takes "
    + "for what was asked. rejected, plausible: of the forgotten class's. UA alone says nothing: noise has 100 %.";
  const known = new Set(content.scores.map(({key}) => key)), keys = Object.values(BARS).flat().filter(key => known.has(key));
  byId("scores_key").replaceChildren(...keys.map(key => {
    const made = element("span", undefined, {class: "map-key"}), mark = element("span", undefined, {class: "key"});
    mark.style.background = COLOURS[key];
    made.append(mark, content.scores.find(score => score.key === key).title);
    return made;
  }), "dashed: floor of FD(judge), which real images have");
}
