"use strict";
// The images that pass, one a line.

const COLUMNS = {  // title, what it sorts by, what it shows
  picture: ["picture", null, row => pictureButton(row)],
  set: ["set", row => data.set[row], row => setOf(row)],
  number: ["number", row => data.number[row], row => String(data.number[row])],
  label: ["true class", row => data.label[row], row => classes[data.label[row]]],
  answerA: ["A answers", row => answer("a", row), row => classes[answer("a", row)]],
  sureA: ["its %", row => data.models[state.a].confidence[row], row => percent(share(data.models[state.a].confidence[row]))],
  marginA: ["margin in A", row => data.models[state.a].margin[row], row => data.models[state.a].margin[row].toFixed(2)],
  answerB: ["B answers", row => answer("b", row), row => classes[answer("b", row)]],
  sureB: ["its %", row => data.models[state.b].confidence[row], row => percent(share(data.models[state.b].confidence[row]))],
  marginB: ["margin in B", row => data.models[state.b].margin[row], row => data.models[state.b].margin[row].toFixed(2)],
  change: ["change of margin", row => Math.abs(change(row)), row => change(row).toFixed(2)],
};

const change = row => data.models[state.a].margin[row] - data.models[state.b].margin[row];

function pictureButton(row) {
  const made = tile(row, 32, "button");
  made.type = "button";
  made.setAttribute("aria-label", `${setOf(row)} image ${data.number[row]}, class ${classes[data.label[row]]}: show`);
  made.addEventListener("click", () => { showImage(row); byId("map-view").scrollIntoView(); });
  made.addEventListener("focus", () => showImage(row));
  return made;
}

function heading(name) {
  const made = element("th", undefined, {scope: "col"});
  const [title, sortsBy] = COLUMNS[name];
  if (!sortsBy) {
    made.textContent = title;
    return made;
  }
  const button = element("button", title, {type: "button", id: `sort_${name}`});
  button.addEventListener("click", () => {
    state.down = state.sort === name ? !state.down : true;
    state.sort = name;
    imagesView(lastRows);
    byId(`sort_${name}`).focus();
  });
  if (state.sort === name) made.setAttribute("aria-sort", state.down ? "descending" : "ascending");
  made.append(button);
  return made;
}

function imagesView(rows) {
  const key = Float64Array.from({length: data.count}), by = COLUMNS[state.sort][1], sign = state.down ? -1 : 1;
  for (const row of rows) key[row] = sign * by(row);
  const order = Uint32Array.from(rows).sort((one, other) => key[one] - key[other] || one - other);
  const shown = [...order.subarray(0, state.limit)];
  fill("images", Object.keys(COLUMNS).map(heading),
    shown.map(row => Object.values(COLUMNS).map(([, , shows]) => shows(row))));
  byId("images_note").textContent = `The first ${shown.length.toLocaleString("en")} of `
    + `${rows.length.toLocaleString("en")} images. The margin is the logit of the true class's probability; its change is `
    + "A's minus B's, sorted without its sign.";
  byId("more").hidden = shown.length >= rows.length;
}
views.push(imagesView);

function list(outcome, sort, down) {
  Object.assign(state, {outcome, sort, down, limit: 25});
  showControls();
  redraw();
}

function startImages() {
  byId("list_changed").addEventListener("click", () => list("all", "change", true));
  byId("list_failed").addEventListener("click", () => list("failed", "marginA", true));
  byId("list_damaged").addEventListener("click", () => list("damaged", "change", true));
  byId("more").addEventListener("click", () => { state.limit += 100; imagesView(lastRows); });
}
