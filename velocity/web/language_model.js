// The language model: a file of `velocity-asr lm build` whose words have pronunciations. As file.py, ngram.py and
// lexicon.py of velocity/recognition/language_model.
//
// Words are numbers; phones are a string with a character for each class. Probabilities are natural logarithms. A state
// is what the next word depends on: the n-grams that end with the last word, of one word, of two …, as places in the
// contexts of their level; -1 for those that are none.

const FIXED = 20; // bytes before the header: magic, version, length of the header, checksum
const ARRAYS = { uint8: Uint8Array, uint16: Uint16Array, uint32: Uint32Array, float32: Float32Array };
const SPECIAL = ['<unk>', '<s>', '</s>']; // the first words of every vocabulary
const START = 1, END = 2;
const AFTER_PHONES = '\xff'; // sorts after every phone
export const UNKNOWN = 0;

export class LanguageModel {
  // buffer: the file.
  static async read(buffer) {
    const length = new DataView(buffer).getUint32(12, true), body = FIXED + length;
    const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, FIXED, length)));
    const text = ([offset, bytes]) => inflated(new Uint8Array(buffer, body + offset, bytes));
    const array = (name) => {
      const [type, count, offset] = header.arrays[name];
      return new ARRAYS[type](buffer, body + offset, count);
    };
    const values = (name) => { // row → its logarithm, which may be a code of a book
      const codes = array(name), book = `${name}.codebook` in header.arrays && array(`${name}.codebook`);
      return book ? (row) => book[codes[row]] : (row) => codes[row];
    };
    const levels = Array.from({ length: header.order }, (_, index) => {
      const [first, contexts] = [array(`${index + 1}.first`), array(`${index + 1}.contexts`)];
      const [logProb, backoff] = [values(`${index + 1}.log_probs`), values(`${index + 1}.backoffs`)];
      const words = index ? array(`${index + 1}.words`) : null; // unigrams are all words in their order
      return { words, contexts, first, logProb, backoff };
    });
    const words = [...SPECIAL, ...(await text(header.words)).split('\n')];
    const pronunciations = [...SPECIAL.map(() => ''), ...(await text(header.pronunciations)).split('\0')];
    return new LanguageModel(words, pronunciations, levels);
  }

  constructor(words, pronunciations, levels) {
    const compare = (one, other) => (one < other ? -1 : Number(one > other));
    Object.assign(this, { words, levels, unknown: levels[0].logProb(UNKNOWN) });
    this.spoken = [...words.keys()].filter((word) => pronunciations[word]);
    this.spoken.sort((one, other) => compare(pronunciations[one], pronunciations[other]));
    this.phones = this.spoken.map((word) => pronunciations[word]);
    this.unigrams = Float64Array.from(this.spoken, (word) => levels[0].logProb(word));
  }

  // The state at the beginning of a sentence.
  start() {
    return this.#after([START]);
  }

  // → { state, logProb }: the state after a word, and the word's log-probability.
  word(state, word) {
    const rows = [word]; // of the n-grams that end with the word: of one word, of two …; -1 if there is none
    let longest = 0, logProb = 0;
    state.forEach((context, index) => {
      rows.push(context < 0 ? -1 : this.#find(index, context, word));
      if (rows[index + 1] >= 0) longest = index + 1;
    });
    for (let index = state.length - 1; index >= longest; index--) {
      if (state[index] >= 0) logProb += this.levels[index].backoff(state[index]);
    }
    return { state: this.#after(rows), logProb: logProb + this.levels[longest].logProb(rows[longest]) };
  }

  // The log-probability that the sentence ends.
  end(state) {
    return this.word(state, END).logProb;
  }

  unigram(word) {
    return this.levels[0].logProb(word);
  }

  // The words that are pronounced so, in the order of the alphabet.
  pronounced(phones) {
    const found = [];
    for (let i = place(this.phones, phones); this.phones[i] === phones; i++) found.push(this.spoken[i]);
    return found;
  }

  // The log-probability of the most probable unigram whose pronunciation begins so; null if none does.
  bestBeginning(phones) {
    const first = place(this.phones, phones), last = place(this.phones, phones + AFTER_PHONES);
    return first < last ? this.unigrams.subarray(first, last).reduce((most, value) => Math.max(most, value)) : null;
  }

  // The row of a word after a context of index + 1 words, or -1.
  #find(index, context, word) {
    const { words } = this.levels[index + 1], { first } = this.levels[index];
    const row = place(words, word, first[context], first[context + 1]);
    return row < first[context + 1] && words[row] === word ? row : -1;
  }

  // The state that the n-grams of these rows lead to.
  #after(rows) {
    const state = rows.slice(0, this.levels.length - 1).map((row, index) => {
      const { contexts } = this.levels[index], context = place(contexts, row);
      return row >= 0 && contexts[context] === row ? context : -1;
    });
    while (state.at(-1) === -1) state.pop();
    return state;
  }
}

// The place of the first value that is not less, in sorted values between two places.
function place(values, value, from = 0, to = values.length) {
  while (from < to) {
    const middle = (from + to) >> 1;
    if (values[middle] < value) from = middle + 1;
    else to = middle;
  }
  return from;
}

function inflated(bytes) {
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream('deflate'))).text();
}
