// The page: files and the microphone in, text out. Recognition runs in the worker behind Speech.

import { openMicrophone } from './microphone.js';
import { Speech, readAudio } from './speech.js';
import { Waveform } from './waveform.js';

const part = (name) => document.getElementById(name);
const waveform = new Waveform(part('waveform'));
const providers = { wasm: 'WebAssembly', webgpu: 'WebGPU' };
let speech = null;
let microphone = null; // { close, live } while it is open
let turn = 0; // the latest request: a recording or a setting

function status(text) {
  part('status').textContent = text;
}

function fail(error) {
  status('');
  part('error').textContent = error?.message ?? '';
  part('error').hidden = !error;
}

function clear(hint) {
  fail(null);
  part('transcript').replaceChildren();
  part('partial').textContent = '';
  part('copy').hidden = true;
  part('rtf').textContent = '–';
  part('hint').textContent = hint;
  waveform.show();
}

function write(text, seconds) {
  if (!text) return;
  const time = document.createElement('time'), words = document.createElement('span'), line = document.createElement('li');
  const minutes = Math.floor(seconds / 60);
  time.textContent = `${minutes}:${String(Math.floor(seconds % 60)).padStart(2, '0')}`;
  words.textContent = text;
  line.append(time, words);
  part('transcript').append(line);
  part('copy').hidden = !navigator.clipboard;
}

function factor(took, seconds) {
  part('rtf').textContent = (took / seconds).toFixed(3);
}

async function load() {
  const mine = ++turn;
  await closeMicrophone();
  speech?.close();
  speech = null;
  ready(false);
  fail(null);
  status('Loading the recogniser…');
  try {
    const [provider, threads] = ['choose-provider', 'choose-threads'].map((name) => part(name).value);
    const loaded = await Speech.load({ provider, threads: Number(threads) });
    if (mine !== turn) return loaded.close();
    speech = loaded;
    part('provider').textContent = providers[speech.provider];
    part('threads').textContent = speech.threads;
    part('model').textContent = speech.name;
    status(`Ready, after ${speech.seconds.toFixed(1)} s.`);
    ready(true);
  } catch (error) {
    if (mine === turn) fail(error);
  }
}

function ready(yes) {
  part('file').disabled = part('microphone').disabled = !yes;
}

async function open(file) {
  if (!speech) return;
  const mine = ++turn;
  await closeMicrophone();
  clear(file.name);
  status('Reading…');
  try {
    const samples = await readAudio(file);
    if (mine !== turn) return;
    waveform.show(samples);
    status('Listening…');
    const seconds = samples.length / 16000;
    const result = await speech.transcribe(samples, ({ passage, heard, took }) => {
      if (mine !== turn) return;
      if (passage) write(passage.text, passage.start);
      if (heard === undefined) return;
      waveform.heard(heard / seconds);
      factor(took, heard);
    });
    if (mine !== turn || !result) return;
    factor(result.took, result.seconds);
    status(`${result.text ? '' : 'No speech was heard. '}${seconds.toFixed(1)} s of sound in ${result.took.toFixed(2)} s.`);
  } catch (error) {
    if (mine === turn) fail(error);
  }
}

async function openTheMicrophone() {
  const mine = ++turn;
  clear('Speak: words appear as you say them');
  let took = 0, heard = 0, started = 0;
  try {
    const live = await speech.listen(({ utterance, failed }) => {
      if (mine !== turn) return;
      if (failed) return fail(new Error(failed));
      took += utterance.took;
      factor(took, heard);
      part('partial').textContent = utterance.final ? '' : utterance.text;
      if (!utterance.final) return;
      write(utterance.text, started);
      started = heard;
    });
    const close = await openMicrophone((samples) => {
      heard += samples.length / 16000;
      waveform.add(samples);
      live.hear(samples);
    }, (error) => closeMicrophone().then(() => fail(error)));
    microphone = { close, live };
    part('microphone').setAttribute('aria-pressed', 'true');
    part('microphone').textContent = 'Stop';
    status('Listening…');
  } catch (error) {
    if (mine === turn) fail(error);
  }
}

async function closeMicrophone() {
  if (!microphone) return;
  const { close, live } = microphone;
  microphone = null;
  part('microphone').setAttribute('aria-pressed', 'false');
  part('microphone').textContent = 'Microphone';
  await close();
  await live.finish();
  status('');
}

const most = globalThis.crossOriginIsolated ? Math.min(8, navigator.hardwareConcurrency) : 1; // threads
for (let count = 1; count <= most; count++) {
  part('choose-threads').add(new Option(count === 1 ? '1 thread' : `${count} threads`, count, false, count <= 4));
}
part('choose-provider').addEventListener('change', load);
part('choose-threads').addEventListener('change', load);
part('microphone').addEventListener('click', () => (microphone ? closeMicrophone() : openTheMicrophone()));
part('file').addEventListener('change', ({ target }) => {
  if (target.files.length) open(target.files[0]);
  target.value = '';
});
part('copy').addEventListener('click', async () => {
  const lines = [...document.querySelectorAll('#transcript span')].map((line) => line.textContent);
  await navigator.clipboard.writeText(lines.join(' '));
  status('Copied.');
});
for (const name of ['dragenter', 'dragover', 'dragleave', 'drop']) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    part('input').classList.toggle('over', name === 'dragenter' || name === 'dragover');
  });
}
document.addEventListener('drop', ({ dataTransfer }) => dataTransfer.files.length && open(dataTransfer.files[0]));
load();
