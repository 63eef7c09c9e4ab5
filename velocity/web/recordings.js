// What was recorded, kept by the browser until it is removed, and given out as a folder in LibriSpeech's layout.

import { SAMPLE_RATE } from './features.js';
import { zipped } from './zip.js';

export class Recordings {
  #database;
  takes = []; // { number, chapter, text, samples: Int16Array }, in the order in which they were made

  static async open() {
    const recordings = new Recordings();
    const opening = indexedDB.open('velocity-asr', 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore('takes', { keyPath: 'number', autoIncrement: true });
    recordings.#database = await settled(opening);
    await recordings.#change('readonly', async (store) => (recordings.takes = await settled(store.getAll())));
    return recordings;
  }

  get seconds() {
    return this.takes.reduce((sum, { samples }) => sum + samples.length, 0) / SAMPLE_RATE;
  }

  async add(text, samples) {
    // The time of the first take: downloads of other days, and what `velocity-asr record` makes, have other chapters.
    const chapter = this.takes[0]?.chapter ?? new Date().toISOString().replace(/\D/g, '').slice(0, 14);
    const take = { chapter, text, samples: samples.slice() };
    await this.#change('readwrite', async (store) => (take.number = await settled(store.add(take))));
    this.takes.push(take);
  }

  // Removes the last take and returns its text.
  async takeBack() {
    const { number, text } = this.takes.at(-1);
    await this.#change('readwrite', (store) => store.delete(number));
    this.takes.pop();
    return text;
  }

  async clear() {
    await this.#change('readwrite', (store) => store.clear());
    this.takes = [];
  }

  // A ZIP file of <speaker>/<chapter>/<speaker>-<chapter>-<number>.wav and the transcripts beside them.
  folder(speaker) {
    const [{ chapter }] = this.takes, place = `${speaker}/${chapter}`, begin = `${speaker}-${chapter}`;
    const id = (index) => `${begin}-${String(index + 1).padStart(4, '0')}`;
    const lines = this.takes.map(({ text }, index) => `${id(index)} ${text}\n`);
    return zipped([
      { name: `${place}/${begin}.trans.txt`, content: new TextEncoder().encode(lines.join('')) },
      ...this.takes.map(({ samples }, index) => ({ name: `${place}/${id(index)}.wav`, content: wave(samples) })),
    ]);
  }

  // Runs work(store); what it wrote is on the disk when this returns.
  async #change(mode, work) {
    const transaction = this.#database.transaction('takes', mode);
    await Promise.all([work(transaction.objectStore('takes')), settled(transaction)]);
  }
}

// The result of a request, or the end of a transaction.
function settled(work) {
  return new Promise((resolve, reject) => {
    const failed = () => reject(new Error(`The browser cannot keep the recordings: ${work.error?.message ?? 'no space'}`));
    work.onsuccess = work.oncomplete = () => resolve(work.result);
    work.onerror = work.onabort = failed;
  });
}

// (samples,) Int16Array at 16 kHz → the bytes of a WAV file.
function wave(samples) {
  const bytes = new Uint8Array(44 + 2 * samples.length), view = new DataView(bytes.buffer);
  const text = (at, letters) => bytes.set(new TextEncoder().encode(letters), at);
  text(0, 'RIFF');
  view.setUint32(4, 36 + 2 * samples.length, true);
  text(8, 'WAVEfmt ');
  view.setUint32(16, 16, true); // bytes of this part
  view.setUint16(20, 1, true); // linear PCM
  view.setUint16(22, 1, true); // channel
  view.setUint32(24, SAMPLE_RATE, true);
  view.setUint32(28, 2 * SAMPLE_RATE, true); // bytes a second
  view.setUint16(32, 2, true); // bytes of all channels
  view.setUint16(34, 16, true); // bits
  text(36, 'data');
  view.setUint32(40, 2 * samples.length, true);
  samples.forEach((value, index) => view.setInt16(44 + 2 * index, value, true));
  return bytes;
}
