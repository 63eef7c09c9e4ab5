// The recogniser: the model of this folder in ONNX Runtime Web, from samples to text. For use in a worker.

import { MEL_BINS, SAMPLE_RATE, melSpectrogram } from './features.js';
import { bestClasses, textOf } from './decoding.js';
import { chunks, passages, silenced, stretches, voiceActivity } from './segmentation.js';

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
    for (const [index, name] of wanted.entries()) {
      try {
        const ort = await runtime(name, threads);
        const session = await ort.InferenceSession.create(model, { executionProviders: [name], extra: EXTRA[name] });
        const recogniser = new Recogniser(ort, session, config, pieces, name);
        await recogniser.logProbs(new Float32Array(50 * MEL_BINS)); // the first run compiles
        return recogniser;
      } catch (error) {
        if (index === wanted.length - 1) throw new Error(explain(name, error));
      }
    }
  }

  constructor(ort, session, config, pieces, provider) {
    Object.assign(this, { ort, session, config, pieces, provider });
    this.threads = provider === 'wasm' ? ort.env.wasm.numThreads : 1;
    this.frame = Math.round(config.frame_seconds * SAMPLE_RATE); // samples
    this.begins = pieces.map((piece) => piece.startsWith(' ')); // a word
    this.space = pieces.indexOf(' '); // a class of its own, where letters are classes
  }

  // (frames · 80) log-mel → (frames' · V) log-posteriors, both Float32Array.
  async logProbs(mel) {
    const input = new this.ort.Tensor('float32', mel, [1, mel.length / MEL_BINS, MEL_BINS]);
    const { log_probs: output } = await this.session.run({ mel_spectrogram: input }, ['log_probs']);
    const values = await output.getData();
    output.dispose();
    return values;
  }

  // Yields the best classes of the frames from start to end of each chunk, and reports progress through heard(seconds).
  // Frames without a voice are blank. As VelocityASR.posteriors in velocity/recognition/offline.py.
  async *paths(chunks, heard = () => {}) {
    const { frame, space } = this, { blank, frame_seconds: seconds, vocabulary } = this.config;
    let spoken = false, done = 0; // samples
    for (const { samples, start, end, alone, active = voiceActivity(samples, alone) } of chunks) {
      const path = new Int32Array(Math.ceil(samples.length / frame)).fill(blank);
      // Quiet before, between and after speech never reaches the network, so that it cannot change the words.
      const joints = [];
      for (const [first, last] of stretches(active, seconds)) {
        if (last * frame <= start || first * frame >= end) continue; // in the context, which is another chunk's
        const mel = melSpectrogram(samples.subarray(first * frame, last * frame));
        const found = bestClasses(await this.logProbs(mel), vocabulary);
        path.set(found.subarray(0, path.length - first), first);
        // Else nothing came before, or it goes on from there.
        if (spoken && first * frame >= start) joints.push(Math.max(first - 1, start / frame));
        spoken = true;
      }
      silenced(path, active, seconds, blank);
      // A stretch by itself does not begin with the space between words.
      if (space >= 0) for (const joint of joints) path[joint] = space;
      done += end - start;
      heard(done / SAMPLE_RATE);
      yield path.subarray(start / frame, Math.ceil(end / frame));
    }
  }

  text(path) {
    return textOf(path, this.pieces, this.config.blank);
  }

  // Yields { start, text } for each passage, start in seconds, and reports progress through heard(seconds).
  async *transcribe(samples, heard = () => {}) {
    const paths = this.paths(chunks(samples, this.frame), heard);
    for await (const { first, path } of passages(paths, this.begins, this.config.blank)) {
      yield { start: first * this.config.frame_seconds, text: this.text(path) };
    }
  }
}

export function defaultThreads() {
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
