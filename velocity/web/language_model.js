// The language model: a file of `velocity-asr lm build` whose words have pronunciations, as file.py of
// velocity/recognition/language_model reads it.

const FIXED = 20; // bytes before the header: magic, version, length of the header, checksum
const ARRAYS = { uint8: Uint8Array, uint16: Uint16Array, uint32: Uint32Array, float32: Float32Array };
const SPECIAL = ['<unk>', '<s>', '</s>']; // the first words of every vocabulary

// The file → { words, phones, lengths, levels, network }. `phones`: the classes of all words' phones, one after the other;
// `lengths`: how many are each word's. Levels are the n-grams of one word, of two …, as tables.py describes them.
// `network`: null, or { data, rows, share, step } of the recurrent one, as recurrent.py describes it.
export async function readLanguageModel(buffer) {
  const length = new DataView(buffer).getUint32(12, true), body = FIXED + length;
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, FIXED, length)));
  const text = ([offset, bytes]) => inflated(new Uint8Array(buffer, body + offset, bytes));
  const array = (name) => {
    const [type, count, offset] = header.arrays[name];
    return new ARRAYS[type](buffer, body + offset, count);
  };
  const values = (name) => { // logarithms, which may be codes of a book
    const codes = array(name);
    if (!(`${name}.codebook` in header.arrays)) return codes;
    const book = array(`${name}.codebook`), found = new Float32Array(codes.length);
    for (let row = 0; row < found.length; row++) found[row] = book[codes[row]];
    return found;
  };
  const words = [...SPECIAL, ...new TextDecoder().decode(await text(header.words)).split('\n')];
  const levels = Array.from({ length: header.order }, (_, index) => ({
    words: index ? new Uint32Array(array(`${index + 1}.words`)) : Uint32Array.from(words.keys()),
    logProbs: values(`${index + 1}.log_probs`),
    contexts: array(`${index + 1}.contexts`),
    first: array(`${index + 1}.first`),
    backoffs: values(`${index + 1}.backoffs`),
  }));
  const spoken = await text(header.pronunciations), lengths = new Uint16Array(words.length); // 0 between two words
  let word = SPECIAL.length;
  for (const phone of spoken) {
    if (phone) lengths[word]++;
    else word++;
  }
  const [rows, share, step] = header.network ?? [];
  const network = rows ? { data: await text(header.recurrent), rows, share, step } : null;
  return { words, phones: spoken.filter(Boolean), lengths, levels, network };
}

function inflated(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('deflate'));
  return new Response(stream).arrayBuffer().then((buffer) => new Uint8Array(buffer));
}
