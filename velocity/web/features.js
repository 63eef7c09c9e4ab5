// Log-mel features as in velocity/audio.py, so that the input in the browser equals that of training.

import { FFT } from './fft.js';

export const SAMPLE_RATE = 16000; // Hz
const WINDOW = 400; // samples: 25 ms
const HOP = 160; // samples: 10 ms
export const MEL_BINS = 80;
const POINTS = 512;
const MEL_LOW = 20, MEL_HIGH = 7600; // Hz
const FLOOR = 1e-10; // power floor before the logarithm

const fft = new FFT(POINTS);
const window = periodicHann();
const filters = melFilters();

// (samples,) Float32Array at 16 kHz → (frames · 80) Float32Array, natural logarithm of mel power. Frame t is centred on
// sample 160 t, one for each started hop, at least one; outside its bounds the signal is zero.
export function melSpectrogram(samples) {
  const frames = Math.max(1, Math.ceil(samples.length / HOP));
  const features = new Float32Array(frames * MEL_BINS);
  const re = new Float64Array(POINTS), im = new Float64Array(POINTS);
  for (let frame = 0; frame < frames; frame += 2) {
    // Two real frames are transformed as one complex frame; their spectra are its even and odd parts.
    fill(re, samples, frame);
    fill(im, samples, frame + 1);
    fft.transform(re, im);
    const first = new Float64Array(POINTS / 2 + 1), second = new Float64Array(POINTS / 2 + 1); // power
    for (let k = 0; k <= POINTS / 2; k++) {
      const mirror = (POINTS - k) % POINTS;
      const a = re[k] + re[mirror], b = im[k] - im[mirror], c = im[k] + im[mirror], d = re[mirror] - re[k];
      first[k] = (a * a + b * b) / 4;
      second[k] = (c * c + d * d) / 4;
    }
    write(features, frame, first);
    if (frame + 1 < frames) write(features, frame + 1, second);
  }
  return features;
}

function fill(target, samples, frame) {
  const start = frame * HOP - WINDOW / 2;
  target.fill(0);
  const from = Math.max(0, -start), to = Math.min(WINDOW, samples.length - start);
  for (let i = from; i < to; i++) target[i] = samples[start + i] * window[i];
}

function write(features, frame, power) {
  filters.forEach(({ first, weights }, bin) => {
    let sum = 0;
    for (let i = 0; i < weights.length; i++) sum += power[first + i] * weights[i];
    features[frame * MEL_BINS + bin] = Math.log(sum + FLOOR);
  });
}

// (400,), scaled to unit energy.
function periodicHann() {
  const values = Float64Array.from({ length: WINDOW }, (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / WINDOW));
  const energy = values.reduce((sum, value) => sum + value * value, 0);
  return values.map((value) => value / Math.sqrt(energy));
}

// Triangular filters of unit height on the HTK mel scale: the first bin of each and its weights.
function melFilters() {
  const toMel = (hertz) => 2595 * Math.log10(1 + hertz / 700);
  const toHertz = (mel) => 700 * (10 ** (mel / 2595) - 1);
  const low = toMel(MEL_LOW), width = (toMel(MEL_HIGH) - low) / (MEL_BINS + 1);
  return Array.from({ length: MEL_BINS }, (_, bin) => {
    const [left, centre, right] = [0, 1, 2].map((edge) => toHertz(low + (bin + edge) * width));
    const weight = (k) => {
      const hertz = (k * SAMPLE_RATE) / POINTS;
      return Math.min((hertz - left) / (centre - left), (right - hertz) / (right - centre));
    };
    const first = Math.floor((left * POINTS) / SAMPLE_RATE) + 1;
    const end = Math.ceil((right * POINTS) / SAMPLE_RATE);
    return { first, weights: Float64Array.from({ length: end - first }, (_, i) => weight(first + i)) };
  });
}
