// A search and what it holds, and the words before each path.

#pragma once

#include "common.h"
#include "hotwords.h"
#include "lexicon.h"
#include "network.h"
#include "ngrams.h"

// The complete words: the state and the place in phrases of hot words are all that matters for those that follow.
// `before`, `word`: the history without the last one, and this. `first`: the first one that matters as much. `memory`:
// of the network, once a word has followed.
typedef struct {
  State state;
  int32_t place, before, word, first;
  Memory *memory;
} History;

// `blank`, `label`: the probabilities of the paths that end so, times what their complete words and phones of no word
// are worth, relative to the best path's; `mass`: the logarithm of their sum, `staying`: that of what a frame leaves of
// it if no label follows. `entry`: of the last label in the trace.
typedef struct {
  int32_t history, node, last, entry;
  double blank, label, mass, staying;
} Path;

// A path that is longer by a label than the one at `source`. `mass`: the logarithm of its probability, times what
// phones of no word are worth. `estimate`: the same times what is ahead, or what the word is worth that ends, by its
// unigram.
typedef struct {
  int32_t source, node, last, word, history;
  double mass, estimate;
} Grown;

// Paths at one place; `from`: the best of them, among the paths of before, and then the grown ones. `mass`: as of a path.
// `next`, `left`: of those that are alike, the next worse one, and whether this one is left.
typedef struct {
  int32_t history, node, last, from, next, left;
  double blank, label, most, mass, rank, lent;
} Merged;

// A label of a path: the entry before it, the frame, the word that it ends, or NOTHING, and the last entry that ends a
// word. Entry 0 is the beginning.
typedef struct {
  int32_t before, label, frame, word, ended;
} Entry;

typedef struct {
  int32_t beam, alike, tokens;
  double floor, margin, scale;
  int32_t frames, path_count, path_room, before_room, grown_count, grown_room, merged_count, merged_room, entry_count, entry_room;
  int32_t history_count, history_room, kept_count, kept_room, rank_room, result_size, result_room;
  Path *paths, *before;
  Grown *grown;
  Merged *merged;
  Entry *trace;
  History *histories;
  int32_t *kept, *result;
  double *ranks;
  Index alike_index, apart_index, merged_index, group_index;
} Search;

// The slot of a history that matters as much, or of the one that follows `before` by the same word.
static int32_t *history_slot(const Search *search, const Index *index, const History *history, int by_words) {
  const int32_t *context = history->state.context;
  uint32_t at = by_words ? hash(history->before, history->word, 0) : hash(context[0], context[1], history->place);
  for (at &= index->mask; index->slots[at] != FREE; at = (at + 1) & index->mask) {
    const History *found = &search->histories[index->slots[at]];
    if (by_words) {
      if (found->before == history->before && found->word == history->word) break;
    } else if (found->place == history->place && !memcmp(&found->state, &history->state, sizeof(State))) {
      break;
    }
  }
  return &index->slots[at];
}

// The number of a history. Those that matter as much have one number, or, if they are kept apart, one for their words.
static int32_t number_of(Search *search, const History *history) {
  Index *alike = &search->alike_index, *apart = &search->apart_index;
  if (!alike->slots || 2 * search->history_count >= (int32_t)alike->mask) {
    clear_index(alike, 2 * (search->history_count + 1));
    clear_index(apart, 2 * (search->history_count + 1));
    for (int32_t i = 0; i < search->history_count; i++) {
      if (search->histories[i].first == i) *history_slot(search, alike, &search->histories[i], 0) = i;
      *history_slot(search, apart, &search->histories[i], 1) = i;
    }
  }
  int32_t *first = history_slot(search, alike, history, 0), *same = history_slot(search, apart, history, 1);
  int32_t found = search->alike > 1 ? *same : *first, number = search->history_count;
  if (found != FREE) return found;
  if (*first == FREE) *first = number;
  *same = number;
  search->histories = room(search->histories, &search->history_room, ++search->history_count, sizeof(History));
  search->histories[number] = *history;
  search->histories[number].first = *first;
  search->histories[number].memory = NULL;
  return number;
}

static uint32_t number_in_lm(int32_t word) { return word == NO_WORD ? UNKNOWN : known[word]; }

// What the network remembers of a history.
static const Memory *memory_of(Search *search, int32_t history) {
  History *own = &search->histories[history];
  if (!own->memory) {
    own->memory = allocate(sizeof(Memory));
    if (own->before < 0) remember(NULL, START, own->memory);
    else remember(memory_of(search, own->before), number_in_lm(own->word), own->memory);
  }
  return own->memory;
}

// What a word is worth that ends at a node after a history, but for P_LM; the history after it, and ln P_LM by the
// n-grams.
static double follow(
    const Search *search, int32_t history, int32_t node, int32_t word, History *after, double *log_prob) {
  *after = search->histories[history];
  after->before = history, after->word = word;
  *log_prob = score(&after->state, number_in_lm(word), &after->state);
  double worth = bonus;
  if (word == NO_WORD) worth += UNKNOWN_WORD + UNKNOWN_PHONE * nodes[node].depth;
  if (word == NO_WORD || !spelling_count) after->place = NO_PHRASE;
  else worth += follow_phrase(&after->place, word);
  return worth;
}

// ln P_LM of a word after a history, by the n-grams → by the mixture.
static double with_network(Search *search, int32_t history, int32_t word, double log_prob) {
  return share ? mixed(log_prob, expected(memory_of(search, history), number_in_lm(word))) : log_prob;
}
