// The language model: a file of `velocity-asr lm build` whose words have pronunciations, as file.py of
// velocity/recognition/language_model reads it.

const FIXED = 20; // bytes before the header: magic, version, length of the header, checksum
const ARRAYS = { uint8: Uint8Array, uint16: Uint16Array, uint32: Uint32Array, float32: Float32Array };
const SPECIAL = ['<unk>', '<s>', '</s>']; // the first words of every vocabulary

// The file → { words, pronunciations, levels }. Pronunciations are strings with a character for each class of a phone,
// empty for words without. Levels are the n-grams of one word, of two …, as tables.py describes them.
export async function readLanguageModel(buffer) {
  const length = new DataView(buffer).getUint32(12, true), body = FIXED + length;
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, FIXED, length)));
  const text = ([offset, bytes]) => inflated(new Uint8Array(buffer, body + offset, bytes));
  const array = (name) => {
    const [type, count, offset] = header.arrays[name];
    return new ARRAYS[type](buffer, body + offset, count);
  };
  const values = (name) => { // logarithms, which may be codes of a book
    const codes = array(name), book = `${name}.codebook` in header.arrays && array(`${name}.codebook`);
    return book ? Float32Array.from(codes, (code) => book[code]) : codes;
  };
  const words = [...SPECIAL, ...(await text(header.words)).split('\n')];
  const levels = Array.from({ length: header.order }, (_, index) => ({
    words: index ? Uint32Array.from(array(`${index + 1}.words`)) : Uint32Array.from(words.keys()),
    logProbs: values(`${index + 1}.log_probs`),
    contexts: array(`${index + 1}.contexts`),
    first: array(`${index + 1}.first`),
    backoffs: values(`${index + 1}.backoffs`),
  }));
  const pronunciations = [...SPECIAL.map(() => ''), ...(await text(header.pronunciations)).split('\0')];
  return { words, pronunciations, levels };
}

function inflated(bytes) {
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream('deflate'))).text();
}
