// What was recorded, kept by the browser until it is removed, and given out as a folder in LibriSpeech's layout.

import { SAMPLE_RATE } from './features.js';
import { zipped } from './zip.js';

export class Recordings {
  #database;
  takes = []; // { number, text, samples: Int16Array }, in the order in which they were made

  static async open() {
    const recordings = new Recordings();
    const opening = indexedDB.open('velocity-asr', 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore('takes', { keyPath: 'number' });
    recordings.#database = await settled(opening);
    recordings.takes = await settled(recordings.#store('readonly').getAll());
    return recordings;
  }

  get seconds() {
    return this.takes.reduce((sum, { samples }) => sum + samples.length, 0) / SAMPLE_RATE;
  }

  async add(text, samples) {
    const take = { number: (this.takes.at(-1)?.number ?? 0) + 1, text, samples: samples.slice() };
    await settled(this.#store('readwrite').add(take));
    this.takes.push(take);
  }

  // Removes the last take and returns its text.
  async takeBack() {
    await settled(this.#store('readwrite').delete(this.takes.at(-1).number));
    return this.takes.pop().text;
  }

  async clear() {
    await settled(this.#store('readwrite').clear());
    this.takes = [];
  }

  // A ZIP file of <speaker>/1/<speaker>-1-<number>.wav and the transcripts beside them.
  folder(speaker) {
    const place = `${speaker}/1/${speaker}-1`;
    const id = (index) => `${speaker}-1-${String(index + 1).padStart(4, '0')}`;
    const lines = this.takes.map(({ text }, index) => `${id(index)} ${text}\n`);
    return zipped([
      { name: `${place}.trans.txt`, content: new TextEncoder().encode(lines.join('')) },
      ...this.takes.map(({ samples }, index) => ({ name: `${speaker}/1/${id(index)}.wav`, content: wave(samples) })),
    ]);
  }

  #store(mode) {
    return this.#database.transaction('takes', mode).objectStore('takes');
  }
}

function settled(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(new Error(`The browser cannot keep the recordings: ${request.error?.message}`));
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
