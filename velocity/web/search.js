// Phones → words: a prefix beam search of CTC labellings (Graves & Jaitly 2014; Hannun et al. 2014), in which a lexicon
// makes words of phones, and a language model scores the words. As beam.py, phone_fusion.py and decoder.py of
// velocity/recognition/decoding, without hot words.

import { UNKNOWN } from './language_model.js';

// As in velocity/phones.py; BOUNDARY is between words.
export const CLASSES = 48, BLANK = 0, BOUNDARY = 1;
const BEAM = 128; // prefixes
const LABELS = 12; // classes per frame by which prefixes are extended
// Natural logarithms: less probable classes of a frame are skipped, prefixes worse than the best one by so much dropped.
const FLOOR = -7, MARGIN = 10;
const READINGS = 4; // spellings of a prefix at most
const UNKNOWN_WORD = -10; // added to the score of phones that are no word's
const UNKNOWN_PHONE = -2; // for each of them, so that one "word" does not swallow a sentence
const LUCK = 1; // what a word's n-gram may add to its unigram, for all that the search assumes

// The text of log-posteriors, (frames · CLASSES) Float32Array.
export function search(logProbs, languageModel, weights) {
  const fusion = new Fusion(languageModel, weights);
  const scores = new Map(); // labellings with the same text count as one
  for (const prefix of labellings(logProbs, fusion)) {
    const score = Math.log(prefix.inBlank + prefix.inLabel) + fusion.finish(prefix.context);
    const text = fusion.text(phonesOf(prefix)), known = scores.get(text) ?? -Infinity;
    const most = Math.max(score, known);
    scores.set(text, most + Math.log(Math.exp(score - most) + Math.exp(known - most)));
  }
  return [...scores].reduce((best, found) => (found[1] > best[1] ? found : best))[0];
}

// The best prefixes at the end. A prefix keeps separate probabilities for its paths that end in the blank and for those
// that end in its last label, because only the former can repeat that label. They are relative to the best prefix.
function labellings(logProbs, fusion) {
  let prefixes = [{ ...newPrefix(null, BLANK, fusion.start()), inBlank: 1 }];
  for (let frame = 0; frame < logProbs.length / CLASSES; frame++) {
    const row = logProbs.subarray(frame * CLASSES, (frame + 1) * CLASSES);
    const labels = candidates(row), blank = Math.exp(row[BLANK]);
    if (!labels.length) { // no prefix grows, and their order stays
      for (const prefix of prefixes) [prefix.inBlank, prefix.inLabel] = [prefix.inBlank + prefix.inLabel, 0];
      continue;
    }
    const probability = new Float64Array(CLASSES);
    for (const label of labels) probability[label] = Math.exp(row[label]);
    for (const prefix of prefixes) {
      prefix.frame = frame;
      prefix.nextBlank = (prefix.inBlank + prefix.inLabel) * blank;
      prefix.nextLabel = prefix.inLabel * probability[prefix.label];
    }
    const growths = [];
    for (const prefix of prefixes) {
      for (const label of labels) {
        const mass = (prefix.inBlank + (label === prefix.label ? 0 : prefix.inLabel)) * probability[label];
        const child = prefix.children.get(label);
        if (child?.frame === frame) {
          child.nextLabel += mass;
        } else if (mass > 0) {
          growths.push({ prefix, label, mass, estimate: Math.log(mass) + fusion.outlook(prefix.context, label) });
        }
      }
    }
    for (const prefix of prefixes) prefix.rank = ranked(prefix);
    let least = -Infinity;
    if (prefixes.length + growths.length > BEAM) {
      const every = Float64Array.from([...prefixes.map(({ rank }) => rank), ...growths.map(({ estimate }) => estimate)]);
      least = every.sort().at(-BEAM);
    }
    for (const { prefix, label, mass, estimate } of growths) {
      if (estimate < least) continue;
      if (!prefix.children.has(label)) {
        prefix.children.set(label, newPrefix(prefix, label, fusion.extend(prefix.context, label)));
      }
      const child = prefix.children.get(label);
      [child.frame, child.nextBlank, child.nextLabel] = [frame, 0, mass];
      child.rank = ranked(child);
      prefixes.push(child);
    }
    const most = Math.max(...prefixes.map((prefix) => prefix.nextBlank + prefix.nextLabel));
    prefixes = best(prefixes);
    for (const prefix of prefixes) {
      [prefix.inBlank, prefix.inLabel] = [prefix.nextBlank / most, prefix.nextLabel / most];
    }
  }
  return prefixes;
}

function ranked(prefix) {
  return Math.log(prefix.nextBlank + prefix.nextLabel) + prefix.context.bonus;
}

// The prefixes to keep, best first. Where there are too many, only the best one of those that get the same score from
// whatever follows.
function best(prefixes) {
  prefixes.sort((one, other) => other.rank - one.rank);
  const likely = prefixes.filter(({ rank }) => rank > prefixes[0].rank - MARGIN);
  if (likely.length <= BEAM) return likely;
  const seen = new Set();
  return likely.filter(({ future }) => !seen.has(future) && seen.add(future)).slice(0, BEAM);
}

// A node of the tree of prefixes.
function newPrefix(parent, label, context) {
  const future = `${context.phones} ${context.readings[0].state}`;
  return { parent, label, context, future, children: new Map(), inBlank: 0, inLabel: 0, frame: -1 };
}

function phonesOf(prefix) {
  let phones = '';
  for (; prefix.parent; prefix = prefix.parent) phones = String.fromCharCode(prefix.label) + phones;
  return phones;
}

// The classes of a frame that are probable enough, without the blank, in their order. If the blank is improbable, the
// best class must stay, however flat the distribution.
function candidates(row) {
  const most = row.reduce((best, value, label) => (label === BLANK ? best : Math.max(best, value)), -Infinity);
  const least = row[BLANK] < FLOOR ? Math.min(FLOOR, most) : FLOOR;
  let labels = [];
  row.forEach((value, label) => {
    if (label !== BLANK && value >= least && value > -Infinity) labels.push(label);
  });
  if (labels.length > LABELS) {
    labels = labels.sort((one, other) => row[other] - row[one]).slice(0, LABELS).sort((one, other) => one - other);
  }
  return labels;
}

// score = ln P_CTC + weight · ln P_LM + bonus · words. Words that are pronounced alike are told apart by the words
// around them: the READINGS best spellings of a prefix are kept, and the best one counts. An incomplete word gets the
// unigram score of the most probable word whose pronunciation begins so.
//
// Readings are [{ score, state }], best first: score is relative to the best one's, state is the language model's.
class Fusion {
  constructor(languageModel, { weight, word_bonus: bonus }) {
    Object.assign(this, { languageModel, weight, bonus });
    this.ahead = new Map(); // the beginning of a word → its score
    this.whole = new Map(); // phones → the score of the most probable word that is pronounced so
    this.completed = new Map(); // readings and phones → what #respelled gives
    this.first = [{ score: 0, state: languageModel.start() }];
  }

  // The state after a prefix: bonus is its score, earned that of complete words, phones are the incomplete one's.
  start() {
    return { bonus: 0, earned: 0, phones: '', readings: this.first };
  }

  extend(context, label) {
    let { earned, phones, readings } = context;
    if (label === BOUNDARY) {
      if (!phones) return context;
      ({ earned, readings } = this.#complete(readings, phones));
      earned += context.earned;
      return { bonus: earned, earned, phones: '', readings };
    }
    phones += String.fromCharCode(label);
    return { bonus: earned + this.#lookAhead(phones), earned, phones, readings };
  }

  // About the bonus after a label: of phones exactly; of the end of a word, by unigrams.
  outlook({ bonus, earned, phones }, label) {
    if (label !== BOUNDARY) return earned + this.#lookAhead(phones + String.fromCharCode(label));
    return phones ? earned + this.#unigram(phones) + LUCK : bonus + LUCK;
  }

  // The score if the utterance ends here.
  finish({ earned, phones, readings }) {
    if (phones) {
      const last = this.#complete(readings, phones);
      [earned, readings] = [earned + last.earned, last.readings];
    }
    return earned + Math.max(...readings.map((reading) => this.#ended(reading)));
  }

  // The words of a labelling; for phones that are no word's, nothing is written.
  text(phones) {
    const steps = [];
    let readings = this.first;
    for (const each of phones.split(String.fromCharCode(BOUNDARY)).filter(Boolean)) {
      steps.push(this.#complete(readings, each));
      ({ readings } = steps.at(-1));
    }
    const scores = readings.map((reading) => this.#ended(reading)), words = [];
    let best = scores.indexOf(Math.max(...scores));
    for (const { spelled, before } of steps.reverse()) {
      if (spelled[best] !== UNKNOWN) words.unshift(this.languageModel.words[spelled[best]]);
      best = before[best];
    }
    return words.join(' ');
  }

  #ended({ score, state }) {
    return score + this.weight * this.languageModel.end(state);
  }

  #complete(readings, phones) {
    const key = `${readings.map(({ score, state }) => `${score} ${state}`)} ${phones}`;
    if (!this.completed.has(key)) this.completed.set(key, this.#respelled(readings, phones));
    return this.completed.get(key);
  }

  // What a word adds to the best reading's score (earned), the readings after it, and for each of them the word
  // (spelled) and the number of the reading before it.
  #respelled(readings, phones) {
    const alike = this.languageModel.pronounced(phones);
    const best = new Map(); // state → the best reading that leads there
    const penalty = alike.length ? 0 : UNKNOWN_WORD + UNKNOWN_PHONE * phones.length;
    readings.forEach((reading, number) => {
      for (const word of alike.length ? alike : [UNKNOWN]) {
        const { state, logProb } = this.languageModel.word(reading.state, word), key = String(state);
        const score = reading.score + this.weight * logProb + this.bonus + penalty;
        if (!(score <= best.get(key)?.score)) best.set(key, { score, state, word, number });
      }
    });
    const ranked = [...best.values()].sort((one, other) => other.score - one.score).slice(0, READINGS);
    const earned = ranked[0].score;
    return {
      earned,
      readings: ranked.map(({ score, state }) => ({ score: score - earned, state })),
      spelled: ranked.map(({ word }) => word),
      before: ranked.map(({ number }) => number),
    };
  }

  #lookAhead(phones) {
    if (!this.ahead.has(phones)) this.ahead.set(phones, this.#scored(this.languageModel.bestBeginning(phones), phones));
    return this.ahead.get(phones);
  }

  #unigram(phones) {
    if (!this.whole.has(phones)) this.whole.set(phones, this.#scored(this.languageModel.bestWord(phones), phones));
    return this.whole.get(phones);
  }

  // Of a unigram's log-probability; null: there is no such word.
  #scored(unigram, phones) {
    if (unigram !== null) return this.weight * unigram + this.bonus;
    return this.weight * this.languageModel.unknown + this.bonus + UNKNOWN_WORD + UNKNOWN_PHONE * phones.length;
  }
}
