// Phones → words: token passing (Young, Russell & Thornton 1989) through the tree of a lexicon, with CTC's blanks and
// repetitions and a language model. As vocabulary.py, phone_search.py and decoder.py of velocity/recognition/decoding,
// without hot words.

import { UNKNOWN } from './language_model.js';

// As in velocity/phones.py; BOUNDARY is between words.
export const CLASSES = 48, BLANK = 0, BOUNDARY = 1;
const BEAM = 256; // paths
const LABELS = 12; // classes per frame by which paths grow
// Natural logarithms: less probable classes of a frame are skipped, paths worse than the best one by so much dropped.
const FLOOR = -5, MARGIN = 10;
const UNKNOWN_WORD = -10; // added to the score of phones that are no word's
const UNKNOWN_PHONE = -2; // for each of them, so that one "word" does not swallow a sentence
const BITS = 6; // of a label in a place's key

// The text of log-posteriors, (frames · CLASSES) Float32Array.
export function search(logProbs, languageModel, weights) {
  const vocabulary = new Vocabulary(languageModel, weights);
  const scores = new Map(); // what has the same text counts as one
  for (const { history, node, words, inBlank, inLabel } of pathsAtTheEnd(logProbs, vocabulary)) {
    const endings = node === vocabulary.root ? [{ after: history, worth: 0, words }] : vocabulary.endings(history, node)
      .map(({ word, after, worth }) => ({ after, worth, words: { word, before: words } }));
    for (const { after, worth, words: spoken } of endings) {
      const score = Math.log(inBlank + inLabel) + worth + vocabulary.end(after);
      const text = vocabulary.text(spoken), known = scores.get(text) ?? -Infinity;
      const most = Math.max(score, known);
      scores.set(text, most + Math.log(Math.exp(score - most) + Math.exp(known - most)));
    }
  }
  return [...scores].reduce((best, found) => (found[1] > best[1] ? found : best))[0];
}

// A path is at a node of the tree, after a history of complete words. Paths at the same place get the same from whatever
// follows, so they are merged: their probabilities are added, and the better one's words are kept. Those that end in the
// blank and those that end in their last label are told apart, because only the former can repeat that label. Their
// probabilities are times what complete words and phones of no word are worth, and relative to the best one's.
function pathsAtTheEnd(logProbs, vocabulary) {
  const { root } = vocabulary;
  let paths = [{ history: vocabulary.first, node: root, label: BLANK, words: null, inBlank: 1, inLabel: 0 }];
  for (let frame = 0; frame < logProbs.length / CLASSES; frame++) {
    const row = logProbs.subarray(frame * CLASSES, (frame + 1) * CLASSES);
    const labels = candidates(row), blank = Math.exp(row[BLANK]);
    if (!labels.length) { // no path grows, and their order stays
      for (const path of paths) [path.inBlank, path.inLabel] = [path.inBlank + path.inLabel, 0];
      continue;
    }
    const places = new Map(), grown = [];
    const add = (history, node, label, words, inBlank, inLabel) => {
      const key = (history.id * vocabulary.most + node.id) * (1 << BITS) + label, total = inBlank + inLabel;
      const known = places.get(key);
      if (!known) {
        places.set(key, { history, node, label, words, inBlank, inLabel, total });
      } else {
        if (total > known.total) [known.words, known.total] = [words, total];
        known.inBlank += inBlank;
        known.inLabel += inLabel;
      }
    };
    for (const path of paths) {
      const { history, node, label, words, inBlank, inLabel } = path;
      const repeated = labels.includes(label) ? Math.exp(row[label]) : 0;
      add(history, node, label, words, (inBlank + inLabel) * blank, inLabel * repeated);
      for (const next of labels) {
        const mass = (inBlank + (next === label ? 0 : inLabel)) * Math.exp(row[next]);
        if (!(mass > 0)) continue;
        if (next !== BOUNDARY) {
          const longer = vocabulary.longer(node, next);
          const value = longer === vocabulary.nowhere ? mass * Math.exp(UNKNOWN_PHONE * (node.depth + 1)) : mass;
          grown.push({ path, node: longer, label: next, mass: value, estimate: Math.log(value) + longer.ahead });
        } else if (node === root) {
          grown.push({ path, node: root, label: next, mass, estimate: Math.log(mass) });
        } else {
          for (const { word, alone } of vocabulary.words(node)) {
            grown.push({ path, node: root, label: next, mass, word, estimate: Math.log(mass) + alone });
          }
        }
      }
    }
    const ranks = [...places.values()].map((path) => Math.log(path.inBlank + path.inLabel) + path.node.ahead);
    const every = Float64Array.from([...ranks, ...grown.map(({ estimate }) => estimate)]);
    const least = every.length > BEAM ? every.sort().at(-BEAM) : -Infinity;
    for (const { path: { history, words, node: from }, node, label, mass, word, estimate } of grown) {
      if (estimate < least) continue;
      if (word === undefined) {
        add(history, node, label, words, 0, mass);
      } else {
        const { after, worth } = vocabulary.step(history, from, word);
        add(after, node, label, { word, before: words }, 0, mass * Math.exp(worth));
      }
    }
    paths = best([...places.values()]);
    const most = Math.max(...paths.map(({ inBlank, inLabel }) => inBlank + inLabel));
    for (const path of paths) [path.inBlank, path.inLabel] = [path.inBlank / most, path.inLabel / most];
  }
  return paths;
}

// The paths to keep, best first.
function best(paths) {
  for (const path of paths) path.rank = Math.log(path.inBlank + path.inLabel) + path.node.ahead;
  paths.sort((one, other) => other.rank - one.rank);
  return paths.filter(({ rank }) => rank > paths[0].rank - MARGIN).slice(0, BEAM);
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

// score = ln P_CTC + weight · ln P_LM + bonus · words. An incomplete word is worth the unigram of the most probable word
// whose pronunciation begins so.
//
// A history { id, state, steps } is all that matters of the complete words for those that follow. A node { id, phones,
// depth, ahead, children, spelled } is a beginning of a pronunciation, of which `ahead` is the worth.
class Vocabulary {
  constructor(languageModel, { weight, word_bonus: bonus }) {
    Object.assign(this, { languageModel, weight, bonus, histories: new Map(), most: 1 << 24, nodes: 0 });
    this.first = this.#history(languageModel.start());
    this.root = this.#node('', 0);
    this.nowhere = this.#node('', this.#alone(languageModel.unknown) + UNKNOWN_WORD);
  }

  // The node that is longer by a phone, or `nowhere`.
  longer(node, phone) {
    if (node === this.nowhere) return node;
    if (!node.children.has(phone)) {
      const phones = node.phones + String.fromCharCode(phone), unigram = this.languageModel.bestBeginning(phones);
      node.children.set(phone, unigram === null ? this.nowhere : this.#node(phones, this.#alone(unigram)));
    }
    return node.children.get(phone);
  }

  // The words that end at a node but the root, or UNKNOWN, and their worth by their unigrams.
  words(node) {
    if (node.spelled === null) {
      const { languageModel } = this, alike = node === this.nowhere ? [] : languageModel.pronounced(node.phones);
      node.spelled = alike.map((word) => ({ word, alone: this.#alone(languageModel.unigram(word)) }));
      if (!alike.length) node.spelled = [{ word: UNKNOWN, alone: this.nowhere.ahead + UNKNOWN_PHONE * node.depth }];
    }
    return node.spelled;
  }

  // The history after a word that ends at a node, and what the word is worth.
  step(history, node, word) {
    if (!history.steps.has(word)) {
      const { state, logProb } = this.languageModel.word(history.state, word);
      const worth = this.#alone(logProb) + (word === UNKNOWN ? UNKNOWN_WORD : 0);
      history.steps.set(word, { after: this.#history(state), worth });
    }
    const { after, worth } = history.steps.get(word);
    return { after, worth: word === UNKNOWN ? worth + UNKNOWN_PHONE * node.depth : worth };
  }

  endings(history, node) {
    return this.words(node).map(({ word }) => ({ word, ...this.step(history, node, word) }));
  }

  // The score if the utterance ends here.
  end({ state }) {
    return this.weight * this.languageModel.end(state);
  }

  // Nothing is written for phones of no word.
  text(words) {
    const found = [];
    for (let each = words; each; each = each.before) if (each.word !== UNKNOWN) found.unshift(each.word);
    return found.map((word) => this.languageModel.words[word]).join(' ');
  }

  #alone(logProb) {
    return this.weight * logProb + this.bonus;
  }

  #history(state) {
    const key = String(state), { histories } = this;
    if (!histories.has(key)) histories.set(key, { id: histories.size, state, steps: new Map() });
    return histories.get(key);
  }

  #node(phones, ahead) {
    return { id: this.nodes++, phones, depth: phones.length, ahead, children: new Map(), spelled: null };
  }
}
