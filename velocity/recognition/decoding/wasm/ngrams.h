// The n-grams of the language model.

#pragma once

#include "common.h"

// The n-grams of one length, as velocity/recognition/language_model/tables.py describes them. `context` has, for each
// row, the context that it is, or -1.
typedef struct {
  const uint32_t *words, *first;
  const float *log_probs, *backoffs;
  int32_t *context;
} Level;

static Level levels[MOST_ORDER];
static int32_t order;
static uint32_t unigrams;  // words of the language model

typedef struct {
  int32_t context[MOST_ORDER - 1];
} State;

// Levels are added from the unigrams on. The arrays are the module's from then on, but for `contexts` (count,).
EXPORT(add_level) void add_level(
    uint32_t rows, const uint32_t *words, const float *log_probs, uint32_t count, const uint32_t *contexts,
    const uint32_t *first, const float *backoffs) {
  if (!order) unigrams = rows;
  Level *level = &levels[order++];
  *level = (Level){words, first, log_probs, backoffs, allocate(rows * sizeof(int32_t))};
  memset(level->context, 0xff, rows * sizeof(int32_t));
  for (uint32_t i = 0; i < count; i++) level->context[contexts[i]] = (int32_t)i;
}

// The row of a word after a context of `length` words, or -1.
static int32_t find(int32_t length, int32_t context, uint32_t word) {
  const uint32_t *words = levels[length].words, *first = levels[length - 1].first;
  uint32_t from = first[context], to = first[context + 1], end = to;
  while (from < to) {
    uint32_t middle = (from + to) / 2;
    if (words[middle] < word) from = middle + 1;
    else to = middle;
  }
  return from < end && words[from] == word ? (int32_t)from : -1;
}

// The log-probability of a word, and the state after it.
static double score(const State *state, uint32_t word, State *after) {
  int32_t rows[MOST_ORDER] = {(int32_t)word}, longest = 0;  // of the n-grams that end with it, or -1
  for (int32_t length = 1; length < order; length++) {
    int32_t context = state->context[length - 1];
    rows[length] = context < 0 ? -1 : find(length, context, word);
    if (rows[length] >= 0) longest = length;
  }
  double total = levels[longest].log_probs[rows[longest]];
  for (int32_t length = longest + 1; length < order; length++) {
    int32_t context = state->context[length - 1];
    if (context >= 0) total += levels[length - 1].backoffs[context];
  }
  State next;  // `after` may be `state`
  for (int32_t i = 0; i < MOST_ORDER - 1; i++) {
    next.context[i] = i < order - 1 && rows[i] >= 0 ? levels[i].context[rows[i]] : -1;
  }
  if (after) *after = next;
  return total;
}
