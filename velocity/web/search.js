// Phones → words: velocity/recognition/decoding/wasm, compiled to WebAssembly, with a language model. As vocabulary.py
// and phone_search.py beside it, without hot words.

// As in velocity/phones.py; BOUNDARY is between words.
export const CLASSES = 48, BLANK = 0, BOUNDARY = 1;
const BEAM = 512; // paths
const ALIKE = 2; // histories kept that n-grams cannot tell apart, where a recurrent network can
const LABELS = 16; // classes per frame by which paths grow
// Natural logarithms: less probable classes of a frame are skipped, paths worse than the best one by so much dropped.
const FLOOR = -5, MARGIN = 10;
const NO_WORD = -1; // in place of a word: phones that are no word's

export class Vocabulary {
  // module: the WebAssembly.Module; languageModel: as language_model.js reads it.
  constructor(module, { words, phones, lengths, levels, network }, { weight, word_bonus: bonus }) {
    Object.assign(this, { words, alike: network ? ALIKE : 1, search: new WebAssembly.Instance(module).exports });
    this.search._initialize();
    for (const { words: last, logProbs, contexts, first, backoffs } of levels) {
      const [from, ...arrays] = [contexts, last, logProbs, first, backoffs].map((array) => this.#stored(array));
      this.search.add_level(last.length, arrays[0], arrays[1], contexts.length, from, arrays[2], arrays[3]);
      this.search.release(from);
    }
    const numbers = levels[0].words, places = [numbers, phones, lengths].map((array) => this.#stored(array));
    this.search.set_words(words.length, ...places, weight, bonus);
    this.search.release(places[2]);
    if (network) this.search.set_network(this.#stored(network.data), network.rows, network.share, network.step);
  }

  // The text of log-posteriors, (frames · CLASSES) Float32Array.
  text(logProbs) {
    const search = this.search.begin(BEAM, this.alike, LABELS, FLOOR, MARGIN);
    const place = this.#stored(Float64Array.from(logProbs));
    this.search.accept(search, place, logProbs.length / CLASSES);
    const scores = new Map(); // what has the same text counts as one
    for (const [score, words] of this.#results(search)) {
      const text = words.filter((word) => word !== NO_WORD).map((word) => this.words[word]).join(' ');
      const known = scores.get(text) ?? -Infinity, most = Math.max(score, known);
      scores.set(text, most + Math.log(Math.exp(score - most) + Math.exp(known - most)));
    }
    this.search.release(place);
    this.search.end(search);
    return [...scores].reduce((best, found) => (found[1] > best[1] ? found : best))[0];
  }

  // [score, words] each.
  *#results(search) {
    const start = this.search.results(search), numbers = new DataView(this.search.memory.buffer, start);
    const end = 4 + 4 * numbers.getInt32(0, true);
    for (let at = 4, count; at < end; at += 16 + 4 * count) {
      count = numbers.getInt32(at + 12, true);
      const words = Array.from({ length: count }, (_, index) => numbers.getInt32(at + 16 + 4 * index, true));
      yield [numbers.getFloat64(at, true), words];
    }
  }

  // The place of a copy in the module's memory.
  #stored(array) {
    const place = this.search.allocate(array.byteLength);
    new array.constructor(this.search.memory.buffer, place, array.length).set(array);
    return place;
  }
}
