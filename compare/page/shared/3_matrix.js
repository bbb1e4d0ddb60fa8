"use strict";
// Matrices of answers, a row per class and a column per answer.

// `cell` gives share and count of a class and an answer; empty cells are not drawn.
function drawMatrix(name, truths, replies, names, cell) {
  const cells = {x: [], y: [], share: [], count: [], true: [], answer: []};
  truths.forEach((truth, y) => replies.forEach((reply, x) => {
    const {share, count} = cell(truth, reply);
    if (!share && !count) return;
    cells.x.push(x); cells.y.push(y); cells.share.push(share); cells.count.push(count);
    cells.true.push(names[truth]); cells.answer.push(names[reply]);
  }));
  nameTicks(`${name}_x`, replies.map(reply => names[reply]), 25);
  nameTicks(`${name}_y`, truths.map(truth => names[truth]), 25);
  span(figures[name].x_range, -0.5, Math.max(replies.length, 1) - 0.5);
  span(figures[name].y_range, Math.max(truths.length, 1) - 0.5, -0.5);
  feed(`${name}_cells`, cells);
}
