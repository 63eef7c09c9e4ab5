// Greedy CTC decoding (Graves et al. 2006), as in velocity/recognition/decoding/greedy.py.

// (frames · V) log-posteriors → the most probable class of each frame: (frames,) Int32Array.
export function bestClasses(logProbs, vocabulary) {
  const path = new Int32Array(logProbs.length / vocabulary);
  for (let frame = 0; frame < path.length; frame++) {
    const row = logProbs.subarray(frame * vocabulary, (frame + 1) * vocabulary);
    let best = 0;
    for (let label = 1; label < vocabulary; label++) if (row[label] > row[best]) best = label;
    path[frame] = best;
  }
  return path;
}

// Merges repetitions and removes blanks: the tokens of a path, and the frame at which each starts.
export function collapse(path, blank) {
  const tokens = [], frames = [];
  path.forEach((label, frame) => {
    if (label !== blank && (frame === 0 || label !== path[frame - 1])) {
      tokens.push(label);
      frames.push(frame);
    }
  });
  return { tokens, frames };
}

// The text of a path; pieces: the text of each class, '' for the blank and the unknown.
export function textOf(path, pieces, blank) {
  return collapse(path, blank).tokens.map((token) => pieces[token]).join('').trim();
}
