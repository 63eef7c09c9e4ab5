// The page that records sentences: one take each, kept by the browser, downloaded as a folder.

import { SAMPLE_RATE } from './features.js';
import { openMicrophone } from './microphone.js';
import { Recordings } from './recordings.js';
import { LONGEST, judge, letters, over } from './takes.js';
import { Waveform } from './waveform.js';

const LOOK_EVERY = 5; // pieces of the microphone between two searches for the end of the speech
const MINUTES = 10; // of speech to record
const part = (name) => document.getElementById(name);
const waveform = new Waveform(part('waveform'));
let recordings = null;
let todo = []; // sentences; the first one is shown
let take = null; // { close, pieces } while the microphone is open

function status(text) {
  part('status').textContent = text;
}

function fail(error) {
  part('error').textContent = error?.message ?? '';
  part('error').hidden = !error;
  if (error) status('');
}

// Runs what a button does; its errors are shown.
const reported = (work) => async () => {
  fail(null);
  try {
    await work();
  } catch (error) {
    fail(error);
  }
  show();
};

function show() {
  const count = recordings?.takes.length ?? 0, busy = take !== null;
  part('prompt').textContent = todo[0] ?? 'All sentences are recorded. Thank you.';
  part('minutes').textContent = `${((recordings?.seconds ?? 0) / 60).toFixed(1)} of ${MINUTES} minutes`;
  part('sentences').textContent = count;
  part('record').textContent = busy ? 'Stop' : 'Record';
  part('record').setAttribute('aria-pressed', busy);
  part('record').disabled = !recordings || (!todo.length && !busy);
  part('back').disabled = part('download').disabled = part('remove').disabled = busy || !count;
  part('skip').disabled = busy || todo.length < 2;
}

async function load() {
  const response = await fetch('prompts.txt');
  if (!response.ok) throw new Error(`The sentences cannot be loaded (status ${response.status}).`);
  recordings = await Recordings.open();
  const recorded = new Set(recordings.takes.map(({ text }) => text));
  const prompts = (await response.text()).split('\n').map((line) => line.trim());
  todo = prompts.filter((prompt) => prompt && !recorded.has(prompt));
  await navigator.storage?.persist?.();
  status(recorded.size ? 'The recordings of the last time are here.' : 'Press Record, and read the sentence.');
}

async function start() {
  const mine = (take = { pieces: [], close: null });
  show();
  status('Opening the microphone…');
  waveform.show();
  try {
    mine.close = await openMicrophone((samples) => take === mine && hear(samples));
  } catch (error) {
    take = null;
    throw error;
  }
}

function hear(samples) {
  const { pieces } = take;
  pieces.push(Int16Array.from(samples, (value) => Math.max(-32768, Math.min(32767, Math.round(value * 32768)))));
  if (pieces.length === 1) return status('Speak now …'); // a microphone takes a moment to open; this piece has the click, too
  waveform.add(samples);
  const long = pieces.length * samples.length >= LONGEST * SAMPLE_RATE;
  if (long || (pieces.length % LOOK_EVERY === 0 && over(joined(pieces), letters(todo[0])))) finish();
}

const finish = reported(async () => {
  const { pieces, close } = take;
  take = null;
  await close?.();
  const text = todo[0], { samples, kept, advice } = judge(joined(pieces), letters(text));
  if (kept) {
    await recordings.add(text, samples);
    todo.shift();
  }
  const outcome = kept ? `Kept: ${(samples.length / SAMPLE_RATE).toFixed(1)} s.` : 'Not kept; once more, please.';
  status(`${outcome} ${advice}`);
});

// All but the first of the pieces, as one.
function joined(pieces) {
  const samples = new Int16Array(pieces.slice(1).reduce((sum, piece) => sum + piece.length, 0));
  let filled = 0;
  for (const piece of pieces.slice(1)) {
    samples.set(piece, filled);
    filled += piece.length;
  }
  return samples;
}

async function takeBack() {
  todo.unshift(await recordings.takeBack());
  status('The last take is removed.');
}

function skip() {
  todo.push(todo.shift());
  status('');
}

function download() {
  const speaker = part('speaker');
  if (!speaker.value || !speaker.checkValidity()) throw new Error('The name may have letters, digits and _ only.');
  const link = document.createElement('a');
  link.href = URL.createObjectURL(recordings.folder(speaker.value));
  link.download = `${speaker.value}.zip`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000); // until the browser has written it
  status(`${link.download} has ${recordings.takes.length} sentences.`);
}

async function remove() {
  if (!confirm('Remove all recordings from this browser?')) return;
  await recordings.clear();
  await load();
}

part('record').addEventListener('click', () => (take ? finish() : reported(start)()));
part('back').addEventListener('click', reported(takeBack));
part('skip').addEventListener('click', reported(skip));
part('download').addEventListener('click', reported(download));
part('remove').addEventListener('click', reported(remove));
reported(load)();
