// One take: when it is over, and whether it is good enough; as velocity/commands/takes.py.

import { SAMPLE_RATE } from './features.js';
import { LIKELY_REACH, VOICE_STEP, periodicity, voiceActivity } from './segmentation.js';

const QUIET = 1.5; // seconds without a voice that end a take …
const HARDLY_OVER = 3; // … and while the sentence can hardly be over: readers pause within it, too
const USUAL = 16; // letters a second: nine of ten readers are slower, pauses included
const DROP = 12; // dB from the level of the speech to what is quiet
const AROUND = LIKELY_REACH; // seconds around voiced sounds that voiceActivity counts as speech
export const LONGEST = 60; // seconds

const FULL_SCALE = 32600; // of 16 bits: a sample beyond it is clipped
const SOME_CLIPPED = 1e-4, MANY_CLIPPED = 3e-3; // shares of the samples
const FAINT = -42, TOO_FAINT = -55; // dB of full scale: the level of the speech
const FASTEST = 20; // letters a second, of what is kept: nobody reads faster

export function letters(text) {
  return text.replace(/[^\p{L}']/gu, '').length;
}

// Whether (samples,) Int16Array hold a sentence of so many letters and then quiet.
export function over(samples, letters) {
  const [start, end] = speech(samples);
  if (!end) return false;
  const wanted = end - start >= (letters / USUAL) * SAMPLE_RATE ? QUIET : HARDLY_OVER;
  if (samples.length - end < (wanted - AROUND) * SAMPLE_RATE) return false;
  return level(samples.subarray(end)) < level(samples.subarray(start, end)) - DROP;
}

// { samples: the speech and a little around it, kept: whether it is of use, advice: a line, or '' }.
export function judge(samples, letters) {
  const [start, end] = speech(samples);
  const spoken = samples.subarray(start, end);
  const useless = (advice) => ({ samples: spoken, kept: false, advice });
  if (!spoken.length) return useless('No voice was heard. Is it the right microphone, and is it switched on?');
  if (samples.length >= LONGEST * SAMPLE_RATE) return useless(`A take may have ${LONGEST} s: press Stop at the end.`);
  if (spoken.length < (letters / FASTEST) * SAMPLE_RATE) {
    return useless('The take is too short for the sentence: press Stop only when you are done.');
  }
  const clipped = spoken.reduce((count, value) => count + (Math.abs(value) >= FULL_SCALE), 0) / spoken.length;
  const loudness = level(spoken), decibels = `${loudness.toFixed(0)} dB`;
  if (clipped >= MANY_CLIPPED) return useless('The take is clipped: turn the microphone down, or move away from it.');
  if (loudness < TOO_FAINT) return useless(`The take is too quiet (${decibels}): turn the microphone up, or come closer.`);
  let advice = '';
  if (clipped >= SOME_CLIPPED) advice = 'A little clipped: turn the microphone down, or move away from it.';
  else if (loudness < FAINT) advice = `Rather quiet (${decibels}): turn the microphone up, or come closer.`;
  return { samples: spoken, kept: true, advice };
}

// Where the speech begins and ends; [0, 0] without any.
function speech(samples) {
  const active = voiceActivity(periodicity(Float32Array.from(samples, (value) => value / 32768)), true);
  if (!active.includes(1)) return [0, 0];
  const step = Math.round(VOICE_STEP * SAMPLE_RATE);
  return [active.indexOf(1) * step, Math.min(samples.length, (active.lastIndexOf(1) + 1) * step)];
}

// The mean power in dB of full scale.
function level(samples) {
  const power = samples.reduce((sum, value) => sum + (value / 32768) ** 2, 0) / samples.length;
  return 10 * Math.log10(power + 1e-10);
}
