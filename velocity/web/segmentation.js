// Long audio in chunks that are cut in pauses, and silence where nobody speaks; see velocity/recognition/segmentation.py.

import { SAMPLE_RATE } from './features.js';
import { bestClasses, collapse } from './decoding.js';

const WHOLE = 20; // seconds: shorter audio is not cut
const SHORTEST = 10, LONGEST = 20; // seconds of a chunk of longer audio
const PAUSE = 0.3; // seconds
const CONTEXT = 1; // seconds of its neighbours that a chunk includes on either side
const FAINT = 0.02; // share of a chunk's peak below which what came before it is no speech
const LEVEL = SAMPLE_RATE / 100; // samples per measured level

export const VOICE_STEP = 0.02; // seconds between the decisions of voiceActivity
const DECIMATION = 4; // the harmonics of a voice lie below 2 kHz
const VOICE_WINDOW = 160; // samples at 4 kHz: 40 ms
const SHORTEST_PERIOD = 10, LONGEST_PERIOD = 56; // samples at 4 kHz: voices of 400 to 71 Hz
const CERTAIN = 0.9, LIKELY = 0.7; // periodicity of a frame that is certainly, or probably, voiced
const ENOUGH = 4, WITHIN = 20; // required voiced frames within a window of frames
// Instead, where stretches that are not plausible are dropped: the voice may be faint or hoarse.
const LIKELY_IF_CHECKED = 0.5, ENOUGH_IF_CHECKED = 1;
const PLAUSIBLE = 0.4; // mean probability of the best class where it is not the blank
const ENOUGH_OF_A_PIECE = 10, WITHIN_A_PIECE = 50; // certain ones, in a chunk of long audio
const CERTAIN_REACH = 2; // seconds around them
export const LIKELY_REACH = 0.5;
const APART = 1; // seconds without a voice that part two stretches of speech
const SURE = -20; // log-posterior of all other classes where one is certain

// Yields { samples, start, end, alone }: the samples from start to end, with context on both sides. Alone: nothing else was
// said, as the recording has no other chunk, or much quieter ones before this last one.
export function* chunks(audio, frame) {
  const context = Math.floor((CONTEXT * SAMPLE_RATE) / frame) * frame;
  const peak = (samples) => samples.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  let first = 0, start = 0, loudest = 0; // of the chunks so far
  while (audio.length - start > WHOLE * SAMPLE_RATE) {
    const end = start + quietest(audio.subarray(start, start + LONGEST * SAMPLE_RATE), frame);
    yield { samples: audio.subarray(first, end + context), start: start - first, end: end - first, alone: false };
    loudest = Math.max(loudest, peak(audio.subarray(start, end)));
    [first, start] = [end - context, end];
  }
  const alone = loudest <= FAINT * peak(audio.subarray(start));
  yield { samples: audio.subarray(first), start: start - first, end: audio.length - first, alone };
}

// Where to cut, after SHORTEST seconds: in the middle of the quietest PAUSE, on a multiple of frame.
export function quietest(samples, frame) {
  const offset = SHORTEST * SAMPLE_RATE, width = Math.round((PAUSE * SAMPLE_RATE) / LEVEL);
  const power = new Float64Array(Math.floor(samples.length / LEVEL) - offset / LEVEL);
  for (let i = 0; i < power.length; i++) {
    const from = offset + i * LEVEL;
    for (let j = from; j < from + LEVEL; j++) power[i] += samples[j] ** 2 / LEVEL;
  }
  let best = 0, least = Infinity;
  for (let i = 0; i + width <= power.length; i++) {
    const level = power.subarray(i, i + width).reduce((sum, value) => sum + value / width, 0);
    if (level < least) [best, least] = [i, level];
  }
  const middle = offset + (best + Math.floor(width / 2)) * LEVEL;
  return Math.floor(middle / frame) * frame;
}

// Where somebody may be speaking, by the periodicity of each 20 ms: 0 or 1. A sound that is alone needs less evidence, and
// any sound still less if stretches that are not plausible are dropped (checked).
export function voiceActivity(periodic, alone, checked = false) {
  const least = checked ? LIKELY_IF_CHECKED : LIKELY;
  const [some, within] = alone || checked ? [ENOUGH, WITHIN] : [ENOUGH_OF_A_PIECE, WITHIN_A_PIECE];
  const enough = checked ? ENOUGH_IF_CHECKED : some;
  const certain = count(periodic.map((value) => value > CERTAIN), within).map((found) => found >= enough);
  const likely = count(periodic.map((value) => value > least), WITHIN).map((found) => found >= ENOUGH);
  const reach = (found, seconds) => count(found, 2 * Math.round(seconds / VOICE_STEP) + 1);
  const near = reach(likely, LIKELY_REACH);
  return reach(certain, CERTAIN_REACH).map((found, step) => found > 0 && near[step] > 0);
}

// Whether (frames · classes) log-posteriors are of speech: noise is something to a recogniser, but it is unsure what.
export function plausible(logProbs, blank, classes) {
  let sum = 0, count = 0;
  bestClasses(logProbs, classes).forEach((label, frame) => {
    if (label === blank) return;
    sum += Math.exp(logProbs[frame * classes + label]);
    count++;
  });
  return count > 0 && sum / count >= PLAUSIBLE;
}

// One value every 20 ms: 0 for noise, near 1 for a vowel (Boersma 1993).
export function periodicity(samples) {
  const step = Math.round((VOICE_STEP * SAMPLE_RATE) / DECIMATION);
  const low = new Float32Array(Math.floor(samples.length / DECIMATION));
  for (let i = 0; i < low.length; i++) {
    for (let j = 0; j < DECIMATION; j++) low[i] += samples[DECIMATION * i + j] / DECIMATION;
  }
  const hann = (i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * (i + 1)) / (VOICE_WINDOW + 1));
  const window = Float64Array.from({ length: VOICE_WINDOW }, (_, i) => hann(i));
  const own = Array.from({ length: LONGEST_PERIOD + 1 }, (_, lag) => autocorrelation(window, lag));
  const framed = new Float64Array(VOICE_WINDOW);
  return Float64Array.from({ length: Math.ceil(samples.length / (DECIMATION * step)) }, (_, frame) => {
    const start = frame * step - VOICE_WINDOW / 2;
    for (let i = 0; i < VOICE_WINDOW; i++) framed[i] = low[start + i] ?? 0;
    const mean = framed.reduce((sum, value) => sum + value, 0) / VOICE_WINDOW;
    for (let i = 0; i < VOICE_WINDOW; i++) framed[i] = (framed[i] - mean) * window[i];
    let greatest = -Infinity;
    for (let lag = SHORTEST_PERIOD; lag <= LONGEST_PERIOD; lag++) {
      greatest = Math.max(greatest, autocorrelation(framed, lag) / (own[lag] / own[0]));
    }
    return greatest / (autocorrelation(framed, 0) + 1e-7); // 0 for digital silence
  });
}

function autocorrelation(values, lag) {
  let sum = 0;
  for (let i = lag; i < values.length; i++) sum += values[i] * values[i - lag];
  return sum;
}

// The number of true values among the width values around each.
function count(found, width) {
  const counts = new Float64Array(found.length), before = Math.floor(width / 2);
  let sum = 0;
  for (let i = -width; i < found.length; i++) {
    sum += found[i - before + width - 1] ?? 0;
    if (i >= 0) counts[i] = sum;
    sum -= found[i - before] ?? 0;
  }
  return counts;
}

// Yields the stretches of speech that are recognised each by itself: [first, last + 1] in frames of frameSeconds.
// active is what voiceActivity gave. Stretches less than APART seconds apart are one.
export function* stretches(active, frameSeconds) {
  let begin = active.indexOf(1), next = begin;
  while (next >= 0) {
    const quiet = active.indexOf(0, next), end = quiet < 0 ? active.length : quiet;
    next = active.indexOf(1, end);
    if (next < 0 || (next - end) * VOICE_STEP >= APART) {
      const first = (begin * VOICE_STEP) / frameSeconds, last = (end * VOICE_STEP) / frameSeconds;
      yield [Math.floor(first + 1e-6), Math.ceil(last - 1e-6)];
      begin = next;
    }
  }
}

// (frames · classes) log-posteriors that are certainly blank.
export function silence(frames, { blank, classes }) {
  const logProbs = new Float32Array(frames * classes);
  for (let frame = 0; frame < frames; frame++) certain(logProbs, frame, blank, classes);
  return logProbs;
}

// (frames · classes) log-posteriors: frames that are inactive by voiceActivity become certainly blank, in place.
export function silenced(logProbs, active, frameSeconds, { blank, classes }) {
  for (let frame = 0; frame < logProbs.length / classes; frame++) {
    const step = Math.floor(((frame + 0.5) * frameSeconds) / VOICE_STEP);
    if (!active[Math.min(step, active.length - 1)]) certain(logProbs, frame, blank, classes);
  }
}

// Makes a class certain in a frame, in place.
export function certain(logProbs, frame, label, classes) {
  logProbs.fill(SURE, frame * classes, (frame + 1) * classes)[frame * classes + label] = 0;
}

// Cuts log-posteriors that come in pieces into passages that can be decoded separately: { first, logProbs }. A passage
// ends before a class that begins a word, at the longest pause, so that the best paths of the passages together are the
// best path of the whole. head: { blank, classes, begins }.
export async function* passages(pieces, head) {
  let held = null, first = 0; // frame
  for await (const piece of pieces) {
    if (held === null) {
      held = piece;
      continue;
    }
    const cut = cutFrame(held, head), end = cut || held.length / head.classes; // else silence
    if (cut) yield { first, logProbs: held.subarray(0, cut * head.classes) };
    first += end;
    held = joined(held.subarray(end * head.classes), piece);
  }
  if (held) yield { first, logProbs: held };
}

// The frame to cut before, in the second half if possible; 0 if there are only blanks.
function cutFrame(logProbs, { blank, classes, begins }) {
  const path = bestClasses(logProbs, classes);
  const { tokens, frames } = collapse(path, blank);
  if (!tokens.length) return 0;
  const words = [...tokens.keys()].filter((i) => begins[tokens[i]] && frames[i] > 0);
  const late = words.filter((i) => frames[i] >= Math.floor(path.length / 2));
  const pause = (i) => (frames[i + 1] ?? path.length) - (frames[i - 1] ?? 0);
  const longest = (late.length ? late : words).reduce((best, i) => (best < 0 || pause(i) > pause(best) ? i : best), -1);
  if (longest >= 0) return frames[longest];
  const blanks = path.lastIndexOf(blank); // one endless word: babble, or another language
  return blanks >= 0 ? blanks + 1 : frames.at(-1) || path.length;
}

export function joined(first, second) {
  const both = new Float32Array(first.length + second.length);
  both.set(first);
  both.set(second, first.length);
  return both;
}
