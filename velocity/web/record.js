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
let loaded = false;
let take = null; // { close, pieces } while the microphone is open
let kept = true; // the last take: "Repeat" must not remove the good one before a useless one
let working = false; // on what a button does: another click has to wait

function status(text) {
  part('status').textContent = text;
}

function fail(error) {
  part('error').textContent = error?.message ?? '';
  part('error').hidden = !error;
  if (error) status('');
}

// Runs what a button does, once at a time; its errors are shown.
const reported = (work) => async () => {
  if (working) return;
  working = true;
  fail(null);
  show();
  try {
    await work();
  } catch (error) {
    fail(error);
  }
  working = false;
  show();
};

function show() {
  const count = recordings?.takes.length ?? 0, busy = working || take !== null;
  part('prompt').textContent = todo[0] ?? (loaded ? 'All sentences are recorded. Thank you.' : '');
  part('minutes').textContent = `${((recordings?.seconds ?? 0) / 60).toFixed(1)} of ${MINUTES} minutes`;
  part('sentences').textContent = count;
  part('record').textContent = take ? 'Stop' : 'Record';
  part('record').setAttribute('aria-pressed', take !== null);
  part('record').disabled = working || !todo.length;
  part('back').disabled = busy || !count || !kept;
  part('download').disabled = part('remove').disabled = busy || !count;
  part('skip').disabled = busy || todo.length < 2;
}

async function load() {
  loaded = false;
  todo = [];
  recordings = await Recordings.open();
  const response = await fetch('prompts.txt');
  if (!response.ok) throw new Error(`The sentences cannot be loaded (status ${response.status}).`);
  const recorded = new Set(recordings.takes.map(({ text }) => text));
  const prompts = (await response.text()).split('\n').map((line) => line.trim());
  todo = prompts.filter((prompt) => prompt && !recorded.has(prompt));
  loaded = true;
  navigator.storage?.persist?.().catch(() => {}); // some browsers ask the user, who need not answer
  status(recorded.size ? 'The recordings of the last time are here.' : 'Press Record, and read the sentence.');
}

async function start() {
  const mine = { pieces: [] };
  status('Opening the microphone…');
  waveform.show();
  mine.close = await openMicrophone(
    (samples) => take === mine && hear(samples),
    (error) => take === mine && reported(() => lose(error))(),
  );
  take = mine;
}

async function lose(error) {
  const { close } = take;
  take = null;
  await close();
  throw error;
}

function hear(samples) {
  const { pieces } = take;
  pieces.push(Int16Array.from(samples, (value) => Math.max(-32768, Math.min(32767, Math.round(value * 32768)))));
  if (pieces.length === 1) return status('Speak now …'); // a microphone takes a moment to open; this piece has the click, too
  waveform.add(samples);
  const long = (pieces.length - 1) * samples.length >= LONGEST * SAMPLE_RATE;
  if (long || (pieces.length % LOOK_EVERY === 0 && over(joined(pieces), letters(todo[0])))) finish();
}

const finish = reported(async () => {
  const { pieces, close } = take;
  take = null;
  await close();
  const text = todo[0], { samples, advice, ...verdict } = judge(joined(pieces), letters(text));
  kept = verdict.kept;
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
  kept = true;
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
