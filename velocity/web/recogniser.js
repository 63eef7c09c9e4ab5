// The recogniser: the model of this folder in ONNX Runtime Web, from samples to text. For use in a worker.

import { MEL_BINS, SAMPLE_RATE, melSpectrogram } from './features.js';
import { bestClasses, textOf } from './decoding.js';
import { controlGain } from './gain_control.js';
import { readLanguageModel } from './language_model.js';
import { BLANK, BOUNDARY, CLASSES, Vocabulary } from './search.js';
import {
  certain, chunks, passages, periodicity, plausible, silence, silenced, stretches, voiceActivity,
} from './segmentation.js';

const RUNTIMES = { wasm: './ort/ort.wasm.min.mjs', webgpu: './ort/ort.webgpu.min.mjs' };
// ONNX Runtime rounds activations on the CPU only, and each would be copied there and back, 43 times in the reference
// model. On a GPU, therefore, only the weights are integers.
const EXTRA = { wasm: {}, webgpu: { session: { enable_quant_qdq_cleanup: '1' } } };

export class Recogniser {
  // provider: 'wasm', 'webgpu', or 'auto': WebGPU if there is a hardware GPU, else WebAssembly. threads apply to
  // WebAssembly; a page that is not cross-origin isolated has one. Errors have a message for the user.
  static async load({ provider = 'auto', threads = defaultThreads() } = {}) {
    const config = await (await get('config.json')).json();
    const wanted = provider === 'auto' ? ((await hasGraphics()) ? ['webgpu', 'wasm'] : ['wasm']) : [provider];
    const model = new Uint8Array(await (await get('model.onnx', config.files)).arrayBuffer());
    const pieces = await (await get('vocabulary.json', config.files)).json();
    let vocabulary = null;
    if (config.files[config.language_model?.file]) {
      const file = await get(config.language_model.file, config.files);
      const module = await (await get('phone_search.wasm', config.files)).arrayBuffer();
      const languageModel = await readLanguageModel(await file.arrayBuffer());
      vocabulary = new Vocabulary(await WebAssembly.compile(module), languageModel, config.language_model);
    }
    for (const [index, name] of wanted.entries()) {
      try {
        const ort = await runtime(name, threads);
        const session = await ort.InferenceSession.create(model, { executionProviders: [name], extra: EXTRA[name] });
        const recogniser = new Recogniser(ort, session, config, pieces, vocabulary, name);
        await recogniser.logProbs(new Float32Array(50 * MEL_BINS), recogniser.head); // the first run compiles
        return recogniser;
      } catch (error) {
        if (index === wanted.length - 1) throw new Error(explain(name, error));
      }
    }
  }

  constructor(ort, session, config, pieces, vocabulary, provider) {
    Object.assign(this, { ort, session, config, provider });
    this.threads = provider === 'wasm' ? ort.env.wasm.numThreads : 1;
    this.frame = Math.round(config.frame_seconds * SAMPLE_RATE); // samples
    // What is read: an output of the model, its classes, which of them begin words, the one that separates words, if
    // any does, and the text of log-posteriors. A bundle has a language model if the model gives phones.
    this.letters = {
      output: 'log_probs',
      classes: config.vocabulary,
      blank: config.blank,
      begins: pieces.map((piece) => piece.startsWith(' ')),
      space: pieces.indexOf(' '),
      text: (logProbs) => textOf(bestClasses(logProbs, config.vocabulary), pieces, config.blank),
    };
    this.head = !vocabulary ? this.letters : {
      output: 'phone_log_probs',
      classes: CLASSES,
      blank: BLANK,
      begins: Array.from({ length: CLASSES }, (_, label) => label === BOUNDARY),
      space: BOUNDARY,
      checked: true, // the language model makes words of anything
      text: (logProbs) => vocabulary.text(logProbs),
    };
  }

  // (frames · 80) log-mel → (frames' · classes) log-posteriors, both Float32Array.
  async logProbs(mel, { output } = this.letters) {
    const input = new this.ort.Tensor('float32', mel, [1, mel.length / MEL_BINS, MEL_BINS]);
    const { [output]: found } = await this.session.run({ mel_spectrogram: input }, [output]);
    const values = await found.getData();
    found.dispose();
    return values;
  }

  // Yields log-posteriors of the frames from start to end of each chunk, and reports progress through heard(seconds).
  // Frames without a voice are certainly blank. As VelocityASR.posteriors in velocity/recognition/offline.py.
  async *posteriors(chunks, heard = () => {}) {
    const { frame, head } = this, { blank, classes, space } = head, { frame_seconds: seconds } = this.config;
    let spoken = false, done = 0; // samples
    for (const chunk of chunks) {
      const { start, end, alone, periodic = periodicity(chunk.samples) } = chunk;
      const { active = voiceActivity(periodic, alone, head.checked) } = chunk;
      const samples = controlGain(chunk.samples, periodic);
      const piece = silence(Math.ceil(samples.length / frame), head);
      // Quiet before, between and after speech never reaches the network, so that it cannot change the words.
      const joints = [];
      for (const [first, last] of stretches(active, seconds)) {
        if (last * frame <= start || first * frame >= end) continue; // in the context, which is another chunk's
        const found = await this.logProbs(melSpectrogram(samples.subarray(first * frame, last * frame)), head);
        if (head.checked && !plausible(found, blank, classes)) continue;
        piece.set(found.subarray(0, piece.length - first * classes), first * classes);
        // Else nothing came before, or it goes on from there.
        if (spoken && first * frame >= start) joints.push(Math.max(first - 1, start / frame));
        spoken = true;
      }
      silenced(piece, active, seconds, head);
      // A stretch by itself does not begin with what separates words.
      if (space >= 0) for (const joint of joints) certain(piece, joint, space, classes);
      done += end - start;
      heard(done / SAMPLE_RATE);
      yield piece.subarray((start / frame) * classes, Math.ceil(end / frame) * classes);
    }
  }

  // Yields { start, text } for each passage, start in seconds, and reports progress through heard(seconds).
  async *transcribe(samples, heard = () => {}) {
    const posteriors = this.posteriors(chunks(samples, this.frame), heard);
    for await (const { first, logProbs } of passages(posteriors, this.head)) {
      yield { start: first * this.config.frame_seconds, text: this.head.text(logProbs) };
    }
  }
}

function defaultThreads() {
  return Math.min(4, navigator.hardwareConcurrency ?? 1);
}

// A file of the bundle; its bytes must match the digest in config.json.
async function get(name, files = {}) {
  const url = new URL(name, import.meta.url);
  try {
    const response = await fetch(url, files[name] ? { integrity: files[name].integrity } : {});
    if (!response.ok) throw new Error(`HTTP ${response.status}`);
    return response;
  } catch (error) {
    throw new Error(`${name} cannot be loaded, or is not the file that config.json lists (${error.message})`);
  }
}

async function runtime(provider, threads) {
  const ort = await import(RUNTIMES[provider]);
  ort.env.logLevel = 'error';
  ort.env.wasm.wasmPaths = new URL('./ort/', import.meta.url).href;
  ort.env.wasm.numThreads = globalThis.crossOriginIsolated ? threads : 1;
  return ort;
}

async function hasGraphics() {
  const adapter = await navigator.gpu?.requestAdapter().catch(() => null);
  return Boolean(adapter) && !adapter.info?.isFallbackAdapter;
}

function explain(provider, error) {
  if (provider === 'webgpu' && !navigator.gpu) return 'This browser has no WebGPU: choose WebAssembly.';
  const reason = String(error?.message ?? error).split('\n')[0];
  return `The recogniser cannot start on ${provider === 'webgpu' ? 'WebGPU' : 'WebAssembly'}: ${reason}`;
}
