"use strict";
// What was drawn: a row per class, a column per model.

const STEP = 30;  // classes that are shown at first, and further ones at a time
const said = row => answers[data.answer[row]];

function tallies(model, label) {
  const all = pictures(model, label), count = name => all.filter(VERDICTS[name][1]).length;
  return {total: all.length, asked: count("asked"), other: count("other"), none: count("none")};
}

function picture(row, side) {
  const made = tile(row, side), stands = VERDICTS[state.verdict][1](row);
  const verdict = data.answer[row] === data.label[row] ? "asked" : data.answer[row] === NONE ? "none" : "other";
  made.className += ` picture ${verdict}${stands ? "" : " faint"}`;
  return made;
}

function pictureCell(model, label) {
  const {total, asked, other, none} = tallies(model, label);
  if (!total) return "-";
  const made = element("button", undefined, {type: "button", class: "pictures", id: `pictures_${model}_${label}`,
    "aria-label": `${models[model].name}, class ${classes[label]}: of ${total} pictures ${asked} are taken for it, `
      + `${other} for another class, ${none} for none; show them`});
  const shown = pictures(model, label).filter(row => data.tile.has(row)).slice(0, state.each);
  made.append(...shown.map(row => picture(row, 32)));
  made.addEventListener("click", () => showPictures(model, label));
  const line = element("span", `${asked} · ${other} · ${none}`, {class: "tally"});
  const cell = document.createDocumentFragment();
  cell.append(made, line);
  return cell;
}

views.push(function picturesView() {
  const labels = shownClasses(), some = labels.slice(0, state.limit), shown = shownModels();
  fill("grid", ["class", ...shown.map(at => models[at].name)],
    some.map(label => [className(label), ...shown.map(model => pictureCell(model, label))]));
  byId("more").hidden = some.length === labels.length;
  byId("pictures_note").replaceChildren("Frames: ",
    ...[["asked", "taken for the class"], ["other", "for another class"], ["none", "for none"]].map(([name, words]) => {
      const made = element("span", undefined, {class: "map-key"});
      made.append(element("span", undefined, {class: `tile picture swatch ${name}`}), " ", words);
      return made;
    }), "At the same place two models began with the same noise, if both were drawn with the same flags and seed.");
});

function showPictures(model, label) {
  const panel = byId("panel"), list = element("div", undefined, {class: "enlarged"});
  for (const row of pictures(model, label).filter(row => data.tile.has(row))) {
    const made = element("figure");
    made.append(picture(row, 64), element("figcaption", `${said(row)} ${(100 * data.confidence[row]).toFixed(0)} %`));
    list.append(made);
  }
  const {total, asked, other, none} = tallies(model, label);
  panel.replaceChildren(element("p", `${models[model].name}, class ${className(label)}: of ${total} pictures ${asked} are `
    + `taken for it, ${other} for another class, ${none} for none. Below each: the judge's answer and its probability.`), list);
  panel.scrollIntoView({block: "nearest"});
}

function startPictures() {
  byId("more").addEventListener("click", () => set("limit", state.limit + STEP));
}
