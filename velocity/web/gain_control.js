// A voice that becomes quieter or louder within a recording; see velocity/recognition/gain_control.py.

import { SAMPLE_RATE } from './features.js';
import { VOICE_STEP } from './segmentation.js';

const STEP = Math.round(VOICE_STEP * SAMPLE_RATE); // samples
const VOICED = 0.7; // periodicity
const TOGETHER = 3; // voiced steps that have the same level
const RESOLUTION = 0.25; // nats of power
const LEAST = 2.5, DEEPEST = 6; // nats: smaller changes are left as they are, and nothing is raised further
const SHARE = 0.8; // of the voiced steps that are quieter than the level
const CHANGE = 10; // nats that a change of the level costs
const SILENT = 1e-10; // power

// Samples, and the periodicity of each 20 ms of them → samples, their quieter parts raised to the level of the loudest
// one. Without a change of level, samples themselves.
export function controlGain(samples, periodic) {
  const loudness = Array.from(periodic, (_, step) => {
    let power = 0;
    for (const value of samples.subarray(step * STEP, (step + 1) * STEP)) power += value ** 2 / STEP;
    return Math.log(power + SILENT);
  });
  const voiced = [...periodic.keys()].filter((step) => periodic[step] > VOICED);
  const levels = voiceLevels(voiced.map((step) => loudness[step])), loudest = Math.max(...levels);
  const gains = levels.map((level) => (loudest - level < LEAST ? 0 : loudest - level));
  const changes = [...gains.keys()].slice(1).filter((i) => gains[i] !== gains[i - 1]);
  if (!changes.length) return samples;
  const gain = new Float64Array(loudness.length).fill(gains[0]);
  for (const i of changes) {
    // The gain changes where it is quietest between two voiced steps.
    let border = voiced[i - 1] + 1;
    for (let step = border; step <= voiced[i]; step++) if (loudness[step] < loudness[border]) border = step;
    gain.fill(gains[i], border);
  }
  return samples.map((value, i) => {
    const place = Math.min(Math.max(i / STEP - 0.5, 0), gain.length - 1), before = Math.floor(place);
    const after = gain[Math.min(before + 1, gain.length - 1)];
    return value * Math.exp((gain[before] + (place - before) * (after - gain[before])) / 2);
  });
}

// The loudness of voiced steps → their level, by dynamic programming: constant but for few changes.
export function voiceLevels(loudness) {
  const loudest = Math.max(...loudness), groups = Math.ceil(loudness.length / TOGETHER);
  const levels = Array.from({ length: DEEPEST / RESOLUTION + 1 }, (_, k) => loudest - k * RESOLUTION);
  let total = new Array(levels.length).fill(0);
  const sources = [];
  for (let group = 0; group < groups; group++) {
    const best = total.indexOf(Math.min(...total));
    const source = levels.map((_, k) => (group && total[k] > total[best] + CHANGE ? best : k));
    sources.push(source);
    const few = loudness.slice(group * TOGETHER, (group + 1) * TOGETHER);
    total = source.map((from, k) => {
      let cost = from === k ? total[k] : total[best] + CHANGE;
      for (const value of few) {
        const above = Math.max(value, loudest - 2 * DEEPEST) - levels[k];
        cost += Math.max(SHARE * above, (SHARE - 1) * above);
      }
      return cost;
    });
  }
  let k = total.indexOf(Math.min(...total));
  const path = new Array(groups);
  for (let group = groups - 1; group >= 0; group--) {
    path[group] = levels[k];
    k = sources[group][k];
  }
  return loudness.map((_, i) => path[Math.floor(i / TOGETHER)]);
}
