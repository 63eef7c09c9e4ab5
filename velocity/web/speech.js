// The recogniser for a page: all work is done in a worker, so that the page stays responsive.
//
//   const speech = await Speech.load();
//   const { text } = await speech.transcribe(await readAudio(file));

export class Speech {
  // options: { provider: 'auto' | 'webgpu' | 'wasm', threads }. Rejects with an Error that has a message for the user.
  static async load(options = {}) {
    const speech = new Speech();
    Object.assign(speech, await speech.#ask('load', { options })); // provider, threads, name, seconds
    return speech;
  }

  #worker = new Worker(new URL('./worker.js', import.meta.url), { type: 'module' });
  #jobs = new Map();
  #last = 0;

  constructor() {
    this.#worker.onmessage = ({ data }) => this.#receive(data);
    this.#worker.onerror = () => this.#fail('The recogniser cannot run in this browser; a newer one is needed.');
  }

  // (samples,) Float32Array at 16 kHz, which is transferred → { text, passages, seconds, took }, or null if another
  // job began before its end. Calls tell({ passage: { start, text } }) and tell({ heard, took }) meanwhile.
  async transcribe(samples, tell = () => {}) {
    const passages = [];
    const listen = (event) => {
      if (event.passage) passages.push(event.passage);
      tell(event);
    };
    const result = await this.#ask('transcribe', { samples }, listen, [samples.buffer]);
    return result && { ...result, passages, text: passages.map(({ text }) => text).filter(Boolean).join(' ') };
  }

  // Live audio: pass it to hear(samples), and call finish() at its end. Calls tell({ utterance: { text, final, seconds,
  // took } }).
  async listen(tell) {
    const job = this.#last + 1;
    await this.#ask('listen', {}, tell, [], true);
    return {
      hear: (samples) => this.#worker.postMessage({ task: 'hear', job, samples }, [samples.buffer]),
      finish: async () => {
        await this.#ask('finish');
        this.#jobs.delete(job);
      },
    };
  }

  close() {
    this.#worker.terminate();
    this.#fail('The recogniser was closed.');
  }

  #ask(task, content = {}, tell = () => {}, handed = [], stays = false) {
    const job = ++this.#last;
    return new Promise((resolve, reject) => {
      this.#jobs.set(job, { resolve, reject, tell, stays });
      this.#worker.postMessage({ task, job, ...content }, handed);
    });
  }

  #receive({ job, result, failed, ...event }) {
    const asked = this.#jobs.get(job);
    if (!asked) return;
    if (result === undefined && failed === undefined) return asked.tell(event);
    if (!asked.stays || failed) this.#jobs.delete(job);
    if (failed) {
      asked.tell({ failed });
      asked.reject(new Error(failed));
    } else {
      asked.resolve(result);
    }
  }

  #fail(message) {
    for (const { reject } of this.#jobs.values()) reject(new Error(message));
    this.#jobs.clear();
  }
}

// A File or Blob that the browser can play → (samples,) Float32Array, mono at 16 kHz.
export async function readAudio(file) {
  const name = file.name ?? 'The recording';
  let audio;
  try {
    const context = new OfflineAudioContext(1, 1, 16000);
    audio = await context.decodeAudioData(await file.arrayBuffer());
  } catch {
    throw new Error(`${name} cannot be read as audio. Browsers read WAV, MP3, FLAC, Ogg, Opus and M4A.`);
  }
  const mono = audio.getChannelData(0).slice();
  for (let channel = 1; channel < audio.numberOfChannels; channel++) {
    audio.getChannelData(channel).forEach((value, index) => (mono[index] += value));
  }
  if (!mono.length) throw new Error(`${name} holds no sound.`);
  return audio.numberOfChannels > 1 ? mono.map((value) => value / audio.numberOfChannels) : mono;
}
